"""Removing every image that nobody needs."""

from typing import Any

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Conflict, NotFound
from gantry_agent.engine.store import Image

from .filters import ImageFilter
from .removal import Removal


async def prune_images(engine: Engine, chosen: ImageFilter) -> dict[str, Any]:
    """Remove the images without a tag, or with `dangling=false` all that no container uses.

    {"ImagesDeleted": [{"Untagged" | "Deleted": …}] or None, "SpaceReclaimed": bytes}
    """
    only_dangling = chosen.dangling is not False
    removal = Removal(engine)
    for image in engine.store.images.all():
        if _is_wanted(engine, image, chosen, only_dangling):
            for name in [each.familiar for each in image.references] or [image.id]:
                try:
                    await removal.remove(name, force=False, prune_parents=True)
                except (Conflict, NotFound):
                    continue  # in use since we looked, or gone with the one before
    reclaimed = removal.freed.layer_bytes + removal.freed.blob_bytes
    engine.events.publish("image", "prune", "", reclaimed=str(reclaimed))
    return {"ImagesDeleted": removal.records or None, "SpaceReclaimed": reclaimed}


def _is_wanted(engine: Engine, image: Image, chosen: ImageFilter, only_dangling: bool) -> bool:
    if not chosen.accepts(image) or (only_dangling and image.tags):
        return False
    if not image.references and engine.store.images.children(image.id):
        return False  # it goes with the last image made of it
    return not (engine.store.used_by and engine.store.used_by(image.id))
