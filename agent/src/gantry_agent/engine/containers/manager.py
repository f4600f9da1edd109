"""The containers of this engine: what may be done with one, and what follows when its process dies.

Who changes a container's state holds its lock; what an answer tells was saved before. Deaths are noticed by conmon's
exit files, so that a container that died while no engine ran is found as well.
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gantry_agent.engine.errors import Conflict, EngineError, Internal, NotModified
from gantry_agent.engine.events import Event
from gantry_agent.engine.oci import Platform
from gantry_agent.engine.runtime import choice, processes, seccomp, spawn, spec
from gantry_agent.engine.runtime.conmon import Conmon, Paths
from gantry_agent.engine.runtime.exits import Exits
from gantry_agent.engine.runtime.oci_runtime import OciRuntime

from . import adoption, changes, create, links, restarts, running, stopping
from .model import Container, Status
from .roots import Roots
from .roster import Roster
from .running import Hidden, StartFailed, Tools
from .waiting import Waiting

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

log = logging.getLogger(__name__)
LOST = 255  # exit code where nobody noted the real one


class Containers:
    """Every container. `open` before use, `close` after; containers live on."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.roster = Roster(engine.database)
        self.roots = Roots(engine.layout, engine.store)
        self.exits = Exits(engine.layout.exits)
        self.waiting = Waiting()
        self.on_start: list[Callable[[Container], None]] = []
        """Called with each container whose process was started, before it is saved as running."""
        self.on_rest: list[Callable[[Container], None]] = []
        """Called with each container whose process has ended or was paused, before that is saved."""
        self.unavailable = ""
        """Why nothing can be run here; "" when all parts are there."""
        self._tools: Tools | None = None
        self._spawner: spawn.Spawner | None = None
        self._pauses: dict[str, float] = {}
        self._restarting: dict[str, asyncio.Task[None]] = {}

    @property
    def programs(self) -> choice.Programs | None:
        """The runtime, conmon and an init as they were found; None when parts are missing (`unavailable` says what)."""
        return self._tools.runtime.programs if self._tools else None

    async def open(self) -> None:
        """Read the containers, take back those that run. Networks and volumes are opened by the caller after this."""
        self.roster.open()
        self._engine.store.used_by = self.roster.by_image
        try:
            programs = await asyncio.to_thread(choice.choose, self._engine.config.runtime)
        except EngineError as exc:
            self.unavailable = exc.message
            log.error("no container can be run: %s", exc.message)
        else:
            layout = self._engine.layout
            self._spawner = spawn.Spawner(hides_unified=programs.hides_unified)
            self._tools = Tools(
                Conmon(programs, layout.runtime, self._spawner),
                OciRuntime(programs, layout.runtime, self._spawner),
                seccomp.Filters(layout.run / "seccomp", f"{programs.name} {programs.version}"),
            )
            if programs.hides_unified:
                spawn.share(layout.root)
                spawn.share(layout.run)
        self.exits.open()
        await adoption.adopt(self._engine, self)

    async def resume(self) -> None:
        """Once networks and volumes are open: deaths of the meantime, restarts, and removals that were begun."""
        await adoption.resume(self._engine, self)

    async def close(self) -> None:
        """Watch no more."""
        for task in tuple(self._restarting.values()):
            task.cancel()
        self.exits.close()
        if self._spawner:
            self._spawner.close()

    def leave(self) -> None:
        """Last of all: take the engine's own mounts away, unless somebody runs on them."""
        if (
            self._spawner
            and self.tools.runtime.programs.hides_unified
            and not any(each.is_running for each in self.all())
        ):
            spawn.unshare(self._engine.layout.run)
            spawn.unshare(self._engine.layout.root)

    @property
    def tools(self) -> Tools:
        """Raises Internal where nothing can be run."""
        if self._tools is None:
            raise Internal(self.unavailable or "the engine is not open yet")
        return self._tools

    # Finding

    def get(self, wanted: str) -> Container:
        """By id, name or the beginning of an id. Raises NotFound, InvalidArgument."""
        return self.roster.get(wanted)

    def find(self, container_id: str) -> Container | None:
        """By the whole id."""
        return self.roster.find(container_id)

    def all(self) -> list[Container]:
        return self.roster.all()

    def lock(self, container: Container) -> asyncio.Lock:
        """Who changes a container holds it."""
        return self.roster.lock(container)

    @asynccontextmanager
    async def holding(self, container: Container) -> AsyncIterator[None]:
        """Inside, a container that does not run is not started, and none is removed. Raises Conflict."""
        async with self.lock(container):
            _check_there(container)
            yield

    async def save(self, container: Container) -> None:
        """Write it down."""
        if self.find(container.id) is container:
            await self.roster.save(container)

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of a container: its labels, name and image are among the attributes, as Docker's."""
        given = {**container.labels, "image": container.image, "name": container.name, **attributes}
        self._engine.events.publish_event(Event("container", action, container.id, given))

    # For those who read its output or run commands in it

    def conmon_paths(self, container: Container) -> Paths:
        return running.conmon_paths(self._engine, container)

    async def process_for(
        self,
        container: Container,
        command: Sequence[str],
        *,
        env: Sequence[str] = (),
        user: str = "",
        workdir: str = "",
        privileged: bool = False,
        tty: bool = False,
    ) -> dict[str, Any]:
        """The OCI process of an exec. Raises InvalidArgument."""
        ulimits = {name: (pair[0], pair[1]) for name, pair in self._engine.config.default_ulimits.items()}
        return await asyncio.to_thread(  # it reads the image's files
            spec.exec_process,
            container,
            self.roots.merged(container),
            command,
            linked=links.environment(container, self.get, at_start=False),
            env=env,
            wanted=user,
            folder=workdir,
            privileged=privileged,
            tty=tty,
            defaults=ulimits,
        )

    # Verbs

    async def create(
        self, name: str, body: Mapping[str, Any], platform: Platform | None = None, *, is_step: bool = False
    ) -> tuple[Container, list[str]]:
        """A new container, and warnings; with `is_step` one that goes when this engine dies.

        Raises InvalidArgument, NotFound, Conflict.
        """
        return await create.create(self._engine, self, name, body, platform, is_step=is_step)

    async def start(self, container: Container, hidden: Hidden | None = None) -> None:
        """Raises NotModified when it runs, Conflict, StartFailed."""
        async with self.lock(container):
            _check_there(container)
            if container.state.status is Status.PAUSED:
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.is_running:
                raise NotModified("container is already running")
            self._cancel_restart(container)
            container.restart_count = 0
            self._pauses.pop(container.id, None)
            if container.state.status is Status.RESTARTING:
                container.state.status = Status.EXITED
            try:
                await self.begin(container, hidden)
            except BaseException:
                self.waiting.told(container, is_exit=True)  # who has waited since it was RESTARTING
                raise

    async def stop(self, container: Container, timeout: int | None = None, signal_name: str = "") -> None:
        """`timeout`: seconds until SIGKILL, -1 for never. Raises NotModified when it does not run."""
        if not container.is_running and container.state.status is not Status.RESTARTING:
            raise NotModified("container is already stopped")
        await self._halt(container, timeout, signal_name)

    async def _halt(self, container: Container, timeout: int | None, signal_name: str, *, removes: bool = True) -> None:
        """Until it neither runs nor waits for its next run: it may die, or begin again, at the very moment."""
        while container.is_running or container.state.status is Status.RESTARTING:
            if container.state.status is Status.RESTARTING:
                await self._give_up_restart(container)
            else:
                await stopping.stop(self, container, timeout, signal_name, removes=removes)
                self.tell(container, "stop")

    async def restart(self, container: Container, timeout: int | None = None, signal_name: str = "") -> None:
        """Stop, if it runs, and start. Raises StartFailed, Conflict."""
        _check_there(container)
        await self._halt(container, timeout, signal_name, removes=False)
        with suppress(NotModified):
            await self.start(container)
        self.tell(container, "restart")

    async def kill(self, container: Container, signal_name: str = "") -> None:
        """Send a signal, SIGKILL by default. Raises Conflict when it does not run, InvalidArgument."""
        number = processes.signal_number(signal_name) if signal_name else int(signal.SIGKILL)
        if container.state.status is Status.RESTARTING and number in (signal.SIGKILL, stopping.signal_of(container)):
            await self._give_up_restart(container)
            return
        if not container.is_running:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        if number in (signal.SIGKILL, stopping.signal_of(container)):
            container.state.stopped_by_hand = True
            await self.save(container)
        await stopping.send(self, container, number)
        self.tell(container, "kill", signal=str(number))
        if number == signal.SIGKILL:
            with suppress(TimeoutError):
                async with asyncio.timeout(stopping.KILL_TIMEOUT):
                    await self.waiting.stopped(container)

    async def pause(self, container: Container, *, for_commit: bool = False) -> None:
        """With `for_commit` the next engine takes it back. Raises Conflict unless it runs."""
        async with self.lock(container):
            if container.state.status is Status.PAUSED:
                raise Conflict(f"container {container.id} is already paused")
            if container.state.status is not Status.RUNNING:
                raise Conflict(f"container {container.id} is not running")
            container.state.paused_for_commit = for_commit
            if for_commit:
                await self.save(container)
            with _conflict_if_dead(container):
                await self.tools.runtime.pause(container.id)
            container.state.status = Status.PAUSED
            self._rests(container)
            await self.save(container)
            self.tell(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Raises Conflict unless it is paused."""
        state = container.state
        async with self.lock(container):
            if state.status is not Status.PAUSED:
                raise Conflict(f"container {container.id} is not paused")
            with _conflict_if_dead(container):
                await self.tools.runtime.resume(container.id)
            state.status, state.paused_for_commit = Status.RUNNING, False
            await self.save(container)
            self.tell(container, "unpause")

    async def rename(self, container: Container, name: str) -> None:
        """Raises InvalidArgument, Conflict."""
        await changes.rename(self._engine, self, container, name)

    async def update(self, container: Container, body: Mapping[str, Any]) -> list[str]:
        """Change limits and the restart policy; warnings. Raises InvalidArgument, Conflict."""
        return await changes.update(self._engine, self, container, body)

    async def remove(self, container: Container, *, force: bool = False, volumes: bool = False) -> None:
        """Raises Conflict when it runs, or is being removed already."""
        await changes.remove(self._engine, self, container, force=force, volumes=volumes)

    async def wait(self, container: Container, condition: str = "not-running") -> int:
        """The exit code, once the condition holds: not-running, next-exit or removed."""
        return await self.waiting.until(container, condition or "not-running")

    # Runs

    async def begin(self, container: Container, hidden: Hidden | None = None) -> None:
        """Start its process. The caller holds the lock. Raises StartFailed and others; the failure is saved.

        One that was RESTARTING still is then: whether it is tried again is the caller's to say.
        """
        state = container.state
        try:
            self.exits.forget(container.id)
            started = await running.begin(self._engine, self.tools, self.roots, container, hidden)
        except Exception as exc:
            state.exit_code = exc.exit_code if isinstance(exc, StartFailed) else 128
            state.error = exc.message if isinstance(exc, EngineError) else str(exc)
            if state.status is not Status.CREATED:
                state.finished_at = time.time_ns()
                if state.status is not Status.RESTARTING:
                    state.status = Status.EXITED
            await self.save(container)
            if container.host_config.get("AutoRemove"):
                self._engine.spawn(self.auto_remove(container), f"removal of {container.id[:12]}")
            raise
        state.status, state.pid, state.pid_started = Status.RUNNING, started.pid, started.pid_started
        state.conmon_pid, state.conmon_started = started.conmon_pid, processes.start_time(started.conmon_pid)
        state.started_at = time.time_ns()
        state.exit_code, state.error, state.oom_killed, state.stopped_by_hand = 0, "", False, False
        self.watch(container)  # first: its end is noticed though it could not be saved
        for each in self.on_start:
            each(container)
        await self.save(container)
        self.tell(container, "start")

    def watch(self, container: Container) -> None:
        """Follow a running container to its end."""
        run = container.state.started_at
        self.exits.tell(container.id, lambda code: self._died(container, run, code))
        self._engine.spawn(self._guard(container, run), f"conmon of {container.id[:12]}")

    async def _guard(self, container: Container, run: int) -> None:
        """conmon's end without an exit code: somebody killed it, and nobody holds the process any more."""
        await spawn.gone(container.state.conmon_pid)
        if container.state.started_at != run or not container.is_running:
            return
        code = self.exits.read(container.id)
        if code is None:
            await stopping.kill_now(self, container)
            container.state.error = "its monitor (conmon) ended without noting an exit code"
        self.exits.forget(container.id)
        self._died(container, run, LOST if code is None else code)

    def _rests(self, container: Container) -> None:
        for each in self.on_rest:
            each(container)

    def _died(self, container: Container, run: int, code: int) -> None:
        self._engine.spawn(self.died(container, run, code), f"death of {container.id[:12]}")

    async def died(self, container: Container, run: int, code: int, at: int = 0) -> None:
        """Its process has ended with `code`: note it, tell it, take down what the run had, and what its policy says."""
        async with self.lock(container):
            state = container.state
            if not container.is_running or state.started_at != run:
                return
            ran = ((at or time.time_ns()) - state.started_at) / 1e9
            state.oom_killed = await asyncio.to_thread(running.oom_kills, container) > 0
            state.status, state.pid, state.pid_started = Status.EXITED, 0, 0
            state.conmon_pid = state.conmon_started = 0
            state.paused_for_commit = False
            state.exit_code, state.finished_at = code, at or time.time_ns()
            again = restarts.wants_restart(container)
            if again:
                container.restart_count += 1
                state.status = Status.RESTARTING
            self._rests(container)
            await self.save(container)
            if state.oom_killed:
                self.tell(container, "oom")
            self.tell(container, "die", exitCode=str(code), execDuration=str(int(ran)))
            if not again:
                self.waiting.told(container)
            await running.end(self._engine, self.tools, self.roots, container)
            self.exits.forget(container.id)
            await self.save(container)
        self.waiting.told(container, is_exit=True)
        if again:
            self.restart_later(container, ran)
        elif container.host_config.get("AutoRemove"):
            await self.auto_remove(container)

    def restart_later(self, container: Container, ran: float) -> None:
        """Start it again after the pause its policy says."""
        pause = restarts.pause(self._pauses.get(container.id, 0.0), ran)
        self._pauses[container.id] = pause
        self._restarting[container.id] = self._engine.spawn(
            self._restart(container, pause), f"restart of {container.id[:12]}"
        )

    async def _restart(self, container: Container, pause: float) -> None:
        await asyncio.sleep(pause)
        async with self.lock(container):
            if container.state.status is not Status.RESTARTING:
                return
            self._restarting.pop(container.id, None)
            try:
                await self.begin(container)
                return
            except EngineError as exc:
                log.warning("container %s cannot be restarted: %s", container.id[:12], exc.message)
            except Exception:
                log.exception("container %s cannot be restarted", container.id[:12])
            if container.is_running:
                return  # only what came after its start has failed
            again = restarts.wants_restart(container)
            if again:
                container.restart_count += 1
                self.restart_later(container, 0.0)  # before it is saved, which may fail as well
            else:
                container.state.status = Status.EXITED
            try:
                await self.save(container)
            finally:
                if not again:
                    self.waiting.told(container, is_exit=True)

    def _cancel_restart(self, container: Container) -> None:
        if task := self._restarting.pop(container.id, None):
            task.cancel()

    async def _give_up_restart(self, container: Container) -> None:
        """Stopped between two attempts."""
        self._cancel_restart(container)
        async with self.lock(container):
            if container.state.status is Status.RESTARTING:
                container.state.status, container.state.stopped_by_hand = Status.EXITED, True
                await self.save(container)
        self.waiting.told(container, is_exit=True)
        self.tell(container, "stop")

    async def auto_remove(self, container: Container) -> None:
        """What --rm asks for, once it has ended."""
        with suppress(EngineError):
            await self.remove(container, force=True, volumes=True)


@contextmanager
def _conflict_if_dead(container: Container) -> Iterator[None]:
    """What the runtime says of a process that has just ended. Raises Conflict for it."""
    try:
        yield
    except Internal as exc:
        if running.is_alive(container):
            raise
        raise Conflict(f"container {container.id} is not running") from exc


def _check_there(container: Container) -> None:
    if container.state.status in (Status.REMOVING, Status.DEAD):
        raise Conflict(f"container {container.id} is marked for removal and cannot be used")
