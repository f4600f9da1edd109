"""A terminal's recording, from the side of the consumer that carries the bytes.

    begin, or wanted and join → output, resized, typed, room → end, or leave (at once, when `succeeded` is set)

A shell that was left is joined again by another consumer, maybe in another process, and its recording goes on.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from containers.models import Container, Ending, Recording
from containers.recordings import actions, cast, files
from containers.recordings.actions import Told
from containers.recordings.files import CastFile, Mark, held, pool
from containers.recordings.recorder import Recorder, resume
from containers.terminals import Order, Terminals
from controlplane.access.models import User
from controlplane.lib.errors import Conflict
from controlplane.lib.threads import in_thread

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # how often it is looked who watches, and who waits
# As much as was under way when a web process died is fetched again from the agent, so that nothing is missing.
FETCHED_AGAIN = 256 * 1024


class Unrecorded(Conflict):
    """A shell that cannot be recorded, where the settings allow none such."""


def _unrecorded(words: str) -> Unrecorded:
    return Unrecorded(
        f"This shell cannot be recorded: {words}.",
        "Gantry is set up to allow no shell without a recording. Tell whoever looks after it.",
    )


class Keeping:
    """One terminal's recording. `say(kind, **fields)` tells the browser, `audit(detail)` the trail, and `forbid()`
    ends a shell that may not go on without a recording.
    """

    def __init__(
        self,
        say: Callable[..., Awaitable[None]],
        audit: Callable[[str], Awaitable[Any]],
        forbid: Callable[[str], Awaitable[None]],
    ) -> None:
        self.say, self.audit, self.forbid = say, audit, forbid
        self.row: Recording | None = None
        self.recorder: Recorder | None = None
        self.trouble = ""
        self._whose: tuple[User, Container, str, Order]
        self._size: tuple[int, int] | None = None  # the last that was recorded
        self._now = (80, 24)  # what the browser said last
        self.succeeded = asyncio.Event()  # another consumer has the shell, and waits for the recording
        self._looking: list[asyncio.Task[None]] = []
        self._is_quiet = self._is_over = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- Its beginning ---

    async def begin(self, user: User, container: Container, terminal: str, order: Order, command: list[str]) -> None:
        """A new shell. Raises Unrecorded when it may not be without a recording."""
        self._whose = user, container, terminal, order
        # Without a command the agent looks for the best shell by a script that says nothing to anybody.
        await self._begin(shlex.join(command) if order.command else "a shell", 0)

    async def wanted(self, user: User, container: Container, terminal: str, order: Order, offset: int) -> int:
        """From where the agent is asked for output, for a browser that has `offset` bytes of it."""
        if self.recorder is not None or self.trouble:
            return offset
        self._whose = user, container, terminal, order
        self._now = order.columns, order.rows
        self.row = await in_thread(actions.find, terminal)
        if self.row is None or not self.row.is_live:
            return offset
        mark = await pool(Mark.read, actions.path_of(self.row))
        missing = offset - mark.position if mark is not None else 0
        return offset - missing if 0 < missing <= FETCHED_AGAIN else offset

    async def join(self, position: int) -> None:
        """The agent sends output from `position` on, and has sent away whoever had the shell before."""
        if self.recorder is None and not self.trouble:
            await self._resume(position)
        await self.tell()
        if self.recorder is not None:
            self._looking = [self._spawn(self._look()), self._spawn(self._look_back())]

    async def _resume(self, position: int) -> None:
        """Go on with the recording of a shell that is joined. One that never had one gets it now."""
        if self.row is None or not self.row.is_live:  # or whoever was sent away has begun one meanwhile
            self.row = await in_thread(actions.find, self._whose[2])
        if self.row is None:
            await self._begin("a shell", position)
        elif self.row.is_live:
            await self._go_on(self.row, position)
        elif not self.row.trouble:
            await self._begin_another(self.row, position)
        else:
            self.trouble = self.row.trouble
            if settings.RECORDINGS_REQUIRED:
                raise _unrecorded(self.trouble)

    async def _go_on(self, row: Recording, position: int) -> None:
        try:
            self._record(await resume(actions.path_of(row)))
        except FileNotFoundError:  # killed just when it was closed
            await in_thread(actions.close_left, row)
            await self._begin_another(row, position)
            return
        except OSError as exc:
            await self._failed(exc.strerror or str(exc))
            return
        self.resized(*self._now)
        try:
            await in_thread(actions.left, row, None)
        except DatabaseError as exc:
            log.warning("that somebody is back in %s is not written down: %s", row, exc)

    async def _begin_another(self, row: Recording, position: int) -> None:
        """What was closed while nobody was there may be of a shell that runs on. Raises HostAway."""
        _, container, terminal, _ = self._whose
        async with Terminals(container.host) as terminals:
            is_running = terminal in await terminals.running()
        if is_running:
            await self._begin(row.shell, position)
        else:
            self.trouble = "its recording has ended"

    async def _begin(self, shell: str, position: int) -> None:
        user, container, terminal, order = self._whose
        self._size = order.columns, order.rows
        try:
            self.row = await in_thread(actions.begin, user, container, terminal, shell)
            started = self.row.started_at.timestamp()
            first = cast.header(
                columns=order.columns,
                rows=order.rows,
                started=started,
                shell=shell,
                title=str(self.row),
                about={
                    "container": container.name,
                    "container_id": container.engine_id,
                    "image": container.image_ref,
                    "host": container.host.name,
                    "person": user.get_username(),
                    "user": order.user,
                },
            )
            self._record(await held(CastFile.create, actions.path_of(self.row), first, started, position))
        except (OSError, DatabaseError) as exc:
            await self._failed(getattr(exc, "strerror", None) or str(exc))

    async def _failed(self, words: str) -> None:
        """It cannot begin, or go on. What is there is kept; the sweep closes what another still writes."""
        log.warning("a terminal is not recorded: %s", words)
        self.trouble = words
        if self.row is not None and await in_thread(actions.close_left, self.row, Ending.FAILED, words):
            self.row.is_live = False
        await self.audit(f"not recorded: {words}")
        if settings.RECORDINGS_REQUIRED:
            raise _unrecorded(words)

    def _record(self, file: CastFile) -> None:
        self.recorder = Recorder(file, partial(self._stopped, file))

    # --- What passes ---

    def output(self, position: int, data: bytes) -> None:
        if self.recorder is not None:
            self.recorder.output(position, data)

    async def room(self) -> None:
        if self.recorder is not None:
            await self.recorder.room()

    def resized(self, columns: int, rows: int) -> None:
        self._now = columns, rows
        if self.recorder is not None and self._size != (columns, rows):
            self._size = columns, rows
            self.recorder.resized(columns, rows)

    def typed(self, data: bytes) -> None:
        if self.recorder is not None and settings.RECORDINGS_INPUT:
            self.recorder.typed(data)

    # --- Its end ---

    async def end(self, ending: Ending, exit_code: int | None = None) -> None:
        """The shell is over."""
        recorder, self.recorder = self.recorder, None
        self._is_over = True
        self._quiet()
        await _to_its_end(self._close(recorder, ending, exit_code))

    async def leave(self, *, is_gone: bool) -> None:
        """Let go of a shell that goes on. `is_gone`: nobody has it now, whereas another page of its person may."""
        recorder, self.recorder = self.recorder, None
        self._quiet()
        if recorder is not None:
            await _to_its_end(self._let_go(recorder, is_gone))

    async def _close(self, recorder: Recorder | None, ending: Ending, exit_code: int | None) -> None:
        if recorder is not None and not recorder.is_over:
            size = await recorder.seal()
            if not self.trouble:  # otherwise its last lines were too much, and `_stop` says so
                await self._end(Told(ending, size, exit_code))
        elif self.row is not None and self.row.is_live:
            await in_thread(actions.close_left, self.row, ending)

    async def _let_go(self, recorder: Recorder, is_gone: bool) -> None:
        await recorder.release()
        if is_gone and self.row is not None:
            await in_thread(actions.left, self.row, timezone.now())

    async def _end(self, told: Told) -> None:
        if self.row is not None:
            await in_thread(actions.end, self.row, told)
            self.row.is_live = False

    def _stopped(self, file: CastFile, is_full: bool, words: str) -> None:
        """The recorder had to stop before the shell."""
        self.recorder = None
        self.trouble = words
        told = Told(Ending.FULL if is_full else Ending.FAILED, file.size, trouble=words)
        self._spawn(self._stop(told, is_left=self._is_quiet))

    async def _stop(self, told: Told, *, is_left: bool) -> None:
        """`is_left`: nobody was in the shell any more. Whoever comes back is told then."""
        log.warning("the recording of %s stopped: %s", self.row, told.trouble)
        try:
            await self._end(told)
            await self.audit(f"not recorded any more: {told.trouble}")
        except DatabaseError as exc:
            log.warning("that the recording of %s stopped is not written down: %s", self.row, exc)
        if settings.RECORDINGS_REQUIRED and not is_left and not self._is_over:
            await self.forbid(told.trouble)
        elif not self._is_quiet:
            await self.tell()

    # --- What the person in it sees ---

    async def tell(self) -> None:
        await self.say("recording", on=self.recorder is not None, why=self.trouble)

    async def _look(self) -> None:
        """Tell the person who watches, whenever that changes."""
        assert self.row is not None
        path: Path = actions.path_of(self.row)
        told: list[str] = []
        while True:
            names = await pool(files.watchers, path)
            if names != told:
                await self.say("watchers", names=names)
                told = names
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_back(self) -> None:
        """The agent's word that it has sent us away may lie behind output that a browser which is gone never shows."""
        assert self.row is not None
        path = actions.path_of(self.row)
        while True:
            if await pool(files.is_wanted, path):
                self.succeeded.set()
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _quiet(self) -> None:
        """No more words to the browser."""
        self._is_quiet = True
        for task in self._looking:
            task.cancel()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and be cancelled only after it: a recording that is not let go of could not go on anywhere."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (failure := task.exception()):
            log.warning("a recording was left to the sweep: %s", failure)
        raise
    except (OSError, DatabaseError) as exc:
        log.warning("a recording was left to the sweep: %s", exc)


async def _quietly(work: Awaitable[None]) -> None:
    """The browser may be gone before it is told."""
    try:
        await work
    except OSError as exc:
        log.debug("not told: %s", exc)
