"""POST /build from the tar to the image: read the Dockerfile, build the stages its target needs, name the outcome.

Every step is an image of its own (a step, which no list shows): what was built is found again by the next build, and a
build that fails, is cancelled or dies with the engine leaves nothing that looks like its outcome.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import EngineError, Internal, InvalidArgument, NotFound
from gantry_agent.engine.images.announce import announce
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.store import Image, files

from . import contexts
from .cache import Cache
from .dockerfile import Dockerfile, Instruction, Place, global_args, parse, platform_args
from .dockerfile import instructions as the
from .filling import workspace
from .options import BuildOptions
from .pruning import give_up, keep_small, make_room
from .room import room_kept, short_of
from .staging import Staging
from .work import Work


async def build(engine: Engine, body: AsyncIterator[bytes], options: BuildOptions, progress: Progress) -> Image:
    """Build and name an image, telling of it as Docker's classic builder does.

    What is wrong with the request or the Dockerfile is raised before a word was said. Raises EngineError.
    """
    await make_room(engine)
    try:
        return await _build(engine, body, options, progress)
    except EngineError:
        if short_of(engine):
            engine.spawn(give_up(engine), "room for builds")
        raise


async def _build(engine: Engine, body: AsyncIterator[bytes], options: BuildOptions, progress: Progress) -> Image:
    async with _workspace(engine, options, progress, body) as work:
        context = work.context
        text = await contexts.dockerfile_of(context, context.dockerfile)
        dockerfile = await asyncio.to_thread(parse, text, context.dockerfile)
        scope = _scope(dockerfile, work)
        staging = Staging(work, dockerfile, scope, _labels(options))
        for remark in dockerfile.remarks:
            progress.text(f"[Warning] {context.dockerfile}:{remark.line}: {remark.text}\n")
        _warn_of_secrets(dockerfile, progress)
        async with engine.store.lease():
            image = await staging.build()
            if image is None:
                raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
            await _name(engine, image, options, progress)
            await work.cache.note_uses()
    engine.spawn(keep_small(engine), "build cache")
    return image


@asynccontextmanager
async def _workspace(
    engine: Engine, options: BuildOptions, progress: Progress, body: AsyncIterator[bytes]
) -> AsyncIterator[Work]:
    """The build's folder with its context in it, and one in memory for secrets; both deleted in the end."""
    async with workspace(engine, "build") as folder:
        secrets = engine.layout.secrets / folder.name
        try:
            async with room_kept(engine):
                context = await contexts.receive(engine, body, folder / "context", options)
        except Internal as error:
            error.message = f"receiving the build context: {error.message}"
            raise
        sources = [image for name in options.cache_from if (image := _known(engine, name))]
        cache = Cache(engine.store, engine.database, options.tenant, sources)
        try:
            yield Work(engine, options, context, cache, progress, folder, secrets)
        finally:
            if secrets.exists():
                files.remove_tree(secrets)


async def _name(engine: Engine, image: Image, options: BuildOptions, progress: Progress) -> None:
    """The image is one that lists show from now on, with the names it was asked for."""
    await engine.store.images.promote(image.id)
    progress.aux({"ID": str(image.id)})
    progress.text(f"{image.id}\n" if options.is_quiet else f"Successfully built {image.id.short}\n")
    for name in options.names:
        await engine.store.images.tag(image.id, name)
        announce(engine, "tag", image, name.familiar)
        if not options.is_quiet:
            progress.text(f"Successfully tagged {name.familiar}\n")


def _scope(dockerfile: Dockerfile, work: Work) -> dict[str, str]:
    """The variables that FROM lines see."""
    target = str(work.platform)
    here = str(type(work.platform).host())
    stage = work.options.target or dockerfile.stages[-1].name
    return global_args(dockerfile.args, work.given, platform_args(here, target, stage, work.given), dockerfile.escape)


def _labels(options: BuildOptions) -> list[Instruction]:
    """The request's labels as one more instruction."""
    if not options.labels:
        return []
    pairs = tuple(sorted(options.labels.items()))
    words = " ".join(f"{name}={value}" for name, value in pairs)
    return [the.Label(place=Place(), original=f"LABEL {words}", pairs=pairs)]


SECRET_WORDS = ("password", "passwd", "secret", "token", "apikey", "api_key", "private_key", "credential")


def _warn_of_secrets(dockerfile: Dockerfile, progress: Progress) -> None:
    """What an ARG or ENV says stands in the image's history, for everybody who can pull it."""
    instructions = (*dockerfile.args, *(each for stage in dockerfile.stages for each in stage.instructions))
    for each in instructions:
        if isinstance(each, the.Arg | the.Env):
            for name, _ in each.pairs:
                if any(word in name.lower() for word in SECRET_WORDS):
                    progress.text(
                        f"[Warning] {each.place.file}:{each.place.line}: {each.name} {name} looks like a secret, and"
                        " stays readable in the image's history: use RUN --mount=type=secret\n"
                    )


def _known(engine: Engine, name: str) -> Image | None:
    """An image named as a cache source, if it is here."""
    try:
        return engine.store.images.get(name)
    except NotFound:
        return None
