"""Commands run inside a running container: made, started, followed, and their exit codes kept.

A started exec has a conmon of its own and outlives the engine as its container does; what the engine must know of it
lies in RUN/execs/ID/exec.json, beside conmon's files and the exit code.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import Conflict, InvalidArgument, NotFound
from gantry_agent.engine.events import Event, Events
from gantry_agent.engine.runtime.conmon import Conmon, Paths, RuntimeRefusal, read_pid
from gantry_agent.engine.runtime.processes import is_same, start_time
from gantry_agent.engine.runtime.refusals import REFUSED, reworded
from gantry_agent.engine.runtime.spawn import gone

from .model import Container, Status
from .streams import Console, resize

KEPT = 300.0  # seconds an ended exec can still be inspected, as Docker keeps it
NOT_STARTED = 126  # whatever the reason, as with Docker
START_TIMEOUT = 10.0  # seconds a resize waits for the start


@dataclass
class Exec:
    """One command: what was asked for, and how it goes."""

    id: str
    container_id: str
    command: list[str]
    tty: bool = False
    env: list[str] = field(default_factory=list)
    user: str = ""
    workdir: str = ""
    privileged: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    keys: str = ""
    """Detach keys; "" for the default."""
    is_started: bool = False
    is_running: bool = False
    exit_code: int | None = None
    pid: int = 0
    conmon_pid: int = 0
    conmon_started: int = 0
    """As State.pid_started, of its conmon."""
    ended_at: float = 0
    """Seconds since the epoch."""

    @classmethod
    def of(cls, container: Container, body: dict[str, Any]) -> "Exec":
        """An exec from the body of a create request. Raises InvalidArgument."""
        command = body.get("Cmd") or []
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            raise InvalidArgument("No exec command specified")
        env = body.get("Env") or []
        if not isinstance(env, list) or not all(isinstance(each, str) for each in env):
            raise InvalidArgument("Env must be a list of strings")
        return cls(
            id=secrets.token_hex(32),
            container_id=container.id,
            command=command,
            tty=bool(body.get("Tty")),
            env=env,
            user=str(body.get("User") or ""),
            workdir=str(body.get("WorkingDir") or ""),
            privileged=bool(body.get("Privileged")),
            stdin=bool(body.get("AttachStdin")),
            stdout=bool(body.get("AttachStdout")),
            stderr=bool(body.get("AttachStderr")),
            keys=str(body.get("DetachKeys") or ""),
        )

    def to_inspect(self, container: Container) -> dict[str, Any]:
        """Docker's answer to GET /exec/{id}/json."""
        process: dict[str, Any] = {
            "tty": self.tty,
            "entrypoint": self.command[0],
            "arguments": self.command[1:],
            "privileged": self.privileged,
        }
        if self.user:
            process["user"] = self.user
        return {
            "ID": self.id,
            "Running": self.is_running,
            "ExitCode": self.exit_code,
            "ProcessConfig": process,
            "OpenStdin": self.stdin,
            "OpenStderr": self.stderr,
            "OpenStdout": self.stdout,
            "CanRemove": not self.is_running and self.is_started,
            "ContainerID": container.id,
            "DetachKeys": self.keys,
            "Pid": self.pid,
        }


Process = Callable[[Container, Exec], Awaitable[dict[str, Any]]]
"""The OCI process of an exec; raises EngineError."""


class Execs:
    """All execs of the engine, by id. `run` clears away old ones."""

    def __init__(
        self,
        folder: Path,
        events: Events,
        conmon: Callable[[], Conmon],
        get: Callable[[str], Container | None],
        process: Process,
        hurry: Callable[[], Callable[[], None]],
    ) -> None:
        self.folder = folder
        self._events = events
        self._conmon = conmon
        self._get = get
        self._process = process
        self._hurry = hurry
        self._hurried: dict[str, Callable[[], None]] = {}
        self._all: dict[str, Exec] = {}
        self._begun: dict[str, asyncio.Event] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, exec_id: str) -> Exec:
        """The exec of that id. Raises NotFound."""
        if exec_id not in self._all:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self._all[exec_id]

    def container_of(self, exec_: Exec) -> Container:
        """Its container. Raises NotFound."""
        if (container := self._get(exec_.container_id)) is None:
            raise NotFound(f"No such container: {exec_.container_id}")
        return container

    def create(self, container: Container, exec_: Exec, *, is_urgent: bool = True) -> Exec:
        """Take note of a command to run; `is_urgent`: somebody waits for it.

        Raises Conflict when the container cannot run one.
        """
        _check_running(container)
        self._add(exec_)
        if is_urgent:
            self._hurried[exec_.id] = self._hurry()
        container.exec_ids.append(exec_.id)
        self._tell(f"exec_create: {' '.join(exec_.command)}", container, exec_)
        return exec_

    def claim(self, exec_: Exec, container: Container) -> None:
        """It is about to be started: only once. Raises Conflict."""
        if exec_.is_running:
            raise Conflict(f"Error: Exec command {exec_.id} is already running")
        if exec_.is_started:
            raise Conflict(f"Error: Exec command {exec_.id} has already run")
        _check_running(container)
        exec_.is_started = True

    async def begin(
        self, exec_: Exec, container: Container, *, is_attached: bool, size: tuple[int, int] | None = None
    ) -> Console | None:
        """Run a claimed exec; its console when somebody will read it. `size`: height and width of its terminal.

        Raises EngineError when it could not be started; its exit code is NOT_STARTED then.
        """
        if hurried := self._hurried.pop(exec_.id, None):
            hurried()
            self._hurried[exec_.id] = self._hurry()  # anew: it may have been created long ago
        folder = self.folder / exec_.id
        paths = self._paths(exec_)
        console: list[Console] = []

        async def connect() -> None:
            console.append(await Console.connect(paths.attach, reads=True))

        self._tell(f"exec_start: {' '.join(exec_.command)}", container, exec_)
        try:
            process = await self._process(container, exec_)
            if size and exec_.tty:
                process["consoleSize"] = {"height": size[0], "width": size[1]}
            exec_.is_running = True
            started = await self._conmon().exec(
                container.id,
                exec_.id,
                paths,
                process,
                tty=exec_.tty,
                stdin=exec_.stdin and is_attached,
                note=lambda: self._save(exec_),
                ready=connect if is_attached else None,
            )
        except BaseException as exc:
            for each in console:
                each.close()
            self._finish(exec_, container, NOT_STARTED)
            self._spawn(asyncio.to_thread(_clear_away, folder), f"clearing exec {exec_.id} away")
            if isinstance(exc, RuntimeRefusal):
                raise _refusal(exec_, exc.message) from exc
            raise
        exec_.pid, exec_.conmon_pid = started.pid, started.conmon_pid
        exec_.conmon_started = start_time(started.conmon_pid)
        self._begun[exec_.id].set()
        self._watch(exec_, container)
        return console[0] if console else None

    async def end(self, exec_: Exec) -> None:
        """Wait until it has ended; its exit code is there then."""
        if exec_.id in self._ended:
            await self._ended[exec_.id].wait()

    async def resize(self, exec_: Exec, height: int, width: int) -> None:
        """Set its terminal's size. Raises Conflict when it does not run within START_TIMEOUT."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._begun[exec_.id].wait()
        except TimeoutError as exc:
            raise Conflict(f"exec {exec_.id} is not running") from exc
        resize(self.folder / exec_.id, height, width)

    async def capture(
        self, container: Container, command: tuple[str, ...], timeout: float, limit: int
    ) -> tuple[int, str]:
        """Run a command and read its output, `limit` bytes at most. The code is -1 when it took longer than
        `timeout` seconds: it is killed then. Raises EngineError."""
        exec_ = self.create(container, Exec(secrets.token_hex(32), container.id, list(command)), is_urgent=False)
        exec_.stdout = exec_.stderr = True
        self.claim(exec_, container)
        output = bytearray()
        console: Console | None = None
        try:
            async with asyncio.timeout(timeout):
                console = await self.begin(exec_, container, is_attached=True)
                assert console is not None
                while packets := await console.read():
                    for _, data in packets:
                        output += data[: max(0, limit + 1 - len(output))]
                await self.end(exec_)
        except TimeoutError:
            _kill(exec_)
            return -1, f"Health check exceeded timeout ({timeout:g}s)"
        except asyncio.CancelledError:
            _kill(exec_)
            raise
        finally:
            if console is not None:
                console.close()
        text = output[:limit].decode(errors="replace") + ("..." if len(output) > limit else "")
        return exec_.exit_code if exec_.exit_code is not None else -1, text

    def open(self) -> None:
        """Take back the execs a killed engine left running, and the exit codes of those that ended meanwhile."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for folder in self.folder.iterdir():
            try:
                found = json.loads((folder / "exec.json").read_text())
                exec_ = Exec(**found)
            except (OSError, ValueError, TypeError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            container = self._get(exec_.container_id)
            if container is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._add(exec_)
            self._begun[exec_.id].set()
            if not exec_.conmon_pid:
                # Killed between conmon's start and our note of it: what conmon itself wrote tells.
                paths = self._paths(exec_)
                exec_.pid, exec_.conmon_pid = read_pid(paths.pidfile), read_pid(paths.conmon_pidfile)
                exec_.conmon_started = start_time(exec_.conmon_pid)
            if exec_.id not in container.exec_ids:
                container.exec_ids.append(exec_.id)
            self._watch(exec_, container)

    async def run(self) -> None:
        """Forget, for ever, execs that ended a while ago and those of removed containers."""
        while True:
            await asyncio.sleep(KEPT / 10)
            now = time.time()
            for exec_ in tuple(self._all.values()):
                container = self._get(exec_.container_id)
                is_old = exec_.ended_at and now - exec_.ended_at > KEPT
                if container is None or is_old or not (exec_.is_started or container.is_running):
                    self._forget(exec_, container)

    async def close(self) -> None:
        """Stop following; what runs goes on."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, exec_: Exec) -> None:
        self._all[exec_.id] = exec_
        self._begun[exec_.id], self._ended[exec_.id] = asyncio.Event(), asyncio.Event()

    def _forget(self, exec_: Exec, container: Container | None) -> None:
        if exec_.is_running:
            return
        for table in (self._all, self._begun, self._ended, self._hurried):
            table.pop(exec_.id, None)
        if container is not None and exec_.id in container.exec_ids:
            container.exec_ids.remove(exec_.id)
        shutil.rmtree(self.folder / exec_.id, ignore_errors=True)

    def _watch(self, exec_: Exec, container: Container) -> None:
        self._spawn(self._follow(exec_, container), f"exec {exec_.id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, exec_: Exec, container: Container) -> None:
        """Wait for its conmon's end, which follows the exit code's arrival. Nobody waits for the disk meanwhile."""
        noting = asyncio.ensure_future(asyncio.to_thread(self._save, exec_))
        if is_same(exec_.conmon_pid, exec_.conmon_started):
            await gone(exec_.conmon_pid)
        path = self._paths(exec_).exit
        try:
            code = int(path.read_text())
        except (OSError, ValueError):
            code = 137  # its conmon was killed, and it with it
        self._finish(exec_, container, code)
        await asyncio.gather(noting, return_exceptions=True)
        await asyncio.to_thread(_clear_away, self.folder / exec_.id)

    def _finish(self, exec_: Exec, container: Container, code: int) -> None:
        exec_.exit_code, exec_.is_running, exec_.ended_at = code, False, time.time()
        exec_.is_started = True
        if exec_.id in container.exec_ids:
            container.exec_ids.remove(exec_.id)
        self._begun[exec_.id].set()
        self._ended[exec_.id].set()
        if hurried := self._hurried.pop(exec_.id, None):
            hurried()
        self._tell("exec_die", container, exec_, exitCode=str(code))

    def _paths(self, exec_: Exec) -> Paths:
        folder = self.folder / exec_.id
        return Paths(bundle=folder, log=None, exit=folder / "exits" / exec_.container_id)

    def _save(self, exec_: Exec) -> None:
        """Note it for the next engine. Blocks: behind whatever the disk has to do, where RUN is not in memory."""
        path = self.folder / exec_.id / "exec.json"
        path.with_suffix(".new").write_text(json.dumps(dataclasses.asdict(exec_)))
        path.with_suffix(".new").rename(path)

    def _tell(self, action: str, container: Container, exec_: Exec, **more: str) -> None:
        attributes = {**container.labels, "image": container.image, "name": container.name, "execID": exec_.id, **more}
        self._events.publish_event(Event("container", action, container.id, attributes))


def _clear_away(folder: Path) -> None:
    """The note first: without it the next engine knows nothing of the exec. Blocks."""
    with contextlib.suppress(OSError):
        (folder / "exec.json").unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _refusal(exec_: Exec, said: str) -> RuntimeRefusal:
    words, code = reworded(exec_.command[0], said)
    found = RuntimeRefusal(f"OCI runtime exec failed: exec failed: {words}: unknown")
    found.status = InvalidArgument.status if code != REFUSED else found.status
    return found


def _check_running(container: Container) -> None:
    if container.state.status is Status.PAUSED:
        raise Conflict(f"Container {container.id} is paused, unpause the container before exec")
    if container.state.status is Status.RESTARTING:
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.is_running:
        raise Conflict(f"container {container.id} is not running")


def _kill(exec_: Exec) -> None:
    """End a command by force, and what it started in its own session goes with the container at the latest."""
    if exec_.is_running and exec_.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(exec_.pid, signal.SIGKILL)
