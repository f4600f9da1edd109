"""Reading text that a person typed: one entry a line, and every fault told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import TypeVar

# Docker's own lower bound (daemon/daemon_unix.go: linuxMinMemory).
LEAST_MEMORY = 6 * 1024 * 1024
# docker/go-units, RAMInBytes: units are powers of 1024, the "i" and the "b" are decoration.
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])?i?b?", re.IGNORECASE | re.ASCII)

T = TypeVar("T")


class Malformed(ValueError):
    """One field's text cannot be read. `problems`: a message for each fault, in the order of the text.

    A message says what was expected and what was found, and in which line where there are lines.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


def entries(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a field that say something, with their numbers from 1; empty ones and those that begin
    with “#” are passed over. Trailing blanks are kept: they may belong to a value.
    """
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        bare = line.lstrip()
        if bare.strip() and not bare.startswith("#"):
            yield number, bare


def each_line(text: str, parse: Callable[[str], T]) -> list[tuple[int, T]]:
    """`parse` on every entry. Raises Malformed with the faults of all lines, each with its number."""
    parsed, problems = [], []
    for number, line in entries(text):
        try:
            parsed.append((number, parse(line)))
        except Malformed as exc:
            problems += [f"Line {number}: {problem}" for problem in exc.problems]
    if problems:
        raise Malformed(*problems)
    return parsed


def refuse_twice(keys: Iterable[tuple[int, str]], what: str) -> None:
    """Raise Malformed for every one of `keys` (line number, key) that an earlier line has already."""
    first: dict[str, int] = {}
    problems = []
    for number, key in keys:
        if key in first:
            problems.append(f"Line {number}: expected each {what} once, found “{key}” in line {first[key]} already.")
        first.setdefault(key, number)
    if problems:
        raise Malformed(*problems)


def parse_variables(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines; the value is everything after the first “=”, blanks and quotes included."""
    pairs = each_line(text, _variable)
    refuse_twice([(number, key) for number, (key, _) in pairs], "variable")
    return dict(pair for _, pair in pairs)


def _variable(line: str) -> tuple[str, str]:
    key, equals, value = line.partition("=")
    if not equals:
        key = key.strip()
        raise Malformed(f"expected KEY=VALUE, found “{key}”. For an empty value write “{key}=”.")
    if not key or any(char.isspace() for char in key):
        raise Malformed(f"expected a name without blanks before “=”, found “{key}”.")
    return key, value


def parse_memory(text: str) -> int:
    """A size such as `512m` or `1.5g` in bytes; 0 (no limit) when nothing was typed."""
    text = text.strip()
    if not text:
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Malformed(f"expected a size such as 512m or 1.5g, found “{text}”.")
    amount, unit = match.groups()
    size = int(Decimal(amount) * 1024 ** (" kmgtp".index(unit.lower()) if unit else 0))
    if 0 < size < LEAST_MEMORY:
        advice = "" if unit else f" Without a unit it counts bytes: perhaps “{text}m”?"
        raise Malformed(f"expected 6m (6 MiB, the engine's minimum) or more, found “{text}”.{advice}")
    if size >= 2**63:
        raise Malformed(f"expected a size below 8192p, found “{text}”.")
    return size
