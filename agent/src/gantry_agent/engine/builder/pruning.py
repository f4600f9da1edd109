"""The build cache: what it holds, and which of its steps go when it is to shrink."""

import asyncio
from collections.abc import Iterable
from typing import Any

from gantry_agent.engine.core import Engine
from gantry_agent.engine.images.moments import rfc3339
from gantry_agent.engine.store import Image, files

from .cache import uses
from .room import short_of

CLEARED_SECONDS, CLEARED_LOOKS = 5.0, 20


def usage(engine: Engine) -> list[dict[str, Any]]:
    """Docker's BuildCache records, one for each step; Size is what goes with it alone."""
    steps, when = engine.store.images.steps(), uses(engine.database)
    parents = {step.parent for step in steps}
    own = _own_layers(engine, steps)
    seen: dict[str, int] = {}
    for step in steps:
        for chain in step.chains:
            seen[chain] = seen.get(chain, 0) + 1
    return [
        {
            "ID": step.id,
            "Parents": [step.parent] if step.parent else None,
            "Type": "regular",
            "Description": str(step.config.history[-1].get("created_by", "")) if step.config.history else "",
            "InUse": False,
            "Shared": step.id in parents,
            "Size": sum(own[chain] for chain in step.chains if chain in own and seen[chain] == 1),
            "CreatedAt": rfc3339(step.added_at),
            "LastUsedAt": rfc3339(when.get(step.id, step.added_at)),
            "UsageCount": 1,
        }
        for step in steps
    ]


def size(engine: Engine) -> int:
    """Bytes of layers that only steps keep."""
    return sum(_own_layers(engine, engine.store.images.steps()).values())


def _own_layers(engine: Engine, steps: Iterable[Image]) -> dict[str, int]:
    """Chain id → bytes of each layer of the steps that no image, and no container of an untagged one, has."""
    held = [image for image in engine.store.images.hidden() if engine.containers.roster.by_image(image.id)]
    kept = {chain for image in (*engine.store.images.all(), *held) for chain in image.chains}
    return {
        layer.chain: layer.size
        for step in steps
        for layer in engine.store.images.layers_of(step)
        if layer.chain not in kept
    }


async def prune(
    engine: Engine, *, before: int | None = None, keep: int = 0, with_caches: bool = False
) -> tuple[list[str], int]:
    """Forget steps, those not used for longest first, until `keep` bytes are left; their ids, and the bytes freed.

    `before`: ns since the epoch, spares what was used later. `with_caches`: what RUN --mount=type=cache keeps goes too.
    """
    images, when = engine.store.images, uses(engine.database)
    gone = []
    for step in sorted(images.steps(), key=lambda each: when.get(each.id, each.added_at)):
        if before is not None and when.get(step.id, step.added_at) >= before:
            break
        if keep and size(engine) <= keep:
            break
        await images.hide(step)
        gone.append(str(step.id))
    freed = await engine.store.collect()
    if with_caches:
        for folder in engine.caches.unused():  # moved before anybody else has a turn, and begins to use it
            away = files.temporary(engine.layout.tmp, "cache")
            folder.rename(away)
            engine.store.discard(away)
    return gone, freed.layer_bytes + freed.blob_bytes


async def make_room(engine: Engine) -> None:
    """Before a build: what earlier ones kept goes where the disk is short."""
    if short_of(engine):
        await prune(engine, with_caches=True)
        await _cleared(engine)


async def give_up(engine: Engine) -> None:
    """After a build that failed: the same where the disk stays short once what it made is cleared away."""
    if not await _cleared(engine):
        await prune(engine, with_caches=True)


async def _cleared(engine: Engine) -> bool:
    """Whether there is room, now or within CLEARED_SECONDS: deletions go on in the background."""
    for _ in range(CLEARED_LOOKS):
        if not short_of(engine):
            return True
        await asyncio.sleep(CLEARED_SECONDS / CLEARED_LOOKS)
    return False


async def keep_small(engine: Engine) -> None:
    """After a build: the cache within its configured size."""
    if size(engine) > engine.config.build_cache_size:
        await prune(engine, keep=engine.config.build_cache_size)
