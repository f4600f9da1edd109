"""One stage of a Dockerfile, instruction by instruction."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gantry_agent.engine.errors import EngineError, Unsupported
from gantry_agent.engine.oci import Descriptor, Digest, Platform
from gantry_agent.engine.store import Image

from . import settings, transferring
from .cache import Key
from .dockerfile import (
    DockerfileError,
    Instruction,
    Linked,
    arg_values,
    expand,
    is_kept,
    parse_trigger,
    proxy_env,
)
from .dockerfile import instructions as the
from .dockerfile.stages import SCRATCH, Names
from .documents import NOTE, document, note
from .filling import make_folder
from .mounting import SCRIPTS, mounted, secret_env
from .output import Output
from .room import room_kept
from .running import Command, run
from .work import Work

Layer = tuple[Digest, Descriptor]
Foresee = Callable[[Linked, Sequence[Instruction]], Awaitable[None]]
"""Told of a stage's triggers before the first is carried out; returns when the stages they take from are built.

Raises DockerfileError.
"""


def triggers_of(config: settings.Config) -> tuple[Instruction, ...]:
    """The ONBUILD instructions of an image. Raises DockerfileError."""
    return tuple(parse_trigger(text) for text in config.get("OnBuild") or ())


class StageBuild:
    """A stage under way. `build` once; then `image` is what it made, None for nothing at all."""

    def __init__(
        self, work: Work, linked: Linked, names: Names, outer: dict[str, str], output: Output, foresee: Foresee
    ) -> None:
        self.work = work
        self.index = linked.stage.index
        self.output = output
        self.image: Image | None = None
        self.config: dict[str, Any] = {}
        self.args: dict[str, str] = {}
        """Build arguments in effect, by name."""
        self._linked = linked
        self._names = names
        self._outer = outer
        self._foresee = foresee
        self._author = ""
        self._has_command = False

    async def build(self, first: int, total: int, more: Iterable[Instruction], escape: str) -> None:
        """All of it. `first`, `total`: numbers of its steps; `more`: instructions beside those of the file.

        Raises DockerfileError, CommandFailed and what pulling raises.
        """
        try:
            self._title(first, total, self._linked.start)
            await self._begin()
            for number, each in enumerate((*self._linked.stage.instructions, *more), first + 1):
                self._title(number, total, each)
                await self._step(each, escape)
        finally:
            self.output.end()

    async def of(self, name: str) -> Image | None:
        """What `--mount=from=` names: a stage, or an image."""
        return await self._source(self._names.stage(name, self.index), name)

    async def copied(self, it: the.Copy) -> Image | None:
        """What `COPY --from=` names: a stage, by its index too, or an image."""
        return await self._source(self._names.copied(it, self.index).stage, it.from_)

    async def _source(self, stage: int | None, name: str) -> Image | None:
        if stage is not None:
            return await self.work.built[stage]
        return None if name == SCRATCH else await self.work.image(name)

    @property
    def env(self) -> dict[str, str]:
        """What variables in instructions stand for: the image's own win over arguments."""
        return {**self.args, **settings.environment_of(self.config)}

    @asynccontextmanager
    async def _placed(self, instruction: Instruction) -> AsyncIterator[None]:
        """Inside, the host is left room, and errors say where the instruction stands in the file."""
        try:
            async with room_kept(self.work.engine):
                yield
        except DockerfileError:
            raise
        except EngineError as error:
            place = instruction.place
            if place.line:
                error.message = f"{place.file}:{place.line}: {instruction.name}: {error.message}"
            raise

    # FROM

    async def _begin(self) -> None:
        base, start = self._linked.base, self._linked.start
        if base.stage is not None:
            self.image = await self.work.built[base.stage]
            self.args = dict(self.work.args[base.stage])
        elif base.image != SCRATCH:
            async with self._placed(start):
                platform = Platform.parse(start.platform) if start.platform else None
                self.image = await self.work.image(base.image, platform)
        self.config = dict(self.image.config.config) if self.image else {"WorkingDir": "/", "Env": [f"PATH={PATH}"]}
        if self.image:
            self.output.say(f" ---> {self.image.id.short}\n")
        else:
            self.output.say(" ---> \n")
        await self._triggers()

    async def _triggers(self) -> None:
        """The ONBUILD instructions of the base, as if they stood here."""
        triggers = triggers_of(self.config)
        self.config.pop("OnBuild", None)
        if triggers:
            count = len(triggers)
            self.output.say(f"# Executing {count} build trigger{'s' if count > 1 else ''}\n")
            await self._foresee(self._linked, triggers)
        for each in triggers:
            await self._step(each, "\\")

    # Steps

    async def _step(self, instruction: Instruction, escape: str) -> None:
        async with self._placed(instruction):
            if isinstance(instruction, the.Arg):
                await self._arg(instruction, escape)
                return
            expanded = expand(instruction, self.env, escape)
            if isinstance(expanded, the.Run):
                await self._run(expanded)
            elif isinstance(expanded, the.Transfer):
                await transferring.transfer(self, expanded)
            elif isinstance(expanded, the.Workdir):
                await self._workdir(expanded)
            else:
                await self._setting(expanded)

    async def _arg(self, instruction: the.Arg, escape: str) -> None:
        found = arg_values(instruction, self.env, self.work.given, self._outer, escape)
        defaults = arg_values(instruction, self.env, {}, {}, escape)
        for name, value in found:
            if value is not None:
                self.args[name] = value
        words = " ".join(name if default is None else f"{name}={default}" for name, default in defaults)
        await self.commit(self.key(note(settings.shell_of(self.config), f" ARG {words}")), self.config)

    async def _setting(self, instruction: Instruction) -> None:
        if isinstance(instruction, the.Maintainer):
            self._author = instruction.author
        config, words = settings.changed(self.config, instruction, keeps_command=self._has_command)
        self._has_command |= isinstance(instruction, the.Cmd)
        settings.check_env(config)
        exact = json.dumps(config, sort_keys=True)
        await self.commit(self.key(note(settings.shell_of(config), f" {words}"), exact=exact), config)

    async def _workdir(self, instruction: the.Workdir) -> None:
        path = settings.working_folder(self.config, instruction.path)
        config = {**self.config, "WorkingDir": path}
        key = self.key(note(settings.shell_of(self.config), f"WORKDIR {path}"))
        if not await self.cached(key, config):
            layer = await make_folder(self.work.engine, self.image, path, self.work.epoch)
            await self.commit(key, config, layer)

    async def _run(self, instruction: the.Run) -> None:
        if instruction.security != "sandbox":
            raise Unsupported("RUN --security=insecure is not supported by this engine")
        if script := instruction.script:
            words, shown = [f"{SCRIPTS}/{script.name}"], script.content
        elif instruction.command.shell:
            words = [*settings.shell_of(self.config), instruction.shell_text]
            shown = " ".join(words)
        else:
            words = list(instruction.command.arguments)
            shown = " ".join(words)
        kept = {name: value for name, value in self.args.items() if name not in settings.environment_of(self.config)}
        told = sorted(f"{name}={value}" for name, value in kept.items() if is_kept(name, self.args))
        created_by = " ".join([f"|{len(told)}", *told, shown]) if told else shown
        key = self.key(created_by, await self._unsaid(instruction), json.dumps([told, words]))
        if await self.cached(key, self.config):
            return
        env = [f"{name}={value}" for name, value in {**proxy_env(self.work.given), **kept}.items()]
        await self._execute(instruction, key, words, shown, env)

    async def _unsaid(self, instruction: the.Run) -> str:
        """What a RUN depends on and history does not say: its network, its mounts with what bind mounts show, and
        where the words of an exec form end."""
        more = f"{instruction.network} {' '.join(each.text for each in instruction.mounts)}".strip()
        if not instruction.command.shell:
            more += f" {json.dumps(instruction.command.arguments)}"
        for mount in instruction.mounts:
            if mount.type == "bind":
                more += " " + await transferring.mounted_fingerprint(self, mount)
        return "" if more == "default" else more

    async def _execute(self, instruction: the.Run, key: Key, words: list[str], shown: str, env: list[str]) -> None:
        options = self.work.options
        if self.image is None:
            raise Unsupported("RUN needs an image to run in: scratch holds nothing")
        # Nobody looks on while a step runs: one that forks for ever fails, and takes nothing with it.
        host = {"PidsLimit": self.work.engine.config.build_pids_limit, **options.limits}
        if instruction.network == "host" and host.get("NetworkMode") != "host":
            raise Unsupported("RUN --network=host is allowed only in a build that was asked for with networkmode=host")
        if instruction.network == "none":
            host["NetworkMode"] = "none"
        async with mounted(self.work, instruction, self.of, str(self.config.get("WorkingDir") or "/")) as mounts:
            if mounts:
                host["Mounts"] = mounts
            layer = await run(
                self.work.engine,
                self.image,
                Command(
                    words,
                    shown,
                    env,
                    host,
                    stubs=[each["Target"] for each in mounts],
                    latest=self.work.epoch,
                    hidden=secret_env(self.work, instruction),
                ),
                self.output,
                keeps_container=options.keeps_containers,
            )
        await self.commit(key, self.config, layer)

    # From step to step

    def key(self, created_by: str, more: str = "", exact: str = "") -> Key:
        """Of a step on the image so far. `more`, `exact`: see Key."""
        epoch = "" if self.work.epoch is None else f" @{self.work.epoch}"
        if self.image:
            return Key(str(self.image.id), created_by, more, exact + epoch)
        return Key("", created_by, more, f"{self.work.platform} {exact}{epoch}")

    async def cached(self, key: Key, config: dict[str, Any]) -> bool:
        """Take the image after a step from the cache; whether it was there."""
        if not self.work.options.uses_cache:
            return False
        found = self.work.cache.get(key)
        if found is None and (source := self.work.cache.from_source(self.image, key)):
            await self.commit(key, config, self._layer_of(*source), note_it=False)
            found = self.image
        if found is None:
            return False
        self.image, self.config = found, dict(found.config.config)
        self.output.say(f" ---> Using cache\n ---> {found.id.short}\n")
        return True

    async def commit(
        self, key: Key, config: dict[str, Any], layer: Layer | None = None, *, note_it: bool = True
    ) -> None:
        """The image after a step. What only changes settings is looked for in the cache here."""
        if layer is None and note_it and NOTE in key.created_by and await self.cached(key, config):
            return
        engine, before = self.work.engine, self.image
        content = document(
            before,
            config,
            key.created_by,
            layer[0] if layer else None,
            platform=before.config.platform if before else self.work.platform,
            author=self._author or (str(before.config.data.get("author") or "") if before else ""),
            epoch=self.work.epoch,
        )
        layers = [*(engine.store.images.descriptors(before.id) if before else ()), *([layer[1]] if layer else ())]
        parent = str(before.id) if before else ""
        image_id = await engine.store.images.add(content, layers, parent=parent, is_step=True)
        await self.work.cache.put(key, image_id)
        self.image, self.config = engine.store.images.by_id(image_id), dict(config)
        if note_it:
            self.output.say(f" ---> {image_id.short}\n")

    def _layer_of(self, source: Image, entry: int) -> Layer | None:
        """The layer that an entry of an image's history made."""
        history = source.config.history
        if history[entry].get("empty_layer"):
            return None
        number = sum(not each.get("empty_layer") for each in history[:entry])
        return source.config.diff_ids[number], self.work.engine.store.images.descriptors(source.id)[number]

    def _title(self, number: int, total: int, instruction: Instruction) -> None:
        self.output.say(f"Step {number}/{total} : {instruction.original}\n")


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
