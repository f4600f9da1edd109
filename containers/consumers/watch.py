"""An open shell as somebody else sees it: the lines of its recording, from the first to those just written."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from typing import Any

from django.db import DatabaseError

from containers.models import Ending, Recording
from containers.recordings import actions, files
from containers.recordings.access import get_recording
from containers.recordings.files import Mark, WatchFile, held, pool
from containers.recordings.settling import settle
from controlplane.lib.threads import in_thread
from controlplane.operations.audit import about
from controlplane.operations.sockets import AuditedConsumer, Reading

log = logging.getLogger(__name__)

WINDOW = 1024 * 1024  # bytes sent and not yet confirmed
BATCH = 256 * 1024
LOOK_SECONDS = 0.1
PRESENCE_SECONDS = 1.0  # how often it is looked whether anybody is in the shell
SETTLE_SECONDS = 5.0  # and, while nobody is, whether it still runs
STUCK_SECONDS = 60.0  # how long a page may confirm nothing
ROW_LOOKS = 100
BAD_REQUEST, BROKEN = 4400, 1011


class WatchConsumer(AuditedConsumer):
    """`/ws/recordings/<pk>/watch`. Binary messages are the cast, cut anywhere. Text messages are JSON: `{"type":
    "here", "here": …}` whether its person is connected, `{"type": "now"}` once all that was written before is sent,
    and last `{"type": "ended", "state": …}`. The page answers `{"ack": n}`: it has dealt with n bytes in all.

    Reads the file that the terminal's process writes: they share GANTRY_HOME, and a slow watcher delays nobody. The
    person in the shell is told first (WatchFile).
    """

    # No layer: what is watched is seen to be so while Redis is away, too.
    channel_layer_alias = "none"
    recording: Recording

    def authorise(self) -> None:
        pk = self.scope["url_route"]["kwargs"]["pk"]
        self.recording = get_recording(self.scope["user"], pk, "recording.see")

    async def opened(self) -> None:
        self.sent = self.confirmed = 0
        self.credit = asyncio.Event()
        self.reading = Reading(self.scope["user"], "recording.see", **about(self.recording))
        self.cast = actions.path_of(self.recording)
        self.relay = asyncio.create_task(self._serve())

    async def closed(self) -> None:
        await self.end_relay()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            confirmed = json.loads(text_data or "")["ack"]
        except (ValueError, KeyError, TypeError, RecursionError):
            confirmed = None
        if not isinstance(confirmed, int) or self.relay is None or not self.confirmed <= confirmed <= self.sent:
            await self.close(BAD_REQUEST)
            return
        self.confirmed = confirmed
        self.credit.set()

    async def _serve(self) -> None:
        try:
            if self.recording.is_live:
                await self._watch()
            await self._say("ended", state=await self._last_state())
            await self.close()
        except OSError as exc:
            log.debug("watching %s: %s", self.recording, exc)
            await self.close(BROKEN)
        except Exception:
            log.exception("watching %s", self.recording)
            await self.close(BROKEN)

    async def _watch(self) -> None:
        """Tell the person, then send what is written until the recording is closed."""
        watching = await held(WatchFile, self.cast, secrets.token_hex(8), self.scope["user"].display)
        try:
            await self.reading.began("watches live")
            await self._follow()
        finally:
            await pool(watching.release)
            try:
                await self.reading.ended("stopped watching")
            except DatabaseError as exc:
                log.warning("that %s is no longer watched is not written down: %s", self.recording, exc)

    async def _follow(self) -> None:
        here, looked, settled, is_now = None, 0.0, time.monotonic(), False
        while True:
            mark = await pool(Mark.read, self.cast)
            size = mark.size if mark is not None else await pool(files.complete_size, self.cast)
            while self.sent < size:
                data = await pool(files.read, self.cast, self.sent, min(BATCH, size - self.sent))
                if not data:
                    return
                self.sent += len(data)
                await self.send(bytes_data=data)
                await self._until_wanted()
            if mark is None:
                return
            if not is_now:
                is_now = True
                await self._say("now")
            if time.monotonic() - looked > PRESENCE_SECONDS:
                looked = time.monotonic()
                found = await pool(files.is_written, self.cast)
                if found != here:
                    here = found
                    await self._say("here", here=here)
                if not here and looked - settled > SETTLE_SECONDS:
                    settled = looked
                    await settle(self.recording)
            await asyncio.sleep(LOOK_SECONDS)

    async def _until_wanted(self) -> None:
        while self.sent - self.confirmed >= WINDOW:
            self.credit.clear()
            async with asyncio.timeout(STUCK_SECONDS):  # its TimeoutError is an OSError
                await self.credit.wait()

    async def _last_state(self) -> str:
        """How it ended: the file is closed a moment before its row says so."""
        for _ in range(ROW_LOOKS):
            state = await in_thread(self._state)
            if state != "live":
                return state
            await asyncio.sleep(LOOK_SECONDS)
        return Ending.CUT

    def _state(self) -> str:
        found = Recording.objects.filter(pk=self.recording.pk).first()
        return found.state if found else Ending.CUT

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.send(json.dumps({"type": kind, **fields}))
