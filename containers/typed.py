"""Reading text that a person typed: one entry a line, and every fault told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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
