"""Starting a command with a terminal in a container, and finding a shell there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .engine_client import Engine
from .errors import EngineFailure

START_TIMEOUT = 20.0  # seconds for the engine to start a command
MAX_COMPLAINT = 4096  # bytes kept of what the engine printed instead of starting it
# Asks the container itself in one exec: the best shell on its PATH replaces the small one.
SEARCH = 'for s in bash zsh fish ash dash; do p=$(command -v "$s") && exec "$p"; done; exec /bin/sh'
CANDIDATES: tuple[tuple[str, ...], ...] = (
    ("/bin/sh", "-c", SEARCH),
    ("/bin/bash",),
    ("/usr/bin/bash",),
    ("/bin/ash",),
    ("/busybox/sh",),
    ("/bin/busybox", "sh"),
)
# Ctrl-P is history in every shell; the engine's default detach keys would swallow it.
DETACH_KEYS = "ctrl-^,ctrl-@,ctrl-_"


@dataclass
class Started:
    """A running command: its exec id, process id on the host (0 when unknown) and raw connection."""

    exec_id: str
    pid: int
    command: list[str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    output: bytes  # what it printed while we made sure that it runs


class NotStarted(EngineFailure):
    """The engine could not start the command."""


async def start_shell(engine: Engine, container: str, options: dict[str, Any]) -> Started:
    """Start the best shell of a container. Raises NotStarted when it has none, EngineFailure."""
    for candidate in CANDIDATES:
        try:
            return await start(engine, container, candidate, options)
        except NotStarted as exc:
            if not names_missing_program(exc.message):
                raise
    raise NotStarted(
        400,
        "This container has no shell: none of sh, bash, ash or busybox is in its image.",
        "Name a command that the image has, or follow its logs instead.",
    )


def names_missing_program(message: str) -> bool:
    """Does the engine say that the program itself is missing? It gives no code: runc's and crun's words."""
    words = ("no such file", "not found", "not a directory", "permission denied")
    lowered = message.lower()
    return any(word in lowered for word in words) and "unable to find user" not in lowered


async def start(engine: Engine, container: str, command: Sequence[str], options: dict[str, Any]) -> Started:
    """Run a command with a terminal and make sure that it runs. Raises NotStarted, EngineFailure.

    `options`: user, env (list of NAME=VALUE), columns, rows.
    """
    body = {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": True,
        "DetachKeys": DETACH_KEYS,
        "Cmd": list(command),
        "User": options["user"],
        "Env": options["env"],
    }
    created = await engine.call("POST", f"/containers/{container}/exec", body)
    exec_id = str(created["Id"])
    size = [options["rows"], options["columns"]]
    reader, writer = await engine.hijack(f"/exec/{exec_id}/start", {"Detach": False, "Tty": True, "ConsoleSize": size})
    try:
        async with asyncio.timeout(START_TIMEOUT):
            pid, output = await _await_start(engine, exec_id, reader)
    except TimeoutError as exc:
        writer.close()
        raise NotStarted(504, "The engine did not start the command in time.") from exc
    except BaseException:
        writer.close()
        raise
    return Started(exec_id, pid, list(command), reader, writer, output)


async def _await_start(engine: Engine, exec_id: str, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Poll until the command has a process, or ended without ever having one.

    The engine takes over the connection before it starts the command, and prints its refusal there.
    """
    pause = 0.005
    while True:
        found = await engine.call("GET", f"/exec/{exec_id}/json")
        pid = int(found.get("Pid") or 0)
        if found.get("Running") and pid:
            return pid, b""
        if not found.get("Running") and found.get("ExitCode") is not None:
            output = await _rest(reader)
            # 126 and 127 are also what a shell itself ends with: only without a process was nothing started.
            if found["ExitCode"] in (126, 127) and (not pid or b"OCI runtime" in output):
                raise NotStarted(400, complaint(output))
            return pid, output
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.1)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    output = b""
    try:
        async with asyncio.timeout(2.0):
            while len(output) < MAX_COMPLAINT and (part := await reader.read(MAX_COMPLAINT)):
                output += part
    except (TimeoutError, OSError):
        pass
    return output


def complaint(output: bytes) -> str:
    """The engine's words for not starting a command, without the runtime's own prefixes."""
    text = output.decode(errors="replace").strip() or "The engine could not start the command."
    for prefix in ("OCI runtime exec failed: ", "exec failed: ", "unable to start container process: "):
        text = text.removeprefix(prefix)
    return text.removesuffix(": unknown")
