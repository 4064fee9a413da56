"""Formats of times in the letters of strftime, as patterns whose groups hold the parts."""

from __future__ import annotations

import re
from functools import cached_property

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = tuple(name[:3] for name in _MONTHS)
YEAR = r"(?:19|20|21)\d{2}"
ZONE = r"(?:Z|UTC|GMT|[+-](?:0\d|1[0-7])(?::?[0-5]\d)?)"

# Directives and what they match; those after a slash are of the same part of a time.
_PARTS = {
    "Y": YEAR,
    "y": r"\d{2}",
    "m": r"1[0-2]|0[1-9]|[1-9]",
    "b": "|".join(MONTHS),
    "B": "|".join(_MONTHS),
    "d": r"3[01]|[12]\d|0[1-9]|[1-9]| [1-9]",
    "j": r"36[0-6]|3[0-5]\d|[12]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]",
    "H": r"2[0-3]|[01]\d|\d",
    "I": r"1[0-2]|0[1-9]|[1-9]",
    "p": "am|pm",
    "M": r"[0-5]\d|\d",
    "S": r"[0-5]\d|\d",
    "f": r"\d{1,9}",
    "z": ZONE,
}
_WITHOUT_VALUE = {"a": "|".join(name[:3] for name in _DAYS), "A": "|".join(_DAYS)}
_SHORT = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M"}
_SAME = {"B": "b", "e": "d", "Z": "z"}
DIRECTIVES = "".join(sorted({*_PARTS, *_WITHOUT_VALUE, *_SHORT, *_SAME, "%"}, key=str.lower))


class TimeFormat:
    """A format such as ``%d/%m/%Y %H:%M:%S``, matched as a whole, whatever the case of letters.

    Directives mean what they mean in Python's `datetime.strptime`, in English: %Y (1900 to 2199), %y (69 to 99 are of
    the 20th century), %m, %b or %B, %d or %e, %j; %H, or %I and %p; %M, %S (to 59), %f (1 to 9 digits; those below a
    microsecond are dropped); %z or %Z (Z, UTC, GMT, +02, +0200, +02:00); %a and %A, which are not compared with the
    date; %F, %T, %R for several; %% is a percent sign. A blank stands for one or more.

    Args:
        text: the format.

    Attributes:
        groups: directives, of each group of the pattern.
        pattern: in the syntax that Python, RE2 and Java have in common.

    Raises:
        ValueError: on another directive, one twice, or where they do not make a date.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.groups: list[str] = []
        self.pattern = rf"(?i)^{self._translated(text)}$"
        given = set(self.groups)
        dates = {"m", "b", "d"} & given
        whole = ("Y" in given) != ("y" in given) and (
            not dates if "j" in given else "d" in given and ("m" in given) != ("b" in given)
        )
        if not whole:
            raise ValueError(f"time_format: expected a date, such as %Y-%m-%d, %d/%m/%y or %Y %j, got {text!r}")
        if ("I" in given) != ("p" in given) or ("I" in given and "H" in given):
            raise ValueError(f"time_format: expected %H, or %I and %p together, got {text!r}")

    def _translated(self, text: str) -> str:
        pattern = ""
        for part in re.findall(r"%.?|\s+|[^%\s]+", text, re.DOTALL):
            letter = part[1:]
            if not part.startswith("%"):
                pattern += r"\s+" if part.isspace() else re.escape(part)
            elif letter == "%":
                pattern += "%"
            elif letter in _SHORT:
                pattern += self._translated(_SHORT[letter])
            elif letter in _WITHOUT_VALUE:
                pattern += f"(?:{_WITHOUT_VALUE[letter]})"
            elif letter in _PARTS or letter in _SAME:
                pattern += self._group(letter)
            else:
                raise ValueError(
                    f"time_format: expected directives out of {', '.join('%' + known for known in DIRECTIVES)}, "
                    f"got {part!r} in {self.text!r}"
                )
        return pattern

    def _group(self, letter: str) -> str:
        name = _SAME.get(letter, letter)
        if name in self.groups:
            raise ValueError(f"time_format: expected each part of a time once, got %{letter} again in {self.text!r}")
        self.groups.append(name)
        return f"({_PARTS[letter if letter in _PARTS else name]})"

    @cached_property
    def has_zone(self) -> bool:
        """Whether times say their zone."""
        return "z" in self.groups
