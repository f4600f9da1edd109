"""An engine's words during a build, read as steps: which runs, what came from the cache, how long each took.

Docker and the native engine say `Step 2/5 : RUN make`, Podman `STEP 2/5: RUN make`, before it `[1/2] ` where there
are several stages, and each begins to count again. All of it is text for people: what is not recognised is output.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from images.builds.dockerfile import KNOWN, LONGEST_TEXT, Dockerfile, Instruction, Stage

RUNNING, CACHED, BUILT, FAILED, CANCELLED = "running", "cached", "built", "failed", "cancelled"
LONGEST_LINE = 8000  # characters; a longer one is cut into several
LONGEST_HELD = 64_000  # characters without an end of line that are held together, so that a secret is masked whole
MOST_STEPS = 2000

_HEADER = re.compile(r"(?:\[\d+/\d+\] )?(?:Step|STEP) \d+(?:/\d+)? ?: (.*)")
_CACHED = re.compile(r" ?-+> Using cache")
_LINE = re.compile(r"\bline (\d+)|(?:Docker|Container)file(?:\.\w+)?:(\d+)")


@dataclass
class Step:
    """One step. `stage`: position of its stage in the Dockerfile, -1 before the first; `line`: 0 when not known."""

    key: str
    stage: int
    text: str
    line: int = 0
    state: str = RUNNING
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Lines:
    """Joins pieces of text into lines. A line that is written over (a carriage return) counts as its last state."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> Iterator[str]:
        *whole, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > LONGEST_HELD:
            whole.append(self._rest)
            self._rest = ""
        for line in whole:
            yield line.rstrip("\r").rpartition("\r")[2]

    def rest(self) -> Iterator[str]:
        """What came after the last line's end."""
        line, self._rest = self._rest, ""
        if line:
            yield line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), LONGEST_LINE):
        yield line[start : start + LONGEST_LINE]


class Steps:
    """Follows one build. `say(text, stream)` gets every line, and "step" and "done" where steps begin and end:

    step   KEY, tab, the instruction as the engine says it
    done   KEY, tab, cached | built | failed | cancelled, tab, seconds
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        say: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        mask: Callable[[str], str] = str,
    ) -> None:
        self.steps: list[Step] = []
        self._say = say
        self._clock = clock
        self._mask = mask
        self._has_output = False
        self._began = 0.0
        self._lines = Lines()
        self._place = _Place(dockerfile)

    @property
    def current(self) -> Step | None:
        """The step that runs now."""
        return self.steps[-1] if self.steps and self.steps[-1].state == RUNNING else None

    def feed(self, text: str) -> None:
        for line in self._lines.feed(text):
            self._take(line)

    def end(self, state: str = BUILT) -> None:
        """The build is over; the step that ran last ended in `state`."""
        for line in self._lines.rest():
            self._take(line)
        self._finish(state)

    def _take(self, line: str) -> None:
        line = self._mask(line)
        if (match := _HEADER.fullmatch(line)) and self._begin(match[1]):
            return
        if _CACHED.match(line) and (step := self.current) and not self._has_output:
            step.state = CACHED
            self._said(step)
            return
        self._has_output = True
        for piece in _pieces(line):
            self._say(piece, "stdout")

    def _begin(self, text: str) -> bool:
        """False when it is no step: programs print such lines too, and then it is output."""
        word = text.split(None, 1)[0].upper() if text.strip() else ""
        stage, line = self._place.of(text)
        # Labels that were asked for are a step that no line has.
        if not line and (word not in KNOWN or (word != "LABEL" and self.steps)):
            return False
        self._finish(BUILT)
        self._has_output = False
        if len(self.steps) >= MOST_STEPS:
            return True
        step = Step(str(len(self.steps) + 1), stage, text[:LONGEST_TEXT], line)
        self.steps.append(step)
        self._began = self._clock()
        self._say(f"{step.key}\t{step.text}", "step")
        return True

    def _finish(self, state: str) -> None:
        if step := self.current:
            step.state = state
            self._said(step)

    def _said(self, step: Step) -> None:
        step.seconds = round(self._clock() - self._began, 2)
        self._say(f"{step.key}\t{step.state}\t{step.seconds}", "done")


class _Place:
    """Finds the instruction of the Dockerfile that a step's text came from. Engines leave out stages nobody needs."""

    def __init__(self, file: Dockerfile) -> None:
        self._file = file
        self._stage: Stage | None = None
        self._next = 0

    def of(self, text: str) -> tuple[int, int]:
        """Position of the stage (-1 before the first) and line (0: not in the file)."""
        word = text.split(None, 1)[0].upper() if text.strip() else ""
        if word == "FROM":
            self._stage, self._next = self._following(text), 0
        steps = self._stage.steps if self._stage else list(self._file.before)
        for index in range(self._next, len(steps)):
            if steps[index].word == word:
                self._next = index + 1
                return self._position, steps[index].line
        return self._position, 0

    @property
    def _position(self) -> int:
        return self._stage.position if self._stage else -1

    def _following(self, text: str) -> Stage | None:
        later = self._file.stages[self._position + 1 :]
        same = (stage for stage in later if _plain(stage.steps[0]) == " ".join(text.split()).lower())
        return next(same, later[0] if later else self._stage)


def _plain(instruction: Instruction) -> str:
    return instruction.text.lower()


def line_of(error: str) -> int:
    """The line of the Dockerfile that an engine's error names; 0 when none."""
    match = _LINE.search(error)
    return int(next(filter(None, match.groups()))) if match else 0
