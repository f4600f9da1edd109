"""The processes of a container, as the host's `ps` shows them."""

import asyncio
import re
import shlex
import subprocess
from typing import Any

from gantry_agent.engine.errors import Conflict, Internal, InvalidArgument
from gantry_agent.engine.runtime import cgroups

from .model import Container, Status

TIMEOUT = 10.0  # seconds


async def top(container: Container, arguments: str) -> dict[str, Any]:
    """{"Titles": […], "Processes": [[…]]}. Raises Conflict, InvalidArgument for arguments of ps not allowed."""
    if container.state.status is Status.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.is_running:
        raise Conflict(f"container {container.id} is not running")
    # Docker's own rule: a column called "pid=name" would hide which one is the number.
    for word in arguments.split():
        for name in re.findall(r"pid=([^,\s]*)", word):
            if name.upper() != "PID":
                raise InvalidArgument(f'specifying "{word}" is not allowed')
    group = cgroups.path_of(container.id, str(container.host_config.get("CgroupParent") or ""))
    pids = set(cgroups.pids(group)) or {container.state.pid}
    return await asyncio.to_thread(_ps, arguments, pids)


def _ps(arguments: str, pids: set[int]) -> dict[str, Any]:
    try:
        output = _run(["ps", *shlex.split(arguments)])
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        raise Internal(f"ps cannot be run: {exc}") from exc
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Internal("Couldn't find PID field in ps output")
    at = titles.index("PID")
    processes = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > at and fields[at].isdecimal() and int(fields[at]) in pids:
            processes.append(fields)
    return {"Titles": titles, "Processes": processes}


def _run(command: list[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return found.stdout if found.returncode == 0 else ""
