"""What items are called."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv


def read_titles(path: Path) -> dict[str, str]:
    """Titles by raw item id, from the first two columns of a text file with a header: tabs in it, or else commas.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on a damaged file, or fewer than two columns.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file of titles")
    try:
        with path.open(encoding="utf-8") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
        with pa.csv.open_csv(path, parse_options=pa.csv.ParseOptions(delimiter=delimiter)) as reader:
            names = reader.schema.names
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected titles, got a damaged file: {error}") from None
    if len(names) < 2:
        raise ValueError(f"{path}: expected an item id and a title in each row, got the columns {', '.join(names)}")
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))
