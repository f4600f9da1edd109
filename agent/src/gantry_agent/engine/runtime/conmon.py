"""conmon holds a container's (or an exec's) input, output and exit code while engines come and go.

The files of one conmon lie in one folder, its bundle: `attach` (a SOCK_SEQPACKET socket), `ctl` and `winsz` (named
pipes), `pidfile`, `conmon.pid`; its log beside or in it. The exit code appears as a file named by the id.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gantry_agent.engine.errors import Internal

from .choice import PATH, Programs
from .processes import start_time
from .spawn import Spawner, ended

START_TIMEOUT = 120.0  # seconds a runtime may take to create; a host under load takes long, for ever it must not
MAX_REPORT = 1 << 20  # bytes


@dataclass(frozen=True)
class Paths:
    """Where a conmon's files are. `log` is what it writes now (rotated: containers/log_files.py), None for an exec.
    conmon names the exit file by the container, also for an exec: each exec needs a folder of its own for it."""

    bundle: Path
    log: Path | None
    exit: Path

    @property
    def attach(self) -> Path:
        return self.bundle / "attach"

    @property
    def ctl(self) -> Path:
        return self.bundle / "ctl"

    @property
    def winsz(self) -> Path:
        return self.bundle / "winsz"

    @property
    def pidfile(self) -> Path:
        return self.bundle / "pidfile"

    @property
    def conmon_pidfile(self) -> Path:
        return self.bundle / "conmon.pid"


@dataclass(frozen=True)
class Started:
    """A process that conmon holds."""

    pid: int
    pid_started: int
    conmon_pid: int


class RuntimeRefusal(Internal):
    """The runtime could not create the process; `message` is what it said."""


class Conmon:
    """Starts conmons. `runtime_folder`: the OCI runtime's own state."""

    def __init__(self, programs: Programs, runtime_folder: Path, spawner: Spawner) -> None:
        self._programs = programs
        self._runtime_folder = runtime_folder
        self._spawner = spawner

    async def create(
        self, container_id: str, name: str, paths: Paths, *, tty: bool, stdin: bool, stdin_once: bool
    ) -> Started:
        """Create the container whose config.json lies in the bundle. Raises RuntimeRefusal, Internal.

        `stdin_once`: its input ends when the first attached client has gone.
        """
        arguments = ["-c", container_id, "-u", container_id, "-n", name]
        if stdin and not stdin_once:
            arguments.append("--leave-stdin-open")
        await asyncio.to_thread(_clear, paths)
        return await self._begin(arguments, paths, tty=tty, stdin=stdin)

    async def exec(
        self,
        container_id: str,
        exec_id: str,
        paths: Paths,
        process: dict[str, Any],
        *,
        tty: bool,
        stdin: bool,
        note: Callable[[], None],
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> Started:
        """Run `process` (an OCI process) in a running container; its exit code appears as `paths.exit`.

        `note` is called in a thread before anything begins; the bundle is there then. `ready` is awaited once the
        attach socket is there and before the process begins, so that whoever connects in it misses nothing.
        Raises RuntimeRefusal, Internal.
        """
        spec = paths.bundle / "process.json"

        def prepare() -> None:
            paths.exit.parent.mkdir(parents=True, mode=0o700)
            note()
            spec.write_text(json.dumps(process))

        arguments = ["-c", container_id, "-u", exec_id, "-n", exec_id, "--exec", "--exec-process-spec", str(spec)]
        return await self._begin(arguments, paths, tty=tty, stdin=stdin, prepare=prepare, ready=ready)

    async def _begin(
        self,
        arguments: Sequence[str],
        paths: Paths,
        *,
        tty: bool,
        stdin: bool,
        prepare: Callable[[], None] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> Started:
        command = [*self._command(paths), *arguments, *(["-t"] if tty else []), *(["-i"] if stdin else [])]
        with ExitStack() as stack:
            report, report_end = _pipe(stack)
            go_end, go = _pipe(stack)
            environment = {"_OCI_SYNCPIPE": str(report_end.fileno()), "_OCI_STARTPIPE": str(go_end.fileno())}
            handed = [report_end, go_end]
            if ready:
                attached, attached_end = _pipe(stack)
                environment["_OCI_ATTACHPIPE"] = str(attached_end.fileno())
                command.append("--exec-attach")
                handed.append(attached_end)
            process = await self._spawner.start(
                command,
                prepare=prepare,
                environment={**environment, "PATH": PATH, "TZ": "UTC"},
                descriptors=[each.fileno() for each in handed],
            )
            for each in handed:
                each.close()
            try:
                async with asyncio.timeout(START_TIMEOUT):
                    _say_go(go)
                    if ready and (text := await _read_line(attached)):
                        await ready()
                        _say_go(go)
                    text = await _read_line(report)
            except TimeoutError as exc:
                raise Internal(f"{self._programs.name} did not answer within {START_TIMEOUT:g} s") from exc
            go.close()
            await ended(process)
        return self._started(text, paths)

    def _command(self, paths: Paths) -> list[str]:
        programs = self._programs
        command = [programs.conmon, "--api-version", "1", "-r", programs.runtime, "-b", str(paths.bundle)]
        command += ["-p", str(paths.pidfile), "-P", str(paths.conmon_pidfile), "--exit-dir", str(paths.exit.parent)]
        command += ["--full-attach", "-l", f"k8s-file:{paths.log}" if paths.log else "none", "--log-level", "error"]
        if programs.skips_log_sync:
            command.append("--no-sync-log")
        return [*command, "--runtime-arg", "--root", "--runtime-arg", str(self._runtime_folder)]

    def _started(self, text: bytes, paths: Paths) -> Started:
        try:
            report = json.loads(text) if text.strip() else {}
        except ValueError:
            report = {"message": text.decode(errors="replace")}
        # Older conmons say "pid", newer with an API version "data".
        pid = int(report.get("data", report.get("pid", -1)))
        if pid <= 0:
            raise RuntimeRefusal(_said(report.get("message", "")) or f"conmon gave no process (it said {text!r})")
        return Started(pid, start_time(pid), read_pid(paths.conmon_pidfile))


def read_pid(path: Path) -> int:
    """The number in a pid file; 0 when there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _said(message: str) -> str:
    """The runtime's own words: crun writes JSON lines with a time when it is asked to, else plain ones."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    return "; ".join(lines)


def _clear(paths: Paths) -> None:
    """What an earlier run left."""
    for stale in (paths.exit, paths.pidfile, paths.conmon_pidfile, paths.attach, paths.ctl, paths.winsz):
        with suppress(FileNotFoundError):
            stale.unlink()


def _pipe(stack: ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """A pipe whose ends close with the stack."""
    read, write = os.pipe2(os.O_CLOEXEC)
    return stack.enter_context(os.fdopen(read, "rb", 0)), stack.enter_context(os.fdopen(write, "wb", 0))


def _say_go(pipe: BinaryIO) -> None:
    with suppress(BrokenPipeError):  # it has failed: its report says why
        pipe.write(b"\0")


async def _read_line(pipe: BinaryIO) -> bytes:
    """The first line, or all up to the end. A short exec's conmon may have said its exit code behind it already."""
    loop = asyncio.get_running_loop()
    descriptor = pipe.fileno()
    os.set_blocking(descriptor, False)
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    found = bytearray()
    try:
        while b"\n" not in found and len(found) < MAX_REPORT:
            await ready.wait()
            ready.clear()
            try:
                piece = os.read(descriptor, 65536)
            except BlockingIOError:
                continue
            if not piece:
                break
            found += piece
    finally:
        loop.remove_reader(descriptor)
    return bytes(found.partition(b"\n")[0])
