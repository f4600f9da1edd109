"""One of Gantry's own processes, without the supervisor.

with Process("web", home, [*web_command(f"{home.address}:{home.port}")], home.port) as web:
    web.stop(), web.kill(), web.start()
    web.memory, web.log
"""

import re
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.support.home import ROOT, Home
from tests.support.waiting import eventually


class Process:
    """One of Gantry's processes, ready when it listens on its port; a context manager."""

    def __init__(self, name: str, home: Home, command: list[str], port: int) -> None:
        self.name = name
        self.home = home
        self.command = command
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.path / f"{name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.home.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, timeout=30, what=f"{self.name} answers")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        assert self.process
        return memory_of(self.process.pid)

    def _ready(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended at once:\n{self.log.read_text()[-3000:]}")
        return is_listening(self.process.pid, self.port)


def is_listening(pid: int, port: int) -> bool:
    """Whether anybody in the process's network namespace listens on that IPv4 port (proc(5), /proc/PID/net/tcp)."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in map(str.split, lines))


def memory_of(pid: int) -> int:
    """Resident memory of a process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and not yet reaped; none when it is gone."""
    return [int(child) for child in read_of(pid, f"task/{pid}/children").split()]


def words_of(pid: int) -> str:
    """Its command line, as `ps` shows it."""
    return read_of(pid, "cmdline").replace("\0", " ")


def read_of(pid: int, name: str) -> str:
    """A file of /proc/PID; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (OSError, ProcessLookupError):
        return ""
