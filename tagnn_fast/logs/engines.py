"""What runs the pipeline's Ibis expressions. All that differs between engines is here: reading, and a few functions."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _
from ibis.expr.types import Column, IntegerColumn, StringColumn, Table, TimestampColumn

from tagnn_fast.logs.files import LogFiles
from tagnn_fast.memory import usable_memory

_BATCH = 1 << 20  # rows that come to Python at once
_INSTANT = dt.Timestamp(timezone="UTC")


class Engine(ABC):
    """Reads logs, keeps tables, gives results to Python. Used as a context manager.

    Attributes:
        name: what it is called.
        instant: the time so many microseconds after 1970 began in UTC, of int64 columns.
        microseconds: the inverse.

    Args:
        folder: for what does not fit into memory; emptied by who made it.
        time_zone: of times that do not state one.
    """

    name: str
    instant: Callable[[IntegerColumn], TimestampColumn]
    microseconds: Callable[[TimestampColumn], IntegerColumn]

    def __init__(self, folder: Path, time_zone: str) -> None:
        self.folder, self.time_zone = folder, time_zone
        self._made, self._kept = 0, list[str]()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """Rows of all files.

        Returns:
            `columns` as strings, the first as `field_0` and so on; `row`, int64, which rises from row to row and from
            file to file in their order; and `line`, the whole line where it has too many or too few columns, else null.
        """

    @abstractmethod
    def version(self) -> str:
        """Name and version, for the record."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def keep(self, table: Table) -> Table:
        """The same rows, computed once and stored."""
        self._made += 1
        name = f"kept_{self._made}"
        self._kept.append(name)
        return self.connection.create_table(name, table)

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


@ibis.udf.scalar.builtin(name="make_timestamptz")
def _duckdb_instant(microseconds: int) -> _INSTANT:  # type: ignore[valid-type]
    """DuckDB's own."""


@ibis.udf.scalar.builtin(name="epoch_us")
def _duckdb_microseconds(instant: _INSTANT) -> int:  # type: ignore[valid-type,empty-body]
    """DuckDB's own."""


class DuckDB(Engine):
    """DuckDB in this process, out of core.

    Args:
        folder: see the base class.
        time_zone: see the base class.
        memory: megabytes that it may use.
    """

    name = "duckdb"
    instant = staticmethod(_duckdb_instant)
    microseconds = staticmethod(_duckdb_microseconds)

    def __init__(self, folder: Path, time_zone: str, memory: int | None = None) -> None:
        super().__init__(folder, time_zone)
        self.connection = ibis.duckdb.connect(folder / "tables.duckdb")
        settings = {
            "memory_limit": f"'{memory or default_memory()}MB'",
            "temp_directory": _quoted(folder / "spilled"),
            "TimeZone": _quoted(time_zone),
            "threads": len(os.sched_getaffinity(0)),
            "enable_progress_bar": "false",
        }
        for name, value in settings.items():
            self.connection.raw_sql(f"SET {name} = {value}")

    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """See the base class."""
        fields, paths = _fields(columns), [glob.escape(path) for path in files.paths]
        if files.parquet:
            table = self.connection.read_parquet(paths)
            texts = {field: _text(table[name]) for field, name in zip(fields, columns, strict=True)}
            kept = self.keep(table.select(**texts, line=ibis.null("string")))
            return kept.mutate(row=kept.rowid())
        names = [f"c{number}" for number in range(len(files.columns))]
        table = self.connection.read_csv(
            paths,
            columns=dict.fromkeys(names, "VARCHAR"),
            header=files.header,
            delim=files.separator,
            quote=files.quote,
            escape=files.quote,
            strict_mode=bool(files.quote),  # without quotes it stumbles over Windows line ends
            store_rejects=True,
            rejects_limit=0,
        )
        used = {field: table[names[files.columns.index(name)]] for field, name in zip(fields, columns, strict=True)}
        # A stray quote takes all lines up to the next: no value may have more than one.
        whole = ibis.literal(files.separator).join([table[name].fill_null("") for name in names])
        broken = ibis.or_(*(table[name].contains("\n") for name in names))
        kept = self.keep(table.select(**used, broken=ibis.ifelse(broken, whole, ibis.null("string"))))
        self._refuse_open_quotes()
        self.connection.raw_sql(
            f"""CREATE TABLE malformed AS SELECT text FROM (
                SELECT any_value(csv_line) AS text FROM reject_errors GROUP BY file_id, line ORDER BY file_id, line
            ) WHERE trim(text, chr(9) || chr(10) || chr(13) || ' ') <> '' UNION ALL
            SELECT unnest(split(broken, chr(10))) FROM {kept.get_name()} WHERE broken IS NOT NULL"""
        )
        malformed = self.connection.table("malformed")
        # Where they were among the others is of no use: they make no clicks.
        malformed = malformed.select(
            **{field: ibis.null("string") for field in fields}, line=malformed.text, row=-1 - malformed.rowid()
        )
        kept = kept.mutate(row=kept.rowid(), line=ibis.null("string")).filter(_.broken.isnull())
        return kept.select(*fields, "line", "row").union(malformed)

    def _refuse_open_quotes(self) -> None:
        """How many rows such a quote has swallowed is not known, so that they cannot be counted as bad."""
        found = self.connection.con.execute(
            """SELECT file_path, line FROM reject_errors JOIN reject_scans USING (scan_id, file_id)
            WHERE contains(trim(csv_line, chr(9) || chr(10) || chr(13) || ' '), chr(10)) ORDER BY ALL LIMIT 1"""
        ).fetchone()
        if found is not None:
            raise ValueError(
                f"{found[0]}: expected quoted values to end in their line, got one in line {found[1]} that does not; "
                "--quote '' if quotes mean nothing in this log"
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


@ibis.udf.scalar.builtin(name="timestamp_micros")
def _spark_instant(microseconds: int) -> _INSTANT:  # type: ignore[valid-type]
    """Spark's own."""


@ibis.udf.scalar.builtin(name="unix_micros")
def _spark_microseconds(instant: _INSTANT) -> int:  # type: ignore[valid-type,empty-body]
    """Spark's own."""


class Spark(Engine):
    """Apache Spark, on this machine or on a cluster.

    Args:
        folder: see the base class; tables that are kept go there, so a cluster's machines must see it too.
        time_zone: see the base class.
        memory: megabytes that Java may use on this machine.
        master: such as ``local[*]`` or ``spark://host:7077``.
    """

    name = "spark"
    instant = staticmethod(_spark_instant)
    microseconds = staticmethod(_spark_microseconds)

    def __init__(self, folder: Path, time_zone: str, memory: int | None = None, master: str = "local[*]") -> None:
        from pyspark.sql import SparkSession

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
        builder = SparkSession.builder.appName("tagnn-fast prepare").master(master)
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        self.connection = ibis.pyspark.connect(self.session)
        self.connection.raw_sql(f"SET TIME ZONE {_quoted(time_zone)}")

    def read(self, files: LogFiles, columns: Sequence[str]) -> Table:
        """See the base class."""
        from pyspark.sql import functions as f

        plain = [self._unpacked(path) for path in files.paths]
        fields, paths = _fields(columns), [re.sub(r"([\\\[\]{}*?])", r"\\\1", path) for path in plain]
        if files.parquet:
            frame = self.session.read.parquet(*paths)
            floating = {name for name, kind in frame.dtypes if kind in ("float", "double")}
            quoted = {name: f.col("`" + name.replace("`", "``") + "`") for name in columns}
            texts = [quoted[name].cast("decimal(21,6)") if name in floating else quoted[name] for name in columns]
            kept = [text.cast("string").alias(field) for text, field in zip(texts, fields, strict=True)]
            frame = frame.select(*kept, f.lit(None).cast("string").alias("line"), *_places(f))
        else:
            names = [f"c{number}" for number in range(len(files.columns))]
            reader = self.session.read.schema(", ".join(f"{name} string" for name in [*names, "line"]))
            reader = reader.options(
                header=files.header,
                sep=files.separator,
                quote=files.quote,
                escape=files.quote,
                mode="PERMISSIVE",
                columnNameOfCorruptRecord="line",
                enforceSchema=True,
            )
            places = [files.columns.index(name) for name in columns]
            kept = [f.col(names[place]).alias(field) for place, field in zip(places, fields, strict=True)]
            # What stands for bytes that are no UTF-8: DuckDB refuses such lines.
            whole = f.concat_ws(files.separator, *names)
            line = f.coalesce("line", f.when(whole.contains("\ufffd"), whole)).alias("line")
            frame = reader.csv(paths).select(*kept, line, *_places(f))
        frame.write.saveAsTable("read")
        read = self.session.table("read")

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
        numbered.select(*fields, "line", "row").createOrReplaceTempView("numbered")
        return self.connection.table("numbered")

    def _unpacked(self, path: str) -> str:
        """A zstd file as plain text: Spark comes without what reads it."""
        if not path.endswith(".zst"):
            return path
        target = Path(tempfile.mkdtemp(dir=self.folder)) / Path(path).stem
        with pa.input_stream(path, compression="zstd") as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
        return str(target)

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


def _text(column: Column) -> StringColumn:
    """As text; numbers with a fraction the same way on every engine."""
    return (column.cast("decimal(21, 6)") if column.type().is_floating() else column).cast("string")


def _places(f: Any) -> list[Any]:
    return [
        f.col("_metadata.file_path").alias("file"),
        f.col("_metadata.file_block_start").alias("block"),
        f.monotonically_increasing_id().alias("id"),
    ]


def _path(uri: str) -> str:
    return re.sub("^file:/+", "/", unquote(uri))


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
