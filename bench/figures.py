"""What a benchmark answers with, and how it is written down."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured: `samples` in `unit`, in the order taken."""

    name: str
    unit: str
    samples: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """The sample that 95 of 100 do not exceed (nearest rank)."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, max(0, -(-95 * len(ordered) // 100) - 1))]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "p95": self.p95,
            "samples": list(self.samples),
        }


@dataclass(frozen=True)
class Ratio:
    """A quotient of two medians, and what is asked of it ("at least 0.6"), or nothing."""

    name: str
    value: float
    wanted: str = ""
    met: bool | None = None


@dataclass
class Result:
    """What one benchmark found. `pacing`: how contestants took turns, since spacing changes the figures."""

    title: str
    pacing: str
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "pacing": self.pacing,
            "figures": [figure.as_json() for figure in self.figures],
            "ratios": [asdict(ratio) for ratio in self.ratios],
        }

    def as_text(self) -> str:
        lines = [self.title, f"  {self.pacing}"]
        width = max((len(row.name) for row in [*self.figures, *self.ratios]), default=0)
        for figure in self.figures:
            lines.append(
                f"  {figure.name:<{width}}  {_short(figure.median):>10} {figure.unit:<8} "
                f"p95 {_short(figure.p95):>10}  n {len(figure.samples)}"
            )
        for ratio in self.ratios:
            verdict = "" if ratio.met is None else ("  met" if ratio.met else "  NOT MET")
            wanted = f"  wanted {ratio.wanted}" if ratio.wanted else ""
            lines.append(f"  {ratio.name:<{width}}  {_short(ratio.value):>10} {wanted}{verdict}")
        return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
