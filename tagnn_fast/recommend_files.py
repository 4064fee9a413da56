"""Recommending for a file of sessions into another, and item ids as the command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tagnn_fast.data.session_files import SessionPart, read_sessions
from tagnn_fast.data.table_files import TableWriter
from tagnn_fast.recommender import Recommender


class FileAnswer(NamedTuple):
    """What became of a file's sessions.

    Attributes:
        sessions: how many there are.
        failed: how many of them could not be answered.
        first_error: of the first that could not, empty if there is none.
    """

    sessions: int
    failed: int
    first_error: str


def recommend_file(
    recommender: Recommender,
    source: Path,
    output: Path,
    k: int = 20,
    *,
    candidates: Sequence[object] | None = None,
    exclude_clicked: bool = False,
    exclude: Sequence[object] | None = None,
) -> FileAnswer:
    """Recommend for the sessions of a file; a row that cannot be used is a row of the output, with its error.

    Args:
        recommender: what answers.
        source: CSV, JSON lines or Parquet, see :func:`tagnn_fast.data.session_files.read_sessions`.
        output: CSV, JSON lines or Parquet to write: ``session``, ``rank``, ``item``, ``score``, ``answer`` (model,
            popularity or error), ``skipped``, ``error``.
        k: length of the lists, 1 or more.
        candidates: see :meth:`Recommender.recommend`.
        exclude_clicked: the same.
        exclude: the same.

    Raises:
        FileNotFoundError, ValueError: on a source that cannot be read.
        TypeError, ValueError, FloatingPointError: as :meth:`Recommender.recommend`.
        OSError: where the output cannot be written.
    """
    narrowed = candidates is not None or exclude is not None
    nothing_left = "among the candidates that was not excluded" if narrowed else "that was not clicked"
    options: dict[str, Any] = {"candidates": candidates, "exclude_clicked": exclude_clicked, "exclude": exclude}
    if output.exists() and output.samefile(source):
        raise ValueError(f"{output}: expected another file than that of the sessions, got the same")
    count, failed, first = 0, 0, ""
    with TableWriter(output) as writer:
        for part in read_sessions(source):
            answers = _answers(recommender, part, k, options, nothing_left)
            writer.write(answers)
            errors = answers["error"].drop_null()
            first = first or (errors[0].as_py() if len(errors) else "")
            count, failed = count + len(part.names), failed + len(errors)
    return FileAnswer(count, failed, first)


def _answers(
    recommender: Recommender, part: SessionPart, k: int, options: dict[str, Any], nothing_left: str
) -> pa.Table:
    """What is recommended to each session, or its error, in their order."""
    errors = list(part.errors)
    for place, items in enumerate(part.items):
        try:
            recommender.vocabulary.check_ids(items)
        except TypeError as error:
            errors[place] = str(error)
    usable = np.array([place for place, error in enumerate(errors) if error is None], np.int64)
    answers = recommender.recommend([part.items[place] for place in usable], k, **options).to_table()
    session = usable[answers["session"].to_numpy()]
    for place in np.setdiff1d(usable, session):
        errors[place] = f"expected an item to recommend, got none {nothing_left}"
    failed = np.array([place for place, error in enumerate(errors) if error is not None], np.int64)
    found = pa.table(
        {
            "answer": pa.array(["error"] * len(failed), pa.string()),
            "error": pa.array([f"{part.places[place]}: {errors[place]}" for place in failed], pa.string()),
        }
    )
    together = pa.concat_tables([answers.drop_columns("session"), found], promote_options="default")
    session = np.concatenate([session, failed])
    order = np.argsort(session, kind="stable")
    return together.take(order).add_column(0, "session", part.names.take(pa.array(session[order])))


def item_ids(arguments: Sequence[str] | None) -> list[str] | None:
    """Ids as the command line gives them: each an id, or @ and the path of a text file with an id a line; None as None.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where one is no UTF-8.
    """
    if not arguments:
        return None
    ids: list[str] = []
    for argument in arguments:
        if not argument.startswith("@"):
            ids.append(argument)
            continue
        path = Path(argument[1:])
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected a file with an item id a line")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: expected item ids in UTF-8, got the byte {error.object[error.start]:#04x}"
            ) from None
        ids.extend(line for line in text.split("\n") if line)
    return ids
