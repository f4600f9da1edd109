"""Starting the engine's helpers (conmon, crun, runc) without holding up the event loop.

All are started by one thread. Where cgroups are hybrid (version 1 controllers beside an empty version 2 tree), crun 1.8
refuses to work; there the thread first takes a fresh mount namespace, without that tree. A fresh
one for each start (0.3 ms): nothing mounted later is missing in it, and it goes with the last process in it.
"""

import asyncio
import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gantry_agent.engine.errors import Internal

CLONE_NEWNS, CLONE_FS = 0x20000, 0x200
MS_BIND, MS_REC, MS_SLAVE, MS_SHARED, MS_PRIVATE = 0x1000, 0x4000, 1 << 19, 1 << 20, 1 << 18
MNT_DETACH = 2
HYBRID = Path("/sys/fs/cgroup/unified")
MAX_OUTPUT = 1 << 20  # bytes read of a helper's output

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Finished:
    """How a helper ended. `code` is negative for a signal."""

    code: int
    output: str
    errors: str


class Spawner:
    """The thread that starts helpers."""

    def __init__(self, *, hides_unified: bool) -> None:
        self._hides_unified = hides_unified
        self._host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC) if hides_unified else -1
        self._thread = ThreadPoolExecutor(1, "spawn", initializer=_unshare_folder if hides_unified else None)

    def close(self) -> None:
        """End the thread; what it started lives on."""
        self._thread.shutdown(wait=True)
        if self._host >= 0:
            os.close(self._host)

    async def start(
        self,
        arguments: Sequence[str],
        *,
        prepare: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        output: int = subprocess.DEVNULL,
        errors: int = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """Start a program with the given file descriptors open in it. Raises Internal when it cannot be started.

        `prepare` is called before, in the thread: writing a small file takes as long as the disk is busy.
        """
        loop = asyncio.get_running_loop()

        def begin() -> "subprocess.Popen[bytes]":
            if prepare:
                prepare()
            return self._start(arguments, environment, tuple(descriptors), output, errors)

        work = loop.run_in_executor(self._thread, begin)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():  # the descriptors handed over are the caller's to close
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            raise
        except OSError as exc:
            raise Internal(f"{arguments[0]} cannot be started: {exc}") from exc

    async def run(self, arguments: Sequence[str], *, timeout: float = 60.0) -> Finished:
        """Run a helper to its end. Raises Internal when it cannot be started or takes longer than `timeout` s."""
        with contextlib.ExitStack() as stack:
            output, errors = (stack.enter_context(os.fdopen(os.memfd_create(name), "w+b")) for name in ("out", "err"))
            process = await self.start(arguments, output=output.fileno(), errors=errors.fileno())
            try:
                async with asyncio.timeout(timeout):
                    code = await ended(process)
            except TimeoutError as exc:
                process.kill()
                raise Internal(f"{arguments[0]} took longer than {timeout:g} s") from exc
            return Finished(code, _text(output), _text(errors))

    def _start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        descriptors: tuple[int, ...],
        output: int,
        errors: int,
    ) -> "subprocess.Popen[bytes]":
        if self._hides_unified:
            self._enter_fresh_namespace()
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd="/",
            pass_fds=descriptors,
        )

    def _enter_fresh_namespace(self) -> None:
        """Mounts go on between it and the host as the host has them, but for what lies where the tree is hidden."""
        _check(_libc.setns(self._host, CLONE_NEWNS), "setns")
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        if _libc.mount(None, os.fsencode(HYBRID.parent), None, ctypes.c_ulong(MS_SLAVE), None) < 0:
            _check(_libc.mount(None, b"/", None, ctypes.c_ulong(MS_SLAVE | MS_REC), None), "making / a slave")
        _check(_libc.umount2(os.fsencode(HYBRID), MNT_DETACH), f"unmounting {HYBRID}")


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a child without a thread; its exit code. Cancelled, a child that goes on is reaped by subprocess."""
    await gone(process.pid)
    return process.wait()


async def gone(pid: int) -> None:
    """Wait until a process is gone; at once when there is none."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _resolve, done)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(MAX_OUTPUT).decode(errors="replace")


def share(folder: Path) -> None:
    """Make a folder a shared mount of its own: what is mounted or unmounted below it on the host then is so in the
    mount namespaces of helpers too, where the host's root is private. Raises OSError."""
    if not _is_mounted(folder):
        path = os.fsencode(folder)
        _check(_libc.mount(path, path, None, ctypes.c_ulong(MS_BIND), None), f"mounting {folder} on itself")
        _check(_libc.mount(None, path, None, ctypes.c_ulong(MS_PRIVATE), None), f"making {folder} private")
        _check(_libc.mount(None, path, None, ctypes.c_ulong(MS_SHARED), None), f"making {folder} shared")


def unshare(folder: Path) -> None:
    """The inverse of `share`, also while a thread still has its working directory below it."""
    if _is_mounted(folder):
        _libc.umount2(os.fsencode(folder), MNT_DETACH)


def _is_mounted(folder: Path) -> bool:
    """Whether something is mounted there. os.path.ismount does not see a bind of the same filesystem."""
    target = str(folder).translate({32: "\\040", 9: "\\011", 10: "\\012", 92: "\\134"})
    with open("/proc/self/mountinfo") as lines:
        return any(line.split(" ", 5)[4] == target for line in lines)


def _unshare_folder() -> None:
    _check(_libc.unshare(CLONE_FS), "unshare(CLONE_FS)")


def _check(answer: int, what: str) -> None:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
