"""One child process: spawned into a group of its own, its output relayed, stopped with a deadline."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LONGEST_LINE = 16 * 1024  # bytes; a longer one is shown in pieces
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int) -> Callable[[], None]:
    """What a child does before exec: ask the kernel to kill it when `parent`, a pid, is gone.

    SIGKILL and not SIGTERM: a part that outlives a killed supervisor would meet its own successor.
    """

    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the prctl
            os._exit(1)

    return before_exec


class Child:
    """A running process of one part."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, emit: Callable[[str], None]) -> None:
        self.name = name
        self.pid = process.pid
        self.started = time.monotonic()
        self._process = process
        self._pump = asyncio.create_task(self._relay(emit), name=f"output of {name}")

    @classmethod
    async def spawn(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], emit: Callable[[str], None]
    ) -> Child:
        """Start `command`; each line it prints goes to `emit`. Raises OSError when it cannot be started.

        The child leads a session of its own, so that Ctrl-C reaches the supervisor alone and the order of
        stopping is the supervisor's.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),
        )
        return cls(name, process, emit)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code (negative: the signal that ended it), once its output is relayed as well.

        What is left of its process group is killed; output a stray descendant holds open is not waited for.
        """
        code = await self._process.wait()
        self._signal(signal.SIGKILL, group=True)
        done, _ = await asyncio.wait({self._pump}, timeout=0.5)
        if not done:
            self._pump.cancel()
        return code

    async def stop(self, grace: float, hurry: asyncio.Event) -> bool:
        """SIGTERM, and SIGKILL to the whole group after `grace` seconds or on `hurry`.

        Give back whether it ended by itself.
        """
        if not self.running:
            return True
        self._signal(signal.SIGTERM)
        ended = asyncio.create_task(self._process.wait())
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

    async def _relay(self, emit: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(65536):
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
