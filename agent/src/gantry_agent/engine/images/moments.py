"""Times as image configurations and filters write them."""

import re
import time
from datetime import UTC, datetime

from gantry_agent.engine.errors import InvalidArgument

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?(Z|z|[+-]\d\d:\d\d)?\Z", re.ASCII
)
_UNIX = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?\Z", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
ZERO = "0001-01-01T00:00:00Z"


def created_at(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time; 0 for what is none."""
    match = _RFC3339.match(text)
    if not match:
        return 0
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return 0
    zone = match[8] or "Z"
    offset = 0 if zone in "Zz" else (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (-1 if zone[0] == "-" else 1)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).days * 86400 + hour * 3600 + minute * 60 + second - offset
    return seconds * 10**9 + int((match[7] or "").ljust(9, "0"))


def rfc3339(nanoseconds: int) -> str:
    """The time in UTC with nanoseconds, as Go writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


def moment_of(text: str) -> int:
    """Nanoseconds since the epoch of a filter's value: RFC 3339, Unix seconds, or a Go duration back from now.

    Raises InvalidArgument.
    """
    if match := _UNIX.match(text):
        return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
    if _RFC3339.match(text):
        return created_at(text)
    try:
        return time.time_ns() - duration_of(text)
    except InvalidArgument as exc:
        raise InvalidArgument(
            f"invalid time {text[:60]!r}: expected RFC 3339, Unix seconds or a duration such as 24h"
        ) from exc


def duration_of(text: str) -> int:
    """Nanoseconds of a Go duration: 300ms, 1.5h, 1m30s, 0. Raises InvalidArgument."""
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("-"):
        raise InvalidArgument(f"invalid duration {text[:60]!r}")
    length = sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
    return -length if text.startswith("-") else length
