"""Everything that follows running containers, as one part of the engine: logs, execs, health checks, their ends."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import logs, running
from .exec import Exec, Execs
from .health import Health
from .life import Lives
from .model import Container
from .streams import reopen_log
from .watching import Watcher

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine


class Following:
    """`open` once the containers have been taken back; `close` leaves them, their execs and their logs as they are."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._tasks: list[asyncio.Task[Any]] = []
        containers = engine.containers
        self.watcher = Watcher()
        self.lives = Lives(engine.events, containers.find)
        self.execs = Execs(
            engine.layout.run / "execs",
            engine.events,
            lambda: containers.tools.conmon,
            containers.find,
            self._process,
            engine.courtesy.hurry,
        )
        self.health = Health(engine.events, containers.find, containers.save, self.execs.capture, running.is_alive)
        containers.on_start.append(self.health.begin)
        containers.on_rest.append(self.health.rest)

    async def open(self) -> None:
        """Take back execs and health checks, and begin to follow."""
        for container in self._engine.containers.all():
            container.exec_ids = []
        self.execs.open()
        # Their listeners are there before the first event of this engine.
        for work, name in (
            (self.lives.run(), "lives"),
            (self.health.run(), "health checks"),
            (self.execs.run(), "old execs"),
            (logs.keep_small(self._logs), "log sizes"),
        ):
            self._tasks.append(self._engine.spawn(work, name))
        await asyncio.sleep(0)
        self.health.resume(self._engine.containers.all())

    async def close(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.health.close()
        await self.execs.close()
        self.watcher.close()

    def log(self, container: Container) -> Path:
        """Where conmon writes its log now."""
        return self._engine.layout.container(container.id) / "ctr.log"

    def _logs(self) -> Iterator[logs.Kept]:
        """The logs that grow."""
        config = self._engine.config
        for container in self._engine.containers.all():
            if container.is_running:
                size, files = logs.limits(container.host_config, config.log_max_size, config.log_max_file)
                bundle = self._engine.containers.conmon_paths(container).bundle
                yield logs.Kept(self.log(container), size, files, partial(reopen_log, bundle))

    async def _process(self, container: Container, exec_: Exec) -> dict[str, Any]:
        return await self._engine.containers.process_for(
            container,
            exec_.command,
            env=exec_.env,
            user=exec_.user,
            workdir=exec_.workdir,
            privileged=exec_.privileged,
            tty=exec_.tty,
        )
