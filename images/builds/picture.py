"""The stages of a build as a picture: a card for each, an arrow to whom it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controlplane.operations.models import State
from images.builds.models import Build
from images.builds.steps import BUILT, CACHED, CANCELLED, FAILED, RUNNING

WIDTH, GAP, ROW, HEAD, MARGIN = 300, 64, 22, 46, 8  # units of the drawing; a pixel each at its natural size
MOST_ROWS = 12
LONGEST = 30  # characters of a step's text that fit beside how long it took
WAITING = "waiting"


@dataclass
class Card:
    """One stage; `x`, `y`, `height` place it."""

    title: str
    base: str
    state: str
    seconds: float
    rows: list[dict[str, Any]]
    more: int
    x: int = 0
    y: int = 0
    width: int = WIDTH

    @property
    def foot(self) -> int:
        """Where “and so many more” stands."""
        return HEAD + ROW * len(self.rows) + 15

    @property
    def height(self) -> int:
        return HEAD + ROW * (len(self.rows) + bool(self.more)) + MARGIN


@dataclass
class Picture:
    """`edges`: SVG paths with the state of the stage they come from."""

    cards: list[Card] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    width: int = 0
    height: int = 0


def draw(build: Build) -> Picture:
    """Columns by how long a chain of stages stands before; in each, the order of the Dockerfile."""
    stages = build.stages
    if not stages:
        return Picture()
    cards = {stage["position"]: _card(build, stage) for stage in stages}
    depths: dict[int, int] = {}
    for stage in stages:  # who is needed comes first in a Dockerfile
        depths[stage["position"]] = max((depths.get(n, -1) + 1 for n in stage["needs"]), default=0)
    bottoms: dict[int, int] = {}
    for position, card in cards.items():
        column = depths[position]
        card.x = column * (WIDTH + GAP)
        card.y = bottoms.get(column, 0)
        bottoms[column] = card.y + card.height + 20
    found = Picture(list(cards.values()), _edges(stages, cards))
    found.width = max(card.x for card in found.cards) + WIDTH
    found.height = max(bottoms.values()) - 20
    return found


def _edges(stages: list[dict[str, Any]], cards: dict[int, Card]) -> list[tuple[str, str]]:
    edges = []
    for stage in stages:
        end = cards[stage["position"]]
        for need in stage["needs"]:
            if start := cards.get(need):
                x1, y1, x2, y2 = start.x + WIDTH, start.y + HEAD // 2, end.x, end.y + HEAD // 2
                bend = max(GAP, x2 - x1) // 2
                edges.append((f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}", start.state))
    return edges


def _card(build: Build, stage: dict[str, Any]) -> Card:
    done = [_ended(build, step) for step in build.steps if step["stage"] == stage["position"]]
    rows = _rows(done, stage)
    title = stage["name"] or ("final stage" if stage is build.stages[-1] else f"stage {stage['position']}")
    seconds = sum(step["seconds"] for step in done)
    shown = [row | {"y": HEAD + ROW * number + 15} for number, row in enumerate(rows[:MOST_ROWS])]
    return Card(title, stage["base"], _state([row["state"] for row in rows]), seconds, shown, len(rows) - len(shown))


def _ended(build: Build, step: dict[str, Any]) -> dict[str, Any]:
    """The step; one that nobody could write the end of has ended with its operation."""
    if step["state"] == RUNNING and build.operation_id and build.operation.is_finished:
        return {**step, "state": CANCELLED if build.operation.state == State.CANCELLED else FAILED}
    return step


def _rows(done: list[dict[str, Any]], stage: dict[str, Any]) -> list[dict[str, Any]]:
    """The instructions of the stage, each with what became of it."""
    by_line = {step["line"]: step for step in done if step["line"]}
    rows = []
    for each in stage["steps"]:
        step = by_line.get(each["line"])
        text = each["text"] if len(each["text"]) <= LONGEST else f"{each['text'][: LONGEST - 1]}…"
        rows.append(
            {
                "text": text,
                "full": each["text"],
                "line": each["line"],
                "key": step["key"] if step else "",
                "state": step["state"] if step else WAITING,
                "seconds": step["seconds"] if step else None,
            }
        )
    return rows


def _state(states: list[str]) -> str:
    """The state of a stage from those of its steps."""
    for state in (FAILED, CANCELLED, RUNNING):
        if state in states:
            return state
    if WAITING in states:
        return WAITING if all(state == WAITING for state in states) else RUNNING
    return CACHED if all(state == CACHED for state in states[1:]) else BUILT


def numbered(build: Build) -> list[tuple[int, str]]:
    """The lines of the Dockerfile with their numbers."""
    return list(enumerate(build.dockerfile.splitlines(), 1))
