"""The native engine that `./gantry up`, or an agent, starts for itself, seen as the engines of a test are.

up = Up("--engine", "native")
with OwnEngine(up.home.path) as engine, up:     # configured first; `up` starts and stops its process
    engine.socket; engine.cli("ps")
    engine.clear()                              # before `up` ends
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Self

from tests.support.engines import Native
from tests.support.scratch import forget_engine


class OwnEngine(Native):
    """Below a GANTRY_HOME; a bridge and a subnet of its own, as `Native`."""

    def __init__(self, home: Path) -> None:
        self.netns, self.process, self.bridge, self.keys = None, None, None, {}
        self.folder = home
        self.socket = home / "run" / "engine.sock"
        self.log = home / "up.log"

    @property
    def root(self) -> Path:
        return self.folder / "engine"

    @property
    def config(self) -> Path:
        return self.folder / "agent" / "engine.json"

    def __enter__(self) -> Self:
        self.config.parent.mkdir(mode=0o700, exist_ok=True)
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        forget_engine(self.root)
        if self.bridge:
            self.bridge.close()

    def clear(self) -> None:
        """Remove its containers and networks, while it runs."""
        with contextlib.suppress(OSError, RuntimeError):
            self.remove_containers()
