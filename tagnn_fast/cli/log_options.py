"""Options that say how logs are read and sessions made of their clicks, of every command that does so."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Format = Annotated[
    Optional[str],
    typer.Option(
        help="yoochoose, diginetica, retailrocket, tmall, nowplaying, lastfm, 30music, otto, recbole, rectools or "
        "session-rec; or name the columns below."
    ),
]
Session = Annotated[Optional[str], typer.Option("--session", "--session-column", help="Column with the session's id.")]
User = Annotated[
    Optional[str],
    typer.Option(
        "--user",
        "--user-column",
        help="Column with the user's id, where there are no sessions or their ids are unique only with it.",
    ),
]
Item = Annotated[Optional[str], typer.Option("--item", "--item-column", help="Column with the item's id.")]
Time = Annotated[Optional[str], typer.Option("--time", "--time-column", help="Column with the click's time.")]
TimeUnit = Annotated[
    Optional[str], typer.Option(help="iso; or seconds, milliseconds, microseconds or nanoseconds since 1970.")
]
TimeFormat = Annotated[Optional[str], typer.Option(help="Of other times, like %d/%m/%Y %H:%M:%S.")]
Event = Annotated[Optional[str], typer.Option("--event", "--event-column", help="Column with the kind of event.")]
Events = Annotated[Optional[str], typer.Option(help="Kinds that count as clicks, with commas between.")]
Separator = Annotated[Optional[str], typer.Option(help="Between columns, such as :: or \\t, a tab.")]
Quote = Annotated[Optional[str], typer.Option(help="Around values; empty for none.")]
Columns = Annotated[Optional[str], typer.Option(help="Names of all columns, for files without a header.")]
Encoding = Annotated[Optional[str], typer.Option(help="Of text, such as latin-1, cp1252 or utf-16; utf-8.")]
SessionsBy = Annotated[Optional[str], typer.Option(help="given; or, of a user's clicks, gap or day.")]
Gap = Annotated[Optional[str], typer.Option(help="Pause that ends a session, like 30m.")]
TimeZone = Annotated[Optional[str], typer.Option(help="Of times that state none, and of days; UTC.")]
FromTime = Annotated[Optional[str], typer.Option("--from", help="Leave out clicks before this.")]
UntilTime = Annotated[Optional[str], typer.Option("--until", help="Leave out clicks from this on.")]
Order = Annotated[Optional[str], typer.Option(help="Of a session's clicks: time or file.")]
CollapseRepeats = Annotated[Optional[bool], typer.Option(help="Drop clicks on the item clicked just before.")]
MaxSessionClicks = Annotated[
    Optional[int],
    typer.Option(help="Last clicks of longer sessions that are kept before any is counted: for robots."),
]
MaxBadRows = Annotated[
    int, typer.Option(min=0, help="Rows that cannot be read are dropped and reported; not more than these.")
]
