"""One child process: spawned into a group of its own, its output relayed, stopped with a deadline."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Protocol, cast

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LONGEST_LINE = 16 * 1024  # bytes; a longer one is shown in pieces
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """What a child does first: ask the kernel to kill it when `parent`, a pid, is gone.

    SIGKILL and not SIGTERM: a part that outlives a killed supervisor would meet its own successor.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the prctl
        os._exit(1)


class Process(Protocol):
    """What a Child needs of its process: `subprocess.Popen` has it, and `Spare`."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...


class Child:
    """A running process of one part."""

    def __init__(self, name: str, process: Process, pump: asyncio.Task[None]) -> None:
        self.name = name
        self.pid = process.pid
        self.started = time.monotonic()
        self._process = process
        self._pump = pump
        self._ended = asyncio.Event()
        self._code: int | None = None
        # asyncio's own subprocess tells of an exit only once the pipes are closed as well, and a stray
        # descendant may hold those for ever; a pidfd tells of the exit itself.
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def of(cls, name: str, process: Process, emit: Callable[[str], None]) -> Child:
        """The child that `process` is; each line it prints goes to `emit`."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), cast(IO[bytes], process.stdout)
        )
        return cls(name, process, asyncio.create_task(_relay(reader, emit), name=f"output of {name}"))

    def _on_exit(self) -> None:
        self._code = self._process.poll()
        if self._code is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> int:
        """The exit code (negative: the signal that ended it), once its output is relayed as well.

        What is left of its process group is killed; output a stray descendant holds open is not waited for.
        """
        await self._ended.wait()
        self._signal(signal.SIGKILL, group=True)
        await asyncio.wait({self._pump}, timeout=0.5)
        self._pump.cancel()
        if self._process.stdout is not None:
            self._process.stdout.close()
        assert self._code is not None
        return self._code

    async def stop(self, grace: float, hurry: asyncio.Event) -> bool:
        """SIGTERM, and SIGKILL to the whole group after `grace` seconds or on `hurry`.

        Give back whether it ended by itself.
        """
        if not self.running:
            return True
        self._signal(signal.SIGTERM)
        ended = asyncio.create_task(self._ended.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        in_time = ended.done()
        if not in_time:
            self._signal(signal.SIGKILL, group=True)
        await ended
        return in_time

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        try:
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path | None) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`. Raises OSError when it cannot be started.

    It leads a session of its own, so that Ctrl-C reaches the supervisor alone and the order of stopping is the
    supervisor's. A few milliseconds, in the loop's own thread: PR_SET_PDEATHSIG counts the death of the *thread*.
    """
    return subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=partial(die_with, os.getpid()),
    )


async def _relay(reader: asyncio.StreamReader, emit: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await reader.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            emit(line.decode(errors="replace").rstrip("\r"))
        while len(rest) > _LONGEST_LINE:
            emit(rest[:_LONGEST_LINE].decode(errors="replace"))
            rest = rest[_LONGEST_LINE:]
    if rest:
        emit(rest.decode(errors="replace"))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return "ended" if code == 0 else f"ended with exit code {code}"
