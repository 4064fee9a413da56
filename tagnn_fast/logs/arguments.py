"""The options of ``prepare logs`` to a format and to what is done: each is obeyed, or refused beside another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, get_args

from tagnn_fast.checks import check_text, is_table
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import FORMATS, LogFormat
from tagnn_fast.logs.options import PUBLISHED, READY_SPLIT, PrepareOptions

Preset = Literal["clean", "published", "paper"]  # the last is another name for the one before
_COLUMNS = ("item", "time", "event")
_TEXTS = (*_COLUMNS, "format", "session", "user", "time_unit", "time_format", "separator", "quote", "encoding")
_LISTS = ("events", "columns")
_OF_TEXT = ("separator", "quote", "columns", "encoding")


def log_format(given: dict[str, Any]) -> LogFormat:
    """The named format, or the one that columns describe; other options change it.

    Raises:
        TypeError: on an option that is no string.
        ValueError: on options that say nothing together, or not enough.
    """
    for name in _TEXTS:
        if name in given:
            check_text(given[name], name)
    changes: dict[str, Any] = {name: given[name].strip() for name in _COLUMNS if name in given}
    changes.update(_owner(given))
    if "time_unit" in given and "time_format" in given:
        raise ValueError("expected --time-unit or --time-format, got both")
    if "time_format" in given:
        changes.update(time_unit="iso", time_format=given["time_format"])
    changes.update({key: given[key] for key in ("time_unit", "quote", "encoding") if key in given})
    changes.update({key: _listed(given[key], key) for key in _LISTS if key in given})
    if "" in changes.get("events", ()):
        raise ValueError(f"events: expected kinds with commas between, got {given['events']!r}")
    if "separator" in given:
        changes["separator"] = given["separator"].replace("\\t", "\t")
    if "format" in given:
        if given["format"] not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {given['format']!r}")
        form = dataclasses.replace(FORMATS[given["format"]], **changes)
    else:
        missing = [f"--{name}-column" for name in ("item", "time") if name not in given]
        if "owner" not in changes:
            missing.insert(0, "--session-column or --user-column")
        if missing:
            raise ValueError(f"expected --format, or the columns: {', '.join(missing)} not given")
        form = LogFormat("generic", **changes)
    _refuse_one_for_two(form)
    if (form.event is None) != (not form.events):
        raise ValueError("expected --event-column and --events together")
    return form


def _refuse_one_for_two(form: LogFormat) -> None:
    owners = {"user": form.owner} if form.owner_is_user else {"session": form.owner, "user": form.user}
    seen = dict[str, str]()
    for name, column in {**owners, "item": form.item, "time": form.time, "event": form.event}.items():
        if column is not None and (first := seen.setdefault(column, name)) != name:
            raise ValueError(
                f"expected different columns for --{first}-column and --{name}-column, got {column!r} for both"
            )


def _owner(given: dict[str, Any]) -> dict[str, Any]:
    session, user = (given[name].strip() if name in given else None for name in ("session", "user"))
    if session is not None:
        return {"owner": session, "user": user, "owner_is_user": False}
    if user is not None:
        # Where a click is in a session that the log has says nothing about those that are yet to be made.
        return {"owner": user, "user": None, "owner_is_user": True, "since_start": None}
    return {}


def _listed(names: object, option: str) -> tuple[str, ...]:
    listed = names.split(",") if isinstance(names, str) else names
    if is_table(listed) or not isinstance(listed, Iterable) or isinstance(listed, bytes):
        raise TypeError(f"{option}: expected strings, or one with commas between, got {type(names).__name__}")
    return tuple(check_text(name, option).strip() for name in listed)


def prepare_options(form: LogFormat, preset: str, given: dict[str, Any]) -> PrepareOptions:
    """The preset's options, with those that are given.

    Raises:
        ValueError: on an option that would do nothing, or another's opposite.
    """
    if preset not in get_args(Preset):
        raise ValueError(f"preset: expected clean or published, got {preset!r}")
    fields = {field.name for field in dataclasses.fields(PrepareOptions)}
    values = {key: value for key, value in given.items() if key in fields}
    values.setdefault("sessions", "gap" if form.owner_is_user else "given")
    if form.owner_is_user == (values["sessions"] == "given"):
        expected = "gap or day, since the log has users" if form.owner_is_user else "given, since the log has sessions"
        raise ValueError(f"sessions: expected {expected}, got {values['sessions']!r}")
    base = {**PUBLISHED, **form.published} if preset != "clean" else {}
    if "test_logs" in given:
        _refuse(given, ("test", "test_from"), "--test-logs")
        if preset != "clean":
            raise ValueError(f"preset: expected clean with --test-logs, which are split already, got {preset!r}")
        base = READY_SPLIT
    options = PrepareOptions(**{**base, **values})
    if "gap" in given and options.sessions != "gap":
        why = "with --sessions day" if form.owner_is_user else "where the log has sessions"
        raise ValueError(f"gap: expected none {why}, got {options.gap!r}")
    if "test" in given and "test_from" in given:
        raise ValueError("expected --test or --test-from, got both")
    if options.minimum_support == 1:
        _refuse(given, ("until_stable", "support_from"), "--minimum-support 1")
    if options.minimum_length == 1:
        _refuse(given, ("until_stable",), "--minimum-length 1")  # rare items go, and no session with them
    return options


def _refuse(given: dict[str, Any], names: tuple[str, ...], beside: str) -> None:
    """Options that another leaves nothing to do."""
    for name in names:
        if given.get(name):
            raise ValueError(f"{name}: expected none with {beside}, got {given[name]!r}")


def check_files(files: LogFiles, given: dict[str, Any]) -> None:
    """Refuse what says how text is read where there is none."""
    for name in _OF_TEXT:
        if name in given and files.kind != "text":
            raise ValueError(f"{name}: expected none for {files.kind} files, got {given[name]!r}")
