"""The clicks of the logs that a data set was made of: what an update starts from."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tagnn_fast.files import describe_file


@dataclass(frozen=True)
class StoredClicks:
    """A Parquet file, still in memory or in a data set's folder.

    Attributes:
        content: the file's bytes, or where it is.
        sha256: of the bytes.
    """

    content: pa.Buffer | Path
    sha256: str

    @classmethod
    def of(cls, content: pa.Buffer) -> StoredClicks:
        """A file in memory."""
        return cls(content, hashlib.sha256(content).hexdigest())

    def write(self, path: Path) -> None:
        """Make this file at `path`.

        Raises:
            FileNotFoundError: where it is no longer there.
            ValueError: where it is damaged.
            OSError: where it cannot be written.
        """
        if isinstance(self.content, Path):
            shutil.copyfile(self.checked(self.content), path)
        else:
            with path.open("wb") as file:
                file.write(self.content)

    def in_folder(self, folder: Path) -> Path:
        """A path that it can be read at: where it is, or a copy in `folder`. Raises as :meth:`write` does."""
        if isinstance(self.content, Path):
            return self.checked(self.content)
        path = folder / "old_clicks.parquet"
        self.write(path)
        return path

    def checked(self, path: Path) -> Path:
        """The path, if the file is what it was when the data set was written."""
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected the clicks of the data set")
        if describe_file(path)["sha256"] != self.sha256:
            raise ValueError(
                f"{path}: expected the clicks that the data set was made of, got a damaged or another file"
            )
        return path
