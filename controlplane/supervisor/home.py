"""One supervisor for one home; ports that are taken, and by whom."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from pathlib import Path
from typing import IO

from controlplane.supervisor.options import split


class Refused(Exception):
    """Gantry cannot start here; the message says why and what to do."""


def lock(home: Path, address: str) -> IO[str]:
    """Take the home's lock; hold it as long as the file that is given back stays open.

    The kernel drops it with the process, however that ends. Raises Refused naming the holder's pid.
    """
    file = open(home / "up.lock", "a+", encoding="utf-8")  # noqa: SIM115 - the lock is the open file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid, _, where = file.read().strip().partition(" ")
        file.close()
        raise Refused(
            f"Gantry runs already on {home} (pid {pid or 'unknown'}, {where or 'address unknown'}).\n"
            "Stop that one first, or give this one a folder of its own: --home DIR"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()} {address}\n")
    file.flush()
    return file


def check_port(listen: str, option: str) -> None:
    """Raise Refused when `listen` cannot be bound, naming who has it where that can be found."""
    host, port = split(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                who = listener(port)
                raise Refused(
                    f"Port {port} is in use{f' by {who}' if who else ''}.\n"
                    f"Stop it, or choose another address: {option} {host}:PORT"
                ) from exc
            reason = exc.strerror or str(exc)
            raise Refused(f"Cannot listen on {listen} ({option}): {reason}.") from exc


def listener(port: int) -> str:
    """Who listens on TCP `port`, as “name (pid N)”; empty when this user may not know."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            # proc(5): local address as HEX:HEX, then state; 0A is LISTEN; the tenth field is the inode.
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return _owner({f"socket:[{inode}]" for inode in inodes}) if inodes else ""


def _owner(sockets: set[str]) -> str:
    for process in Path("/proc").iterdir():
        if not re.fullmatch(r"\d+", process.name):
            continue
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in sockets:
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return ""
