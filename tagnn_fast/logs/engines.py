"""What runs the pipeline's Ibis expressions. All that differs between engines is here: reading, and a few functions."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _
from ibis.expr.types import Table

from tagnn_fast.extras import own_spark_session
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.json_lines import json_rows
from tagnn_fast.logs.parquet import parquet_rows
from tagnn_fast.memory import usable_memory

_BATCH = 1 << 20  # rows that come to Python at once
COLUMNS = "wrong number of columns"


class Engine(ABC):
    """Reads logs, keeps tables, gives results to Python. Used as a context manager.

    Attributes:
        name: what it is called.

    Args:
        folder: for what does not fit into memory; emptied by who made it.
        time_zone: of times that do not state one.
    """

    name: str

    def __init__(self, folder: Path, time_zone: str) -> None:
        self.folder, self.time_zone = folder, time_zone
        self._made, self._kept = 0, list[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """Rows of all files.

        Returns:
            `columns` as strings, the first as `field_0` and so on; `row`, int64, which rises from row to row and from
            file to file in their order; `fault`, why the row cannot be used, and `line`, all of it then, else null.

        Raises:
            ValueError: on a damaged file, one that changes meanwhile, a quote that is never closed, or a column of a
                type that does not say what it should.
        """

    @abstractmethod
    def stored(self, path: Path) -> Table:
        """The rows of a Parquet file that a data set has; the names of folders are none of them."""

    @abstractmethod
    def version(self) -> str:
        """Name and version, for the record."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def keep(self, table: Table) -> Table:
        """The same rows, computed once and stored."""
        return self.connection.create_table(self._new_name(), table)

    def _new_name(self) -> str:
        self._made += 1
        self._kept.append(f"kept_{self._made}")
        return self._kept[-1]

    def forget_all_but(self, *tables: Table) -> None:
        """Remove what :meth:`keep` returned, but for these."""
        wanted = {table.get_name().rsplit(".", 1)[-1] for table in tables}  # qualified by some engines
        for name in self._kept:
            if name not in wanted:
                self.connection.raw_sql(f"DROP TABLE {name}")
        self._kept = [name for name in self._kept if name in wanted]

    @abstractmethod
    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, a part at a time."""

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """The few rows of a small result."""
        return table.to_pyarrow().to_pylist()  # type: ignore[no-any-return]

    connection: Any


class DuckDB(Engine):
    """DuckDB in this process, out of core.

    Args:
        folder: see the base class.
        time_zone: see the base class.
        memory: megabytes that it may use.
    """

    name = "duckdb"

    def __init__(self, folder: Path, time_zone: str, memory: int | None = None) -> None:
        super().__init__(folder, time_zone)
        self.connection = ibis.duckdb.connect(folder / "tables.duckdb")
        shows_progress = self.connection.raw_sql("SELECT current_setting('enable_progress_bar')").fetchone()[0]
        settings = {
            "memory_limit": f"'{memory or default_memory()}MB'",
            "temp_directory": _quoted(folder / "spilled"),
            "TimeZone": _quoted(time_zone),
            "threads": len(os.sched_getaffinity(0)),
            **({"enable_progress_bar": "false"} if shows_progress else {}),  # Jupyter without widgets refuses even that
        }
        for name, value in settings.items():
            self.connection.raw_sql(f"SET {name} = {value}")

    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """See the base class."""
        fields = _fields(columns)
        table = self._read_text(files, columns) if files.kind == "text" else self._read_rows(files, columns)
        files.check_read()
        return table.select(*fields, "fault", "line", "row")

    def _read_rows(self, files: LogFiles, columns: Sequence[str]) -> Table:
        connection, name = self.connection.con, self._new_name()
        connection.register("incoming", _schema(columns).empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM incoming")
        for rows in _rows(files, columns):
            connection.register("incoming", rows)
            connection.execute(f"INSERT INTO {name} FROM incoming")
        connection.unregister("incoming")
        return self.connection.table(name)

    def _read_text(self, files: LogFiles, columns: Sequence[str]) -> Table:
        paths, refused = files.plain_texts(folder := Path(tempfile.mkdtemp(dir=self.folder)))
        fields, names = _fields(columns), [f"c{number}" for number in range(len(files.columns))]
        table = self.connection.read_csv(
            [glob.escape(path) for path in paths],
            columns=dict.fromkeys(names, "VARCHAR"),
            header=files.header,
            delim=files.form.separator,
            quote=files.form.quote,
            escape=files.form.quote,
            comment="",
            compression="none",
            auto_detect=False,  # it takes beginnings of files for other things
            hive_partitioning=False,
            strict_mode=True,
            nullstr="\x01\x02",  # or a column too many is none where it is empty
            store_rejects=True,
            rejects_limit=0,
        )
        if not files.form.separator.strip(" \t"):  # then a blank line may have as many columns as the others
            table = table.filter(ibis.or_(*(table[name].fill_null("").strip() != "" for name in names)))
        used = {field: table[names[files.columns.index(name)]] for field, name in zip(fields, columns, strict=True)}
        # A stray quote takes all lines up to the next: no value may have more than one.
        whole = ibis.literal(files.form.separator).join([table[name].fill_null("") for name in names])
        broken = ibis.or_(*(table[name].contains("\n") for name in names))
        kept = self.keep(table.select(**used, broken=ibis.ifelse(broken, whole, ibis.null("string"))))
        self._refuse_open_quotes(dict(zip(paths, files.paths, strict=True)))
        name = self._new_name()
        self.connection.raw_sql(
            f"""CREATE TABLE {name} AS SELECT text, '{COLUMNS}' AS fault FROM (
                SELECT any_value(csv_line) AS text FROM reject_errors GROUP BY file_id, line ORDER BY file_id, line
            ) WHERE trim(text, chr(9) || chr(10) || chr(13) || ' ') <> '' UNION ALL
            SELECT unnest(split(broken, chr(10))), '{COLUMNS}' FROM {kept.get_name()} WHERE broken IS NOT NULL"""
            + (f" UNION ALL SELECT line, fault FROM read_parquet({_quoted(refused)})" if refused else "")
        )
        self.connection.raw_sql("DELETE FROM reject_errors")  # those of the next log would be put behind them
        self.connection.raw_sql("DELETE FROM reject_scans")
        shutil.rmtree(folder)
        malformed = self.connection.table(name)
        # Where they were among the others is of no use: they make no clicks.
        malformed = malformed.select(
            **{field: ibis.null("string") for field in fields},
            fault=malformed.fault,
            line=malformed.text,
            row=-1 - malformed.rowid(),
        )
        nothing = ibis.null("string")
        kept = kept.mutate(row=kept.rowid(), fault=nothing, line=nothing).filter(_.broken.isnull())
        return kept.select(*fields, "fault", "line", "row").union(malformed)

    def stored(self, path: Path) -> Table:
        """See the base class."""
        return self.connection.read_parquet([glob.escape(str(path))], hive_partitioning=False)

    def _refuse_open_quotes(self, named: dict[str, str]) -> None:
        """How many rows such a quote has swallowed is not known, so that they cannot be counted as bad."""
        found = self.connection.con.execute(
            """SELECT file_path, line FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
            WHERE contains(trim(csv_line, chr(9) || chr(10) || chr(13) || ' '), chr(10)) ORDER BY ALL LIMIT 1"""
        ).fetchone()
        if found is not None:
            raise ValueError(
                f"{named[found[0]]}: expected quoted values to end in their line, got one in line {found[1]} that does "
                "not; --quote '' if quotes mean nothing in this log"
            )

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """See the base class."""
        # Ibis's own way asks DuckDB 2 for a method that it no longer has.
        yield from self.connection.con.sql(self.connection.compile(table)).to_arrow_reader(_BATCH)

    def version(self) -> str:
        """See the base class."""
        return f"DuckDB {self.connection.version}, Ibis {ibis.__version__}"

    def close(self) -> None:
        """See the base class."""
        self.connection.disconnect()


class Spark(Engine):
    """Apache Spark, on this machine or on a cluster.

    Args:
        folder: see the base class; tables that are kept go there, so a cluster's machines must see it too.
        time_zone: see the base class.
        memory: megabytes that Java may use on this machine.
        master: such as ``local[*]`` or ``spark://host:7077``.
    """

    name = "spark"

    def __init__(self, folder: Path, time_zone: str, memory: int | None = None, master: str = "local[*]") -> None:
        super().__init__(folder, time_zone)
        settings = {
            "spark.driver.memory": f"{memory or default_memory()}m",
            "spark.sql.session.timeZone": time_zone,
            "spark.sql.warehouse.dir": str(folder / "tables"),
            "spark.local.dir": str(folder / "spilled"),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            # A row with a column too many is found out only where all columns are parsed.
            "spark.sql.csv.parser.columnPruning.enabled": "false",
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            "spark.sql.parquet.compression.codec": "zstd",
        }
        self.session = own_spark_session("tagnn-fast prepare", master, settings)
        self.session.sparkContext.setLogLevel("ERROR")
        self.connection = ibis.pyspark.connect(self.session)
        self.connection.raw_sql(f"SET TIME ZONE {_quoted(time_zone)}")

    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """See the base class."""
        fields = _fields(columns)
        table = self._read_text(files, columns) if files.kind == "text" else self._read_rows(files, columns)
        files.check_read()
        return table.select(*fields, "fault", "line", "row")

    def _read_rows(self, files: LogFiles, columns: Sequence[str]) -> Table:
        name = self._new_view()
        path = self.folder / f"{name}.parquet"
        with pq.ParquetWriter(path, _schema(columns)) as writer:
            for rows in _rows(files, columns):
                writer.write_table(rows)
        self.session.read.parquet(str(path)).createOrReplaceTempView(name)
        return self.connection.table(name)

    def _new_view(self) -> str:
        self._made += 1
        return f"read_{self._made}"

    def _read_text(self, files: LogFiles, columns: Sequence[str]) -> Table:
        from pyspark.sql import functions as f

        folder = Path(tempfile.mkdtemp(dir=self.folder))
        plain, refused = files.plain_texts(folder)
        fields, names = _fields(columns), [f"c{number}" for number in range(len(files.columns))]
        reader = self.session.read.schema(", ".join(f"{name} string" for name in [*names, "line"]))
        reader = reader.options(
            header=files.header,
            sep=files.form.separator,
            quote=files.form.quote,
            escape=files.form.quote,
            mode="PERMISSIVE",
            columnNameOfCorruptRecord="line",
            enforceSchema=True,
            recursiveFileLookup=True,  # or folders such as item=9 are columns
        )
        places = [files.columns.index(name) for name in columns]
        kept = [f.col(names[place]).alias(field) for place, field in zip(places, fields, strict=True)]
        fault = f.when(f.col("line").isNotNull(), COLUMNS).alias("fault")
        frame = reader.csv([_literally(path) for path in plain])
        name = self._new_view()
        frame.select(*kept, fault, "line", *_places(f)).write.saveAsTable(f"{name}_text")
        read = self.session.table(f"{name}_text")
        for path in folder.glob("*.txt"):
            path.unlink()

        # Splits of a file are read in any order: count their rows to number all from the first file's first on.
        order = {path: number for number, path in enumerate(plain)}
        blocks = read.groupBy("file", "block").agg(f.min("id").alias("first"), f.count("*").alias("rows")).collect()
        blocks.sort(key=lambda block: (order[_path(block["file"])], block["block"]))
        before, bases = 0, []
        for block in blocks:
            bases.append((block["file"], block["block"], before - block["first"]))
            before += block["rows"]
        base = self.session.createDataFrame(bases, "file string, block long, base long")
        numbered = read.join(f.broadcast(base), ["file", "block"]).withColumn("row", f.col("id") + f.col("base"))
        numbered = numbered.select(*fields, "fault", "line", "row")
        if refused:
            row = (f.lit(-1) - f.monotonically_increasing_id()).alias("row")
            nothing = [f.lit(None).cast("string").alias(field) for field in fields]
            numbered = numbered.union(self.session.read.parquet(refused).select(*nothing, "fault", "line", row))
        numbered.createOrReplaceTempView(name)
        return self.connection.table(name)

    def stored(self, path: Path) -> Table:
        """See the base class."""
        frame = self.session.read.options(recursiveFileLookup=True).parquet(_literally(path))
        frame.createOrReplaceTempView("stored")
        return self.connection.table("stored")

    def batches(self, table: Table) -> Iterator[pa.RecordBatch]:
        """See the base class."""
        # In files: Ibis would hold all of it in Java's memory, and there is a limit on that.
        result = self.folder / "result"
        self.session.sql(self.connection.compile(table)).write.parquet(str(result), mode="overwrite")
        for part in sorted(result.glob("part-*.parquet")):  # in the order that the table has
            yield from pq.ParquetFile(part).iter_batches(_BATCH)

    def version(self) -> str:
        """See the base class."""
        return f"Spark {self.session.version}, Ibis {ibis.__version__}"

    def close(self) -> None:
        """See the base class."""
        with suppress(Exception):
            self.session.stop()


def default_memory() -> int:
    """Megabytes that an engine may use: 3000, since more made none faster, or a third of the memory there is."""
    return min(3000, usable_memory() // 3_000_000)


def _fields(columns: Sequence[str]) -> list[str]:
    """Names that are the pipeline's own, whatever those of the log's columns are."""
    return [f"field_{number}" for number in range(len(columns))]


def _schema(columns: Sequence[str]) -> pa.Schema:
    texts = [pa.field(name, pa.string()) for name in (*_fields(columns), "fault", "line")]
    return pa.schema([*texts, pa.field("row", pa.int64())])


def _rows(files: LogFiles, columns: Sequence[str]) -> Iterator[pa.Table]:
    """What :meth:`Engine.read` gives, of files that are no text, many rows at once."""
    before = 0
    if files.kind == "parquet":
        files.described  # noqa: B018 - hashed before they are read
    rows = parquet_rows if files.kind == "parquet" else json_rows
    for fields, fault, line in rows(files, columns):
        row = pa.array(range(before, before + len(fault)), pa.int64())
        yield pa.Table.from_arrays([*fields, fault, line, row], schema=_schema(columns))
        before += len(fault)


def _places(f: Any) -> list[Any]:
    return [
        f.col("_metadata.file_path").alias("file"),
        f.col("_metadata.file_block_start").alias("block"),
        f.monotonically_increasing_id().alias("id"),
    ]


def _literally(path: str | Path) -> str:
    """A path for Spark, which takes patterns."""
    return re.sub(r"([\\\[\]{}*?])", r"\\\1", str(path))


def _path(uri: str) -> str:
    return re.sub("^file:/+", "/", unquote(uri))


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
