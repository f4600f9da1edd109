"""Gantry's web process with its Redis and nothing else, for what takes a browser but no host.

with Web() as web:                       # Web(desk): on the loopback of a network namespace
    web.django("…")                      # Python inside it; returns what it prints
    web.url, web.home.port
"""

from __future__ import annotations

import contextlib
from typing import Self

from controlplane.supervisor.parts import web_command
from tests.support.home import Home
from tests.support.netns import NetworkNamespace
from tests.support.process import Process
from tests.support.redis import RedisServer


class Web:
    """The two processes; a context manager. `more`: settings for the environment."""

    def __init__(self, desk: NetworkNamespace | None = None, **more: str) -> None:
        self.home = Home()
        self.home.settings.update(more)
        run = self.home.path / "run"
        run.mkdir(mode=0o700)
        self.redis = RedisServer(run / "redis.sock")
        command = web_command(f"{self.home.address}:{self.home.port}")
        self.process = Process("web", self.home, [*(desk.command() if desk else []), *command], self.home.port)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.home)
            stack.enter_context(self.redis)
            self.home.manage("migrate", "--verbosity=0")
            stack.enter_context(self.process)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @property
    def url(self) -> str:
        return self.home.url

    def django(self, code: str) -> str:
        return self.home.django(code)
