"""A Dockerfile read as far as Gantry needs it: its instructions with their lines, its stages, and who waits for whom.

The engine that builds it decides what is right; nothing is refused here. Rules: docs.docker.com/reference/dockerfile
(parser directives, line continuation, here-documents). Pure: no Django, no network.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

KNOWN = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
MOST_BYTES = 1024 * 1024
MOST_INSTRUCTIONS = 5000
MOST_STAGES = 500
LONGEST_TEXT = 500  # characters kept of an instruction for display

_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"(?<![<\w])\d*<<-?\s*([\"']?)([a-zA-Z_][\w.]*)\1")
_FROM = re.compile(r"(?:--platform=\S+\s+)?(\S+)(?:\s+as\s+(\S+))?\s*$", re.IGNORECASE)
_COPIES_FROM = re.compile(r"--from=(\S+)")
_MOUNTS_FROM = re.compile(r"--mount=\S*?\bfrom=([^\s,]+)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?[-+?][^}]*)?\}|(\w+))")
_WITH_HEREDOC = ("RUN", "COPY", "ADD")


@dataclass(frozen=True)
class Instruction:
    """One instruction. `line` and `end` count from 1; `text` is it in one line, as engines print it."""

    word: str  # in capitals
    rest: str
    line: int
    end: int

    @property
    def text(self) -> str:
        return f"{self.word} {self.rest}".strip()[:LONGEST_TEXT]


@dataclass
class Stage:
    """One FROM with what follows it. `needs`: positions of the stages it builds on or copies from."""

    position: int
    base: str
    name: str = ""
    needs: list[int] = field(default_factory=list)
    steps: list[Instruction] = field(default_factory=list)

    @property
    def label(self) -> str:
        return self.name or f"stage {self.position}"

    def as_json(self) -> dict[str, Any]:
        """{"position", "base", "name", "needs", "steps": [{"word", "text", "line"}]}."""
        found = asdict(self)
        found["steps"] = [{"word": each.word, "text": each.text, "line": each.line} for each in self.steps]
        return found


@dataclass(frozen=True)
class Dockerfile:
    """All of it: the instructions before the first FROM, and the stages."""

    before: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    @property
    def instructions(self) -> list[Instruction]:
        return [*self.before, *(step for stage in self.stages for step in stage.steps)]

    def needed(self, target: str = "") -> list[Stage]:
        """The stages that `target` (a name or a position; empty: the last) waits for, and itself, in order."""
        last = self.find(target) if target else (self.stages[-1] if self.stages else None)
        wanted: set[int] = set()
        waiting = [last.position] if last else []
        while waiting:
            position = waiting.pop()
            if position not in wanted:
                wanted.add(position)
                waiting += self.stages[position].needs
        return [stage for stage in self.stages if stage.position in wanted]

    def find(self, name: str) -> Stage | None:
        return _find(self.stages, name)

    @property
    def bases(self) -> list[str]:
        """The images it is built on, as written, with the defaults of ARG put in; no stages, no `scratch`."""
        found = [stage.base for stage in self.stages if stage.base.lower() not in self._names(stage)]
        return [base for base in dict.fromkeys(found) if base.lower() != "scratch" and "$" not in base]

    def _names(self, stage: Stage) -> list[str]:
        return [other.name.lower() for other in self.stages[: stage.position] if other.name]


def read(text: str) -> Dockerfile:
    """Never raises: what cannot be read is taken as an instruction nobody knows."""
    before: list[Instruction] = []
    stages: list[Stage] = []
    defaults: dict[str, str] = {}
    for each in itertools.islice(instructions(text), MOST_INSTRUCTIONS):
        if each.word == "FROM":
            if len(stages) >= MOST_STAGES:
                break
            stages.append(_stage(each, stages, defaults))
        elif stages:
            stages[-1].steps.append(each)
            stages[-1].needs += [n for n in _needs(each, stages[:-1]) if n not in stages[-1].needs]
        else:
            before.append(each)
            if each.word == "ARG" and "=" in each.rest:
                name, _, value = each.rest.partition("=")
                defaults[name.strip()] = value.strip().strip("\"'")
    return Dockerfile(tuple(before), tuple(stages))


def _stage(each: Instruction, earlier: list[Stage], defaults: dict[str, str]) -> Stage:
    match = _FROM.fullmatch(each.rest.strip())
    base, name = (match[1], match[2] or "") if match else (each.rest.strip(), "")
    base = _VARIABLE.sub(lambda found: defaults.get(found[1] or found[2], found[0]), base)
    parent = next((stage for stage in reversed(earlier) if stage.name and stage.name.lower() == base.lower()), None)
    return Stage(len(earlier), base, name, [parent.position] if parent else [], [each])


def _needs(each: Instruction, earlier: list[Stage]) -> list[int]:
    pattern = {"COPY": _COPIES_FROM, "ADD": _COPIES_FROM, "RUN": _MOUNTS_FROM}.get(each.word)
    names = pattern.findall(each.rest) if pattern else []
    found = [_find(earlier, name) for name in names]
    return [stage.position for stage in found if stage]


def _find(stages: list[Stage] | tuple[Stage, ...], name: str) -> Stage | None:
    by_name = next((stage for stage in reversed(stages) if stage.name.lower() == name.lower() and name), None)
    if by_name is None and name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(stages):
        return stages[int(name)]
    return by_name


def instructions(text: str) -> Iterator[Instruction]:
    """Every instruction, continued lines joined, comments between them left out, here-documents passed over."""
    lines = text[:MOST_BYTES].lstrip("\ufeff").splitlines()
    escape = _escape(lines)
    number = 0
    while number < len(lines):
        first = number
        joined, number = _logical(lines, number, escape)
        if not joined:
            continue
        word, _, rest = joined.partition(" ")
        if word.upper() in _WITH_HEREDOC or word.upper() == "ONBUILD":
            number = _after_heredocs(lines, number, rest)
        start = next((n for n in range(first, number) if _says_something(lines[n])), first)
        yield Instruction(word.upper(), rest.strip(), start + 1, number)


def _escape(lines: list[str]) -> str:
    for line in lines:
        directive = _DIRECTIVE.match(line.strip())
        if not directive:
            break
        if directive[1].lower() == "escape":
            return directive[2][:1]
    return "\\"


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _logical(lines: list[str], number: int, escape: str) -> tuple[str, int]:
    """One logical line in which blanks are single, and the number of the line after it; "" for a comment."""
    parts: list[str] = []
    while number < len(lines):
        line = lines[number]
        number += 1
        if not _says_something(line):
            if parts:
                continue
            return "", number
        bare = line.rstrip()
        goes_on = bare.endswith(escape)
        parts.append(bare.removesuffix(escape) if goes_on else bare)
        if not goes_on:
            break
    return " ".join("".join(parts).split()), number


def heredocs(rest: str) -> list[str]:
    """The names of the here-documents that an instruction opens."""
    return [name for _, name in _HEREDOC.findall(rest)]


def _after_heredocs(lines: list[str], number: int, rest: str) -> int:
    for name in heredocs(rest):
        ends = (n for n in range(number, len(lines)) if lines[n].strip("\t\r") == name)
        number = next(ends, len(lines) - 1) + 1
    return number


def words_of(rest: str) -> list[str]:
    """The arguments of COPY or ADD without flags: split at blanks, or the JSON list."""
    bare = rest
    while match := re.match(r"--\S+\s+", bare):
        bare = bare[match.end() :]
    if bare.startswith("["):
        try:
            found = json.loads(bare)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    return bare.split()
