"""POST /build from the tar to the image: read the Dockerfile, build the stages its target needs, name the outcome.

Every step is an image of its own (a step, which no list shows): what was built is found again by the next build, and a
build that fails, is cancelled or dies with the engine leaves nothing that looks like its outcome.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import InvalidArgument, NotFound
from gantry_agent.engine.images.announce import announce
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.images.pull import first_error
from gantry_agent.engine.store import Image, files

from . import contexts
from .cache import Cache
from .dockerfile import Dockerfile, Instruction, Place, Plan, global_args, parse, plan, platform_args
from .dockerfile import instructions as the
from .dockerfile.stages import Names
from .filling import workspace
from .options import BuildOptions
from .output import Floor
from .pruning import keep_small
from .stage import StageBuild
from .work import Work


async def build(engine: Engine, body: AsyncIterator[bytes], options: BuildOptions, progress: Progress) -> Image:
    """Build and name an image, telling of it as Docker's classic builder does.

    What is wrong with the request or the Dockerfile is raised before a word was said. Raises EngineError.
    """
    async with _workspace(engine, options, progress, body) as work:
        context = work.context
        text = await contexts.dockerfile_of(context, context.dockerfile)
        dockerfile = await asyncio.to_thread(parse, text, context.dockerfile)
        scope = _scope(dockerfile, work)
        chosen = plan(dockerfile, scope, options.target)
        for remark in dockerfile.remarks:
            progress.text(f"[Warning] {context.dockerfile}:{remark.line}: {remark.text}\n")
        _warn_of_secrets(dockerfile, progress)
        async with engine.store.lease():
            image = await _stages(work, dockerfile, chosen, scope)
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
        context = await contexts.receive(engine, body, folder / "context", options)
        sources = [image for name in options.cache_from if (image := _known(engine, name))]
        cache = Cache(engine.store, engine.database, options.tenant, sources)
        try:
            yield Work(engine, options, context, cache, progress, folder, secrets)
        finally:
            if secrets.exists():
                files.remove_tree(secrets)


async def _stages(work: Work, dockerfile: Dockerfile, chosen: Plan, scope: dict[str, str]) -> Image:
    """Every stage of the plan, side by side where none waits for the other; the target's image."""
    options, loop = work.options, asyncio.get_running_loop()
    labels = _labels(options)
    floor = Floor(work.progress, is_quiet=options.is_quiet)
    names = Names(dockerfile.stages)
    counts = {index: 1 + len(dockerfile.stages[index].instructions) for index in chosen.order}
    total, first = sum(counts.values()) + len(labels), 1
    work.built = {index: loop.create_future() for index in chosen.order}

    async def one(stage: StageBuild, number: int, index: int) -> None:
        more = labels if index == chosen.target else ()
        for needed in chosen.waits[index]:
            await work.built[needed]
        await stage.build(number, total, more, dockerfile.escape)
        work.built[index].set_result(stage.image)

    try:
        async with asyncio.TaskGroup() as group:
            for index in chosen.order:
                stage = StageBuild(work, chosen.linked[index], names, scope, floor.output())
                group.create_task(one(stage, first, index))
                first += counts[index]
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed
    image = work.built[chosen.target].result()
    if image is None:
        raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
    return image


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
