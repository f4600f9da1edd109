"""The stages of one build: each begun once, side by side where none waits for the other.

Which are needed is known better with every base image: its triggers (ONBUILD) may take from a stage that nobody else
needs. Of images that are here this is known before the first step; of one that is pulled, once it has come.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.images.pull import first_error
from gantry_agent.engine.oci import Platform
from gantry_agent.engine.store import Image

from .bases import image_here
from .dockerfile import Dockerfile, Instruction, Linked, Plan, plan
from .dockerfile.stages import SCRATCH, Names
from .output import Floor
from .stage import StageBuild, triggers_of
from .work import Work


class Staging:
    """`build` once. `more`: instructions of the target beside those of the file."""

    def __init__(
        self, work: Work, dockerfile: Dockerfile, scope: Mapping[str, str], more: Sequence[Instruction]
    ) -> None:
        """Raises DockerfileError."""
        self._work = work
        self._dockerfile = dockerfile
        self._scope = dict(scope)
        self._more = more
        self._names = Names(dockerfile.stages)
        self._floor = Floor(work.progress, is_quiet=work.options.is_quiet)
        self._group = asyncio.TaskGroup()
        self._triggers: dict[int, Sequence[Instruction]] = {}
        """Of the bases that are known, by the stages that stand on them."""
        self._steps = 0
        self._plan = self._planned()

    async def build(self) -> Image | None:
        """The target's image, None when it holds nothing. Raises what building a stage raises."""
        try:
            async with self._group:
                self._begin()
        except BaseExceptionGroup as failed:
            raise first_error(failed) from failed
        return self._work.built[self._plan.target].result()

    def _begin(self) -> None:
        """The stages of the plan that have not begun."""
        built, chosen = self._work.built, self._plan
        for index in chosen.order:
            if index in built:
                continue
            built[index] = asyncio.get_running_loop().create_future()
            stage = StageBuild(
                self._work, chosen.linked[index], self._names, self._scope, self._floor.output(index), self._foresee
            )
            more = self._more if index == chosen.target else ()
            self._group.create_task(self._one(stage, chosen.waits[index], self._steps + 1, more))
            self._steps += 1 + len(self._dockerfile.stages[index].instructions) + len(more)

    async def _one(self, stage: StageBuild, waits: Iterable[int], first: int, more: Sequence[Instruction]) -> None:
        await self._others(waits)
        await stage.build(first, self._steps, more, self._dockerfile.escape)
        self._work.args[stage.index] = stage.args
        self._work.built[stage.index].set_result(stage.image)

    async def _others(self, needed: Iterable[int]) -> None:
        """Wait for them. A stage needs only those above it, so that none waits for itself."""
        for index in needed:
            await self._work.built[index]

    async def _foresee(self, linked: Linked, triggers: Sequence[Instruction]) -> None:
        """See `stage.Foresee`. Stages that they turn out to need begin now."""
        index = linked.stage.index
        if linked.base.stage is None and triggers != self._triggers.get(index):
            self._triggers[index] = triggers
            self._plan = self._planned()
            self._begin()
            await self._others(self._plan.waits[index])

    def _planned(self) -> Plan:
        return plan(self._dockerfile, self._scope, self._work.options.target, self._known)

    def _known(self, linked: Linked) -> Sequence[Instruction]:
        """The triggers of a stage's base image, if it is here and not to be pulled."""
        index = linked.stage.index
        if index not in self._triggers and (image := self._base(linked)):
            self._triggers[index] = triggers_of(image.config.config)
        return self._triggers.get(index, ())

    def _base(self, linked: Linked) -> Image | None:
        options, platform = self._work.options, linked.start.platform
        if options.pulls or linked.base.image == SCRATCH:
            return None
        try:
            wanted = Platform.parse(platform) if platform else options.platform
            return image_here(self._work.engine, linked.base.image, wanted)
        except EngineError:
            return None  # told with its place once the stage begins
