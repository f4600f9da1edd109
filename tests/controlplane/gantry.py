"""A running `up`, as a person would start it: its own folder, its own ports, no engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.process import children, words_of
from tests.support.waiting import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
# What tells the command line of one part from the others.
_MARKS = {
    "redis": "redis-server",
    "web": "uvicorn",
    "worker": "controlplane worker",
    "beat": "controlplane beat",
    "watch": "manage.py watch",
    "gateway": "manage.py gateway",
    "agent": "gantry_agent run",
}

_UNVERIFIED = ssl._create_unverified_context()  # the self-made certificate; its fingerprint is the agent's concern


class Up:
    """Use as a context manager; it is up, with its agent, when the block begins."""

    def __init__(self, home: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.scheme = "https" if "--tls" in options else "http"
        self.choose_ports()
        self._log = home.with_name(home.name + ".log")
        self._options = options
        self._environment = environment or {}

    def choose_ports(self) -> None:
        """Take free ones, for the next start."""
        self.listen = f"127.0.0.1:{free_port()}"
        self.gateway = f"127.0.0.1:{free_port()}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.listen}"

    @property
    def command(self) -> list[str]:
        addresses = ["--listen", self.listen, "--gateway-listen", self.gateway]
        return [sys.executable, str(ROOT / "manage.py"), "up", "--home", str(self.home), *addresses]

    @property
    def environment(self) -> dict[str, str]:
        """Ours, but for what a test run sets for itself."""
        own = ("REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "DOCKER_HOST")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
        return {**{name: value for name, value in kept.items() if name not in own}, **self._environment}

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "--engine", "none", *self._options],
                env=self.environment,
                cwd=self.home.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Up:
        self.start()
        try:
            eventually(self.is_healthy, timeout=90, what="/healthz answers 200")
            eventually(lambda: self.part("agent"), timeout=60, what="the agent runs")
        except BaseException:
            self.__exit__(None, None, None)
            print(self.printed())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def link(self) -> str:
        """The last link printed that makes the first administrator."""
        return re.findall(rf"{self.url}/setup/\S+", self.printed())[-1]

    def get(self, path: str) -> tuple[int, bytes]:
        """Status (0 when nobody answers) and body."""
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may go in the middle of its answer
            try:
                with urllib.request.urlopen(self.url + path, timeout=5, context=_UNVERIFIED) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as exc:
                with exc:
                    return exc.code, exc.read()
        return 0, b""

    def health(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/healthz")
        return status, json.loads(body) if body.startswith(b"{") else {}

    def is_healthy(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"up ended with exit code {self.process.returncode}")
        return self.health()[0] == 200

    def part(self, name: str) -> int | None:
        """The pid of the running child that is part `name`."""
        for pid in children(self.process.pid):
            if _MARKS[name] in words_of(pid):
                return pid
        return None

    def tunnel_is_up(self) -> bool:
        """Is this machine a host, with its agent connected?"""
        return self.rows("SELECT name, tunnel_up FROM hosts_host") == [(socket.gethostname(), 1)]

    def rows(self, query: str) -> list[Any]:
        connection = sqlite3.connect(self.home / "gantry.sqlite3")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
