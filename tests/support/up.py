"""Gantry as a user starts it: `./gantry up` on a home of its own.

    with Up("--engine", f"unix://{engine.socket}", address=there.outside, tls=True) as up:
        up.url, up.link                  # the address, and the first administrator's link
        up.health()                      # what /healthz says
        up.kill("worker")                # SIGKILL one part; the supervisor starts it again
        up.manage("shell", "-c", "…")    # Django's command line on the same home
        up.docker(1, "ps")               # the docker CLI on a host's socket in the control plane

`output` is everything it printed. Leaving it stops it with SIGINT, as Ctrl-C does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.home import ROOT, Home
from tests.support.process import children, read_of, words_of
from tests.support.waiting import eventually

STARTED = re.compile(r"Gantry is up after")
LINK = re.compile(r"https?://\S+/setup/\S+")


class Up:
    """One running Gantry; a context manager. `settings`: for its environment."""

    def __init__(self, *arguments: str, address: str = "127.0.0.1", tls: bool = False, **settings: str) -> None:
        self.arguments = arguments
        self.tls = tls
        self.home = Home(address=address)
        self.home.settings.update(GANTRY_INSTALL="no", NO_COLOR="1", **settings)
        self.log = self.home.path / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            print(self.output[-20_000:])
        self.close()

    @property
    def url(self) -> str:
        return self.home.url.replace("http://", "https://") if self.tls else self.home.url

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def link(self) -> str:
        found = LINK.search(self.output)
        assert found, f"no link was printed:\n{self.output[-3000:]}"
        return found[0]

    def start(self) -> None:
        """Start and wait until every part is up."""
        options = ["--tls"] if self.tls else []
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(ROOT / "gantry"), "up", *options, *self.arguments],
                cwd=ROOT,
                env=self.home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._is_up, timeout=90, what="Gantry is up")

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"gantry up ended with {self.process.returncode}:\n{self.output[-4000:]}")
        return bool(STARTED.search(self.output))

    def stop(self) -> None:
        """Ctrl-C, and wait for its orderly end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40)
        finally:
            self.process = None

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.home.__exit__()

    def health(self) -> dict[str, Any]:
        """The JSON of /healthz, whatever its status; {} when nobody answers."""
        context = ssl._create_unverified_context() if self.tls else None
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # killed in the middle of its answer
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5, context=context) as answer:
                    found = json.load(answer)
            except urllib.error.HTTPError as exc:
                with exc:
                    found = json.load(exc)
        return found

    def is_whole(self) -> bool:
        return self.health().get("status") == "up"

    def pids(self, part: str) -> list[int]:
        """The processes of one part: redis, web, worker, beat, watch, gateway, agent."""
        words = {
            "redis": "redis-server",
            "web": "controlplane.asgi",
            "worker": "controlplane worker",
            "beat": "controlplane beat",
            "watch": "manage.py watch",
            "gateway": "manage.py gateway",
            "agent": "gantry_agent",
        }[part]
        return [pid for pid in self._pids() if words in words_of(pid)]

    def _pids(self) -> list[int]:
        """The supervisor's children, and what was started elsewhere with this GANTRY_HOME."""
        everybody = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        elsewhere = {pid for pid in everybody if str(self.home.path) in read_of(pid, "environ")}
        return sorted(elsewhere | set(children(self.process.pid) if self.process else []))

    def kill(self, part: str) -> list[int]:
        """kill -9 of every process of `part`; the processes there were."""
        found = self.pids(part)
        assert found, f"no process of {part}"
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def manage(self, *arguments: str) -> str:
        """Django's command line; its standard output."""
        return self.home.manage(*arguments)

    def socket(self, host: int) -> Path:
        return self.home.path / "run" / "hosts" / f"{host}.sock"

    def docker(self, host: int, *arguments: str) -> str:
        """The docker CLI through the tunnel."""
        command = ["docker", "-H", f"unix://{self.socket(host)}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
        return done.stdout
