"""RUN: a container of the image so far runs the command, and what it wrote becomes a layer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from gantry_agent.engine.containers import logs
from gantry_agent.engine.containers.files import lowers_of, upper_of
from gantry_agent.engine.containers.log_files import HOLD_LIMIT, TooFarBehind
from gantry_agent.engine.containers.log_records import Wanted
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.containers.running import Hidden
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, Internal, NotModified
from gantry_agent.engine.images.adopting import adopt
from gantry_agent.engine.oci import Descriptor, Digest
from gantry_agent.engine.store import Image

from .output import Output
from .room import short_of

LABEL = "io.gantry.build"


class CommandFailed(EngineError):
    """The command of a RUN ended with another code than 0."""

    status = 500

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Command:
    """What a RUN runs, and where."""

    words: Sequence[str]
    shown: str
    """As an error names it."""
    env: Sequence[str] = ()
    """Build arguments, beside the image's own variables."""
    host: Mapping[str, Any] = field(default_factory=dict)
    """Fields of HostConfig."""
    stubs: Sequence[str] = ()
    """Where something was mounted: places made for that are no change of the image."""
    latest: int | None = None
    """The newest time a file may have, in seconds."""
    hidden: Hidden | None = None
    """Secrets as variables."""


async def run(
    engine: Engine, image: Image, command: Command, output: Output, *, keeps_container: bool
) -> tuple[Digest, Descriptor] | None:
    """Run the command on `image`; the new layer's diff id and blob, None when nothing was changed.

    `keeps_container`: leave it, stopped, for somebody to look at. A cancelled step leaves none.

    Raises CommandFailed, and what creating and starting a container raise.
    """
    async with _container(engine, image, command, keeps=keeps_container) as container:
        output.say(f" ---> Running in {container.id[:12]}\n")
        code = await _to_its_end(engine, container, output, command.hidden)
        if code:
            # It may have met the end of the disk itself, and then its words about it have no room either.
            full = short_of(engine)
            more = f"; the host's disk is nearly full: {full}" if full else ""
            raise CommandFailed(f"The command '{command.shown}' returned a non-zero code: {code}{more}", code)
        links = engine.store.images.stack(image.id)
        lowers = lowers_of(engine.layout, container, links)
        parent = image.chains[-1] if image.chains else None
        upper = upper_of(engine.layout, container)
        made = await adopt(engine, upper, lowers, parent, stubs=command.stubs, latest=command.latest)
        if not keeps_container:
            output.say(f"Removing intermediate container {container.id[:12]}\n")
    return made


@asynccontextmanager
async def _container(engine: Engine, image: Image, command: Command, *, keeps: bool) -> AsyncIterator[Container]:
    """The step's container, in the end removed, or stopped if `keeps` and nobody cancels."""
    body = {
        "Image": str(image.id),
        "Cmd": list(command.words),
        "Entrypoint": [""],
        "Env": list(command.env),
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL: "step"},
        "HostConfig": dict(command.host),
    }
    container, _ = await engine.containers.create("", body, is_step=not keeps)
    try:
        try:
            yield container
        finally:
            if keeps and container.is_running:  # what it printed could not be passed on
                with suppress(NotModified):
                    await engine.containers.stop(container, 0)
    except asyncio.CancelledError:
        keeps = False
        raise
    finally:
        if not keeps:
            removing = asyncio.ensure_future(engine.containers.remove(container, force=True, volumes=True))
            try:
                await asyncio.shield(removing)
            except asyncio.CancelledError:
                await asyncio.wait([removing])
                raise


async def _to_its_end(engine: Engine, container: Container, output: Output, hidden: Hidden | None) -> int:
    """Start it, pass on what it prints, wait; its exit code."""
    log = engine.following.log(container)
    log.touch(mode=0o600)
    wanted = Wanted(joins=False)
    place = await logs.place(log, wanted)
    with engine.following.lives.of(container, waits=True) as life:
        await engine.containers.start(container, hidden)
        pieces = logs.read(place, wanted, life=life, watcher=engine.following.watcher)
        try:
            async with aclosing(pieces):
                async for data in pieces:
                    await output.frames(data)
        except TooFarBehind as exc:
            raise Internal(
                f"the command prints faster than it can be passed on: more than {HOLD_LIMIT >> 20} MiB were waiting."
                " Let it print less, or into a file"
            ) from exc
    return await engine.containers.wait(container)
