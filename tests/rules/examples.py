"""Random logs with random mess, and options for them: all from a number."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

from tests.rules.choices import Choices
from tests.rules.clicks import TIME_FORMATS, any_form, date, one_form, raw_clicks
from tests.rules.log import NAMED, PAPER, PAPER_OF, Log, Rules
from tests.rules.log_files import columns_of, json_files, parquet_files, text_files

ZONES = ("UTC", "Europe/Vienna", "Asia/Tokyo", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu")
MANY = 10**6


@dataclass
class Example:
    """A log in files, and the command that prepares it: what comes before the output, and what comes behind it."""

    seed: int
    log: Log
    rules: Rules
    paths: list[Path] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    titles: dict[str, str] | None = None
    alike: bool = True  # for every engine: they are known to differ in stray quotes

    def __str__(self) -> str:
        files = "\n".join(f"{path}: {shown(path)}" for path in self.paths)
        return f"seed {self.seed}: {' '.join(map(repr, self.options))}\n{self.log}\n{self.rules}\n{files}"


def shown(path: Path) -> str:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return f"{table.schema.to_string(show_schema_metadata=False)} {table.to_pylist()[:30]}"
    content = path.read_bytes()
    return repr((gzip.decompress(content) if path.suffix == ".gz" else content)[:3000])


def example(seed: int, folder: Path) -> Example:
    """The example of that number, its files in the folder."""
    w = Choices(seed, folder)
    kind = w.random.choices(("text", "parquet", "json", "named"), (0.55, 0.15, 0.15, 0.15))[0]
    named = w.one(*NAMED) if kind == "named" else None
    log = replace(NAMED[named]) if named else described_log(w, kind)
    rules = chosen_rules(w, log, named)
    clicks = raw_clicks(w, log)
    zone = ZoneInfo(rules.time_zone)
    if log.time_format is not None or (log.unit == "iso" and w.chance(0.7)):
        w.time = one_form(w, log, zone)
    else:
        w.time = any_form(w, log, zone)
    forms = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z")
    if w.chance(0.1):
        rules.from_time = date(w.first + (w.middle - w.first) // 4, zone).strftime(w.one(*forms[1:]))
    if w.chance(0.1):
        rules.until_time = date(w.last - (w.last - w.middle) // 4, zone).strftime(w.one(*forms[1:]))
    if w.chance(0.1):
        rules.test_from = date(w.middle, zone).strftime(w.one(*forms))
    made = Example(seed, log, rules)
    if kind == "json" or named == "otto":
        made.paths = json_files(w, log, clicks)
    elif kind == "parquet":
        made.paths = parquet_files(w, log, clicks)
    else:
        made.paths = text_files(w, log, clicks)
    made.alike = w.alike
    made.options = arguments(w, made, named)
    if w.chance(0.2):
        some = w.random.sample(sorted({click.item for click in clicks if click.item} | {"x"}), 2)
        made.titles = {name: f"title of {number}" for number, name in enumerate([*some, "nothing"]) if "\t" not in name}
        path = folder.parent / "titles.tsv"
        path.write_text("id\ttitle\n" + "".join(f"{name}\t{title}\n" for name, title in made.titles.items()))
        made.options += ["--titles", str(path)]
    return made


def described_log(w: Choices, kind: str) -> Log:
    plain = {"text": ("session id", "session"), "parquet": ("session.id", "s"), "json": ("session.id", "s")}[kind]
    log = Log(session=w.one(*plain), item=w.one("item", "product`s"), time=w.one("time", "größe t"))
    owners = w.random.choices(("session", "both", "user"), (0.5, 0.15, 0.35))[0]
    if owners != "session":
        log.user = "user" if kind != "json" else w.one("user", "user.id")
    if owners == "user":
        log.session = None
    if w.chance(0.25):
        log.event = "event"
        log.events = w.one(("view",), ("view", "cart"), ("a view",))
    times = w.random.choices(("iso", "number", "format"), (0.55, 0.3, 0.15))[0]
    if times == "number":
        log.unit = w.one("seconds", "milliseconds", "microseconds", "nanoseconds")
    elif times == "format":
        log.time_format = w.one(*TIME_FORMATS)
    if kind != "text":
        if kind == "json" and w.chance(0.3):
            log.item, log.time = "events.aid", w.one("events.ts", "time")
            log.event = log.event and "events.type"
        return log
    log.separator = w.one(",", ",", "\t", ";", "|", "::", "§", " || ")
    log.quote = w.one('"', '"', '"', "'", "")
    log.encoding = w.one("utf-8", "utf-8", "utf-8", "utf-8", "latin-1", "cp1252", "utf-16")
    if w.chance(0.25):
        log.columns = tuple(columns_of(w, log))
    return log


def chosen_rules(w: Choices, log: Log, named: str | None) -> Rules:
    rules = Rules(minimum_support=w.one(1, 1, 2, 2, 3, 5), max_bad_rows=MANY if w.messy else 0)
    if w.chance(0.15):
        rules.max_bad_rows = w.random.randrange(4)
    if log.session is None:
        rules.sessions = w.one("gap", "gap", "day")
        if rules.sessions == "gap" and w.chance(0.5):
            rules.gap = w.one("90s", "5m", "10m", "2h")
    w.paper = named is not None and w.chance(0.35)
    if w.paper:
        rules = replace(rules, **{**PAPER, **PAPER_OF.get(named or "", {})})
    elif named == "diginetica":
        rules.order = "time"
    if w.chance(0.4):
        rules.time_zone = w.one(*ZONES)
    w.hours = w.one(2, 24, 72, 140)
    if w.hours < 72 or w.chance(0.4):
        rules.test = w.one("1s", "600s", "30m", "1h") if w.hours < 24 else w.one("1h", "5h", "6h", "12h", "90m")
    if w.chance(0.05):
        rules.test = w.one("0s", "1d", "7d")
    optional: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("order", lambda: w.one("time", "file")),
        ("collapse_repeats", lambda: True),
        ("minimum_length", lambda: w.one(1, 2, 3)),
        ("until_stable", lambda: True),
        ("support_from", lambda: w.one("train", "all")),
        ("maximum_length", lambda: w.one(2, 3, 5)),
        ("max_session_clicks", lambda: w.one(3, 4, 6, 8)),
        ("fraction", lambda: w.one(2, 4, 16)),
        ("cold_items", lambda: w.one("drop", "keep")),
        ("item_ids", lambda: w.one("integer", "string", "auto")),
    )
    for name, value in optional:
        if w.chance(0.15):
            setattr(rules, name, value())
    # Refused, since it would do nothing.
    if rules.minimum_support == 1:
        rules.support_from = PAPER["support_from"] if w.paper else "train"
    if 1 in (rules.minimum_support, rules.minimum_length):
        rules.until_stable = False
    return rules


def arguments(w: Choices, made: Example, named: str | None) -> list[str]:
    log, rules = made.log, made.rules
    given: list[str] = []
    if named is not None:
        given += ["--format", named]
        given += ["--preset", "paper"] if w.paper else []
    else:
        for name in ("session", "user", "item", "time", "event"):
            if getattr(log, name) is not None:
                given += [f"--{name}-column", getattr(log, name)]
        given += ["--time-unit", log.unit] if log.unit != "iso" else []
        given += ["--time-format", log.time_format] if log.time_format is not None else []
        given += ["--separator", log.separator.replace("\t", "\\t")] if log.separator != "," else []
        given += ["--quote", log.quote] if log.quote != '"' else []
        given += ["--columns", w.one(",", ", ").join(log.columns)] if log.columns else []
        given += ["--events", w.one(",", " , ").join(log.events)] if log.events else []
        given += ["--encoding", log.encoding] if log.encoding != "utf-8" else []
    base = replace(Rules(), **({**PAPER, **PAPER_OF.get(named or "", {})} if w.paper else {}))
    if rules.sessions == "gap":
        base.sessions = "gap"  # with users
    flags = {"from_time": "--from", "until_time": "--until"}
    for name in Rules.__dataclass_fields__:
        value = getattr(rules, name)
        if value == getattr(base, name) and not w.chance(0.02):
            continue
        if (
            value is None
            or name in ("date", "date_unit", "boundary", "catalogue")
            or (name in ("test", "gap", "support_from") and not_used(name, rules))
        ):
            continue
        if name == "sessions" and log.session is not None:
            continue
        flag = flags.get(name, "--" + name.replace("_", "-"))
        if isinstance(value, bool):
            given.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            given += [flag, str(value)]
    return given


def not_used(name: str, rules: Rules) -> bool:
    if name == "support_from":
        return rules.minimum_support == 1
    return rules.test_from is not None if name == "test" else rules.sessions != "gap"
