"""What the supervisor prints: its own words, and its children's lines behind their names."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)
_OWN = "gantry"
_WIDTH = 8


class Output:
    """Writes lines as `name     │ line`, the name coloured where the stream is a terminal.

    A reader that goes away (`./gantry up | head`, a closed terminal) must not stop the parts: from then on
    the lines are dropped.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = stream or sys.stdout
        self.coloured = self._stream.isatty() and not os.environ.get("NO_COLOR") if self._stream else False
        self._colours: dict[str, int] = {_OWN: 1}

    def line(self, name: str, text: str) -> None:
        """One line of part `name`."""
        prefix = f"{name:{_WIDTH}} │"
        if self.coloured:
            colour = self._colours.setdefault(name, _COLOURS[(len(self._colours) - 1) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._write(f"{prefix} {text}\n")

    def say(self, text: str) -> None:
        """Words of the supervisor itself, one prefixed line for each of theirs."""
        for line in text.splitlines():
            self.line(_OWN, line)

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._stream = None
