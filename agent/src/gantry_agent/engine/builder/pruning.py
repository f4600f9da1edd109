"""The build cache's size: which steps go when it is to shrink."""

from collections.abc import Iterable

from gantry_agent.engine.core import Engine
from gantry_agent.engine.store import Image


def size(engine: Engine) -> int:
    """Bytes of layers that only steps keep."""
    return sum(_own_layers(engine, engine.store.images.steps()).values())


def _own_layers(engine: Engine, steps: Iterable[Image]) -> dict[str, int]:
    """Chain id → bytes of each layer of the steps that no image has."""
    kept = {chain for image in (*engine.store.images.all(), *engine.store.images.hidden()) for chain in image.chains}
    return {
        layer.chain: layer.size
        for step in steps
        for layer in engine.store.images.layers_of(step)
        if layer.chain not in kept
    }


async def prune(engine: Engine, *, before: int | None = None, keep: int = 0) -> tuple[list[str], int]:
    """Forget steps, the oldest first, until `keep` bytes are left; `before` (ns since the epoch) spares later ones.

    Their ids, and the bytes that were freed. A step that a running build stands on stays.
    """
    images = engine.store.images
    gone = []
    for step in sorted(images.steps(), key=lambda each: each.added_at):
        if before is not None and step.added_at >= before:
            continue
        if keep and size(engine) <= keep:
            break
        await images.hide(step)
        gone.append(str(step.id))
    freed = await engine.store.collect()
    return gone, freed.layer_bytes + freed.blob_bytes
