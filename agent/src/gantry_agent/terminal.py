"""One terminal: a command with a TTY in a container, held by the agent whoever comes and goes.

The exec's connection to the engine belongs to the agent, so browsers, web, gateway and network may die:
the shell runs on, its last output is kept, and whoever attaches next gets the screen back.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .engine_client import Engine
from .errors import EngineFailure, EngineUnreachable
from .scrollback import Scrollback
from .shells import Started

log = logging.getLogger(__name__)

ABANDONED_AFTER = 600.0  # seconds without an attacher until the command is ended
LEAD = 128 * 1024  # bytes the command may print ahead of a slow attacher
STOP_WATCH = 5.0  # seconds in which a killed command's container is expected to be seen stopped
KILL_PATIENCE = 2.0  # seconds between the ways of ending a command, from polite to final
KILLED = {129, 137, 143}  # exit codes of a command that died with its container
TAKEN_OVER = 4409  # close code: another browser attached
MARK = "GANTRY_TERMINAL"


class Terminal:
    """State of one terminal. `ended` is the exit message once the command is over."""

    def __init__(self, ident: str, container: dict[str, Any], started: Started, engine: Engine) -> None:
        self.id = ident
        self.container_id = str(container["Id"])
        self.container_name = str(container.get("Name", "")).removeprefix("/")
        self.container_started = container.get("State", {}).get("StartedAt")
        self.started = started
        self.engine = engine
        self.created_at = time.time()
        self.left_at = time.monotonic()  # when the last attacher left
        self.scrollback = Scrollback()
        self.ended: dict[str, Any] | None = None
        self.over = asyncio.Event()  # set with `ended`
        self.attacher: web.WebSocketResponse | None = None
        self.cursor = 0  # how far the attacher has been sent
        self.changed = asyncio.Event()  # for the attacher: more output, or the end
        self.drained = asyncio.Event()  # for the reader: the attacher caught up or left
        if started.output:
            self.scrollback.append(started.output)

    async def run(self) -> None:
        """Read the command's output until its end, then find out why it ended."""
        try:
            while data := await self.started.reader.read(64 * 1024):
                self.scrollback.append(data)
                self.changed.set()
                while self.attacher is not None and self.scrollback.end - self.cursor > LEAD:
                    self.drained.clear()
                    await self.drained.wait()
        except OSError as exc:
            log.debug("terminal %s: %s", self.id, exc)
        finally:
            self.started.writer.close()
        self.ended = await self._why_ended()
        self.over.set()
        self.left_at = time.monotonic()
        self.changed.set()

    async def _why_ended(self) -> dict[str, Any]:
        """The exit message: its code, and whether the command, its container or the engine ended."""
        deadline = time.monotonic() + STOP_WATCH
        code, is_over = None, False
        while True:
            try:
                code, is_over = await self._exit_code()
                if await self._container_stopped():
                    return _exit(code, "container stopped")
                if is_over and code is not None and code not in KILLED:
                    return _exit(code, "exited")
            except EngineUnreachable as exc:
                log.info("terminal %s: %s", self.id, exc)
                return _exit(None, "engine lost")
            except EngineFailure as exc:  # Podman has such answers for a container that is just being removed
                log.info("terminal %s: %s", self.id, exc)
            # A killed command, or one that the engine knows no more: the engine may notice only a
            # little later that it was the container that stopped.
            if time.monotonic() >= deadline:
                return _exit(code, "exited" if is_over else "engine lost")
            await asyncio.sleep(0.1)

    async def _exit_code(self) -> tuple[int | None, bool]:
        """The command's exit code (None when unknown), and whether it is over. Raises EngineUnreachable."""
        try:
            found = await self.engine.call("GET", f"/exec/{self.started.exec_id}/json")
        except EngineUnreachable:
            raise
        except EngineFailure:
            return None, True
        return found.get("ExitCode"), not found.get("Running")

    async def _container_stopped(self) -> bool:
        """Is the container down, or another run of it up? Raises EngineFailure."""
        try:
            state = (await self.engine.container(self.container_id)).get("State", {})
        except EngineFailure as exc:
            if exc.status == 404:
                return True
            raise
        return not state.get("Running") or state.get("StartedAt") != self.container_started

    async def attach(self, ws: web.WebSocketResponse, wanted: int) -> None:
        """Serve one attacher until it leaves, is taken over, or the terminal has ended."""
        previous, self.attacher = self.attacher, ws
        self.cursor = self.scrollback.replay_from(wanted)
        self.drained.set()
        if previous is not None:
            # Not awaited: a dead predecessor would hold up its successor for its close time-out.
            closing = asyncio.create_task(previous.close(code=TAKEN_OVER, message=b"taken over"))
            closing.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Up to "to" it may have been shown before: the attacher's emulator must not answer queries in it again.
        await ws.send_str(json.dumps({"type": "replay", "from": self.cursor, "to": self.scrollback.end}))
        sender = asyncio.create_task(self._send(ws))
        receiver = asyncio.create_task(self._receive(ws))
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)
            if self.attacher is ws:
                self.attacher = None
                self.left_at = time.monotonic()
            self.drained.set()
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await ws.close()

    async def _send(self, ws: web.WebSocketResponse) -> None:
        """Output to the attacher, at its pace; the exit message at the end."""
        while self.attacher is ws:
            self.changed.clear()
            if data := self.scrollback.read(self.cursor):
                self.cursor += len(data)
                await ws.send_bytes(data)
                self.drained.set()
                continue  # the cursor may be another attacher's by now
            if self.ended is not None:
                await ws.send_str(json.dumps(self.ended))
                return
            await self.changed.wait()

    async def _receive(self, ws: web.WebSocketResponse) -> None:
        """Keys and resizes from the attacher."""
        async for message in ws:
            if self.ended is not None:
                continue
            if message.type is aiohttp.WSMsgType.BINARY:
                self.started.writer.write(message.data)
                with contextlib.suppress(OSError):
                    await self.started.writer.drain()
            elif message.type is aiohttp.WSMsgType.TEXT:
                await self._control(message.data)

    async def _control(self, text: str) -> None:
        try:
            order = json.loads(text)
            if order["type"] == "resize":
                await self.resize(int(order["columns"]), int(order["rows"]))
        except (ValueError, KeyError, TypeError, EngineFailure) as exc:
            log.debug("terminal %s: %s", self.id, exc)

    async def resize(self, columns: int, rows: int) -> None:
        """Tell the command its new size. Raises EngineFailure."""
        if not (1 <= columns <= 1000 and 1 <= rows <= 1000):
            return
        await self.engine.call("POST", f"/exec/{self.started.exec_id}/resize", h=rows, w=columns)

    def is_abandoned(self, now: float) -> bool:
        return self.attacher is None and now - self.left_at > ABANDONED_AFTER

    async def kill(self) -> None:
        """End the command: the Engine API has no call for it, and closing its input does not end a shell."""
        if self.ended is not None:
            return
        if not self._signal(signal.SIGHUP):
            await self._hang_up_from_inside()
        for number in (signal.SIGHUP, signal.SIGKILL):
            try:
                async with asyncio.timeout(KILL_PATIENCE):
                    await self.over.wait()
                break
            except TimeoutError:
                if not self._signal(number):
                    break
        self.started.writer.close()

    def _signal(self, number: signal.Signals) -> bool:
        """Signal the process by its id on this host, once its cgroup proves that it is the container's."""
        pid = self.started.pid
        try:
            if pid <= 1 or self.container_id not in Path(f"/proc/{pid}/cgroup").read_text():
                return False
            os.kill(pid, number)
        except OSError:
            return False
        return True

    async def _hang_up_from_inside(self) -> None:
        """For engines in another process namespace: find the command by its mark in the environment."""
        script = (
            'for p in /proc/[0-9]*; do if tr "\\0" "\\n" < $p/environ 2>/dev/null | '
            f'grep -qx "{MARK}={self.id}"; then kill -HUP "${{p#/proc/}}"; fi; done'
        )
        body = {"Cmd": ["/bin/sh", "-c", script]}
        try:
            created = await self.engine.call("POST", f"/containers/{self.container_id}/exec", body)
            await self.engine.call("POST", f"/exec/{created['Id']}/start", {"Detach": True})
        except EngineFailure as exc:
            log.info("terminal %s could not be ended from inside: %s", self.id, exc)

    def describe(self) -> dict[str, Any]:
        """This terminal in GET /gantry/terminals."""
        return {
            "id": self.id,
            "container": self.container_id,
            "container_name": self.container_name,
            "command": self.started.command,
            "created_at": self.created_at,
            "attached": self.attacher is not None,
            "start": self.scrollback.start,
            "end": self.scrollback.end,
            "ended": self.ended,
        }


def _exit(code: int | None, reason: str) -> dict[str, Any]:
    return {"type": "exit", "code": code, "reason": reason}
