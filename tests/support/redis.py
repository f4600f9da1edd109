"""A Redis server on a unix socket that keeps nothing: ``with RedisServer(path) as server: server.url``."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.support.waiting import eventually


class RedisServer:
    """A Redis process; a context manager. `kill` and `start` are for the tests of its death."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str:
        """Empty when there is a Redis to start, else the reason for a skip."""
        return "" if _binary() else "redis: not installed: redis-server or valkey-server"

    @property
    def url(self) -> str:
        """As REDIS_URL spells it."""
        return f"unix://{self.path}?db=0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.path.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        binary = _binary()
        assert binary, self.why_not()
        options = {"unixsocket": str(self.path), "port": "0", "save": "", "appendonly": "no"}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.process = subprocess.Popen(
            [binary, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/"
        )
        eventually(self._answers, timeout=30, what=f"redis answers on {self.path}")

    def kill(self) -> None:
        """SIGKILL: what it held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.path))
                probe.sendall(b"PING\r\n")
                return probe.recv(7) == b"+PONG\r\n"
            except OSError:
                return False


def _binary() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")
