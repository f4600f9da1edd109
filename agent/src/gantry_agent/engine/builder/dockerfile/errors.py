"""What can be wrong in a Dockerfile, and where.

A reader of a part raises Fault; `parse` and `expand`, who know the line, make a DockerfileError of it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from gantry_agent.engine.errors import InvalidArgument

DEFAULT_NAME = "Dockerfile"
_SHOWN = 200  # characters of a quoted text; an error is for people
_NEAR = 3  # slips of fewer letters than this are guessed at, as Docker does (buildkit, util/suggest)


@dataclass(frozen=True, slots=True)
class Place:
    """Lines `line` to `end_line` of a file, from 1. Line 0 is the file as a whole."""

    file: str = DEFAULT_NAME
    line: int = 0
    end_line: int = 0


class Fault(Exception):
    """What is wrong with a part of an instruction. Never leaves this package."""


class DockerfileError(InvalidArgument):
    """What is wrong, in Docker's words where it has some: "dockerfile parse error on line 3: …".

    `text` is that without the line, `instruction` the name of it ("COPY"), "" for the file as a whole.
    """

    def __init__(self, text: str, place: Place, instruction: str = "") -> None:
        file = "" if place.file == DEFAULT_NAME else f"{place.file}: "
        where = f"dockerfile parse error on line {place.line}: " if place.line else ""
        # What is not UTF-8 came in as surrogates; a message has to be fit for a response.
        super().__init__((file + where + text).encode("utf-8", "replace").decode())
        self.text = text
        self.place = place
        self.instruction = instruction


def quoted(text: str) -> str:
    """In double quotes with escapes, as Go's %q; cut when long."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return json.dumps(cut, ensure_ascii=False)


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """` (did you mean X?)` for the option nearest to a mistyped word, "" when none is near."""
    best, found = _NEAR, ""
    for option in sorted(options):
        distance = _distance(word, option, best)
        if distance < best:
            best, found = distance, option
    return f" (did you mean {found}?)" if found else ""


def _distance(one: str, other: str, limit: int) -> int:
    """The Levenshtein distance, or `limit` when it is not less."""
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return min(row[-1], limit)
