"""The OCI runtime's verbs. Each fails with what the runtime said."""

import json
import os
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import Internal

from .choice import Programs
from .spawn import Finished, Spawner


class OciRuntime:
    """crun or runc, with its state below `folder`."""

    def __init__(self, programs: Programs, folder: Path, spawner: Spawner) -> None:
        self.programs = programs
        self.folder = folder
        self._spawner = spawner

    async def start(self, container_id: str) -> None:
        """Let a created container's process begin. Raises Internal with the runtime's message."""
        self._check("start", await self._run("start", container_id))

    async def kill(self, container_id: str, number: int, *, everyone: bool = False) -> None:
        """Send a signal to the container's process, or to all of them. Raises Internal."""
        flags = ["--all"] if everyone else []
        self._check("kill", await self._run("kill", *flags, container_id, str(number)))

    async def delete(self, container_id: str) -> None:
        """Forget a container, killing what is left of it; one that is not known is fine. Raises Internal."""
        if (self.folder / container_id).exists():
            self._check("delete", await self._run("delete", "--force", container_id))

    async def pause(self, container_id: str) -> None:
        """Freeze. Raises Internal."""
        self._check("pause", await self._run("pause", container_id))

    async def resume(self, container_id: str) -> None:
        """Go on. Raises Internal."""
        self._check("resume", await self._run("resume", container_id))

    async def update(self, container_id: str, resources: dict[str, Any]) -> None:
        """Change the limits (LinuxResources of the OCI specification). Raises Internal."""
        descriptor = os.memfd_create("resources", 0)
        try:
            os.write(descriptor, json.dumps(resources).encode())
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
            self._check("update", await self._run("update", "--resources", path, container_id))
        finally:
            os.close(descriptor)

    async def _run(self, *arguments: str) -> Finished:
        return await self._spawner.run([self.programs.runtime, "--root", str(self.folder), *arguments])

    def _check(self, verb: str, finished: Finished) -> None:
        if finished.code:
            said = finished.errors.strip() or finished.output.strip() or f"exit code {finished.code}"
            raise Internal(f"OCI runtime {self.programs.name} {verb} failed: {said}")
