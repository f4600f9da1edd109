"""Durations as Go writes them: 300ms, 1.5h, 1m30s (package time, ParseDuration)."""

import re
from fractions import Fraction

from .errors import Fault, quoted

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_MOST = 2**63 - 1  # Go's int64 of nanoseconds: 292 years


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises Fault in Go's words."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    total = 0
    if rest != "0":
        if not rest:
            raise Fault(f"time: invalid duration {quoted(text)}")
        pos = 0
        while pos < len(rest):
            match = _PART.match(rest, pos)
            if not match or not (match[1] or match[2]) or len(match[0]) > 100:
                raise Fault(f"time: invalid duration {quoted(text)}")
            total += _nanoseconds(text, match)
            pos = match.end()
        if total > _MOST:
            raise Fault(f"time: invalid duration {quoted(text)}")
    return -total if text.startswith("-") else total


def _nanoseconds(text: str, match: re.Match[str]) -> int:
    whole, decimals, unit = match[1] or "0", match[2] or "", match[3]
    if not unit:
        raise Fault(f"time: missing unit in duration {quoted(text)}")
    if unit not in _UNITS:
        raise Fault(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
    return int(Fraction(int(whole + decimals), 10 ** len(decimals)) * _UNITS[unit])
