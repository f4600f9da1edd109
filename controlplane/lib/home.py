"""Where Gantry keeps its state: one folder, readable by its owner only."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

# sun_path holds 108 bytes with its terminator (unix(7)); the longest name below run/ is
# hosts/<id>.agent.sock with a 64-bit id.
_LONGEST_SOCKET_PATH = 107
_LONGEST_SOCKET_NAME = len("/hosts/9223372036854775807.agent.sock")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?")


def gantry_home() -> Path:
    """GANTRY_HOME, else /var/lib/gantry for root, else the XDG state folder."""
    if given := os.environ.get("GANTRY_HOME"):
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/gantry")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "gantry"


def run_folder(home: Path) -> Path:
    """The folder of sockets: `home/run`, or a short stand-in under /tmp when that path is too long."""
    run = home / "run"
    if len(os.fsencode(run)) + _LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH:
        return run
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(f"/tmp/gantry-{os.geteuid()}-{digest}")


def private_folder(path: Path) -> Path:
    """Make `path` (mode 0700) if it is not there, and refuse one that belongs to somebody else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}: remove it")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def secret_key(home: Path) -> str:
    """Django's secret key, made on first use; two processes racing for it agree on one."""
    path = home / "secret_key"
    if not path.exists():
        fresh = home / f".secret_key.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        fresh.unlink()
    return path.read_text().strip()


def web_origin(name: str) -> str:
    """The environment's `name`, http(s)://HOST[:PORT], as browsers write it in Origin; "" when it is not set.

    Raises ValueError: one that no Origin is equal to would refuse every form that is sent.
    """
    text = os.environ.get(name, "")
    origin = text.rstrip("/").lower()
    if origin and not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{name}: expected https://HOST or http://HOST, with :PORT where it is needed, found {text!r}")
    return origin


def whole_number(name: str, default: int, least: int = 0) -> int:
    """The environment's `name` as a number of at least `least`; `default` when it is not set. Raises ValueError."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) >= least):
        raise ValueError(f"{name}: expected a whole number of at least {least}, of 18 digits at most, found {text!r}")
    return int(text)
