"""Two builds side by side: what changed in the Dockerfile, the layers, the time and the size."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from images.builds.models import Build

MOST_LINES = 2000


@dataclass(frozen=True)
class Change:
    """One line of a difference. `kind`: same, added, removed, gap."""

    kind: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """`options`, `steps` and `layers`: rows of (name, before, after), only where something differs or may."""

    dockerfile: list[Change]
    options: list[tuple[str, Any, Any]]
    steps: list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]
    layers: list[tuple[str, int | None, int | None]]


Names = Callable[[Build], list[str]]
"""Of the names a build was to give, those that may be read."""


def compare(before: Build, after: Build, *, names: Names) -> Comparison:
    return Comparison(
        _lines(before.dockerfile, after.dockerfile),
        _options(before, after, names),
        _steps(before, after),
        _layers(before, after),
    )


def _lines(before: str, after: str) -> list[Change]:
    """The lines that differ with three around them; none when nothing differs."""
    found = []
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
    kinds = {"+": "added", "-": "removed", " ": "same"}
    for number, line in enumerate(diff):
        if number < 2:
            continue  # the names of the files
        found.append(Change("gap", line) if line.startswith("@@") else Change(kinds[line[:1] or " "], line[1:]))
        if len(found) >= MOST_LINES:
            break
    return found


def _options(before: Build, after: Build, tags: Names) -> list[tuple[str, Any, Any]]:
    first, second = (
        {
            **build.source,
            **build.options,
            "tags": tags(build),
            "commit": build.commit,
            "host": build.operation.host_name,
        }
        for build in (before, after)
    )
    hidden = {"dockerfile", "upload"}
    names = [name for name in dict.fromkeys([*first, *second]) if name not in hidden]
    return [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]


def _steps(before: Build, after: Build) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """Every step of either, those with the same text beside one another."""
    first, second = before.steps, after.steps
    matcher = difflib.SequenceMatcher(a=[s["text"] for s in first], b=[s["text"] for s in second], autojunk=False)
    rows: list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]] = []
    for what, a, a_end, b, b_end in matcher.get_opcodes():
        if what == "equal":
            rows += [(x["text"], x, y) for x, y in zip(first[a:a_end], second[b:b_end], strict=True)]
        else:
            rows += [(x["text"], x, None) for x in first[a:a_end]]
            rows += [(y["text"], None, y) for y in second[b:b_end]]
    return rows


def _layers(before: Build, after: Build) -> list[tuple[str, int | None, int | None]]:
    """Every entry of either image's history that has a size."""
    first, second = before.layers, after.layers
    matcher = difflib.SequenceMatcher(
        a=[x["created_by"] for x in first], b=[x["created_by"] for x in second], autojunk=False
    )
    rows: list[tuple[str, int | None, int | None]] = []
    for what, a, a_end, b, b_end in matcher.get_opcodes():
        if what == "equal":
            pairs = zip(first[a:a_end], second[b:b_end], strict=True)
            rows += [(x["created_by"], x["size"], y["size"]) for x, y in pairs]
        else:
            rows += [(x["created_by"], x["size"], None) for x in first[a:a_end]]
            rows += [(y["created_by"], None, y["size"]) for y in second[b:b_end]]
    return [row for row in rows if row[1] or row[2]]
