"""Images a build stands on or copies from: here already, or pulled."""

from collections.abc import Mapping

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import NotFound
from gantry_agent.engine.images.progress import Progress
from gantry_agent.engine.images.pull import pull
from gantry_agent.engine.oci import Platform, Reference
from gantry_agent.engine.registry import ANONYMOUS, Credentials
from gantry_agent.engine.registry.endpoints import HUB, HUB_HOSTS
from gantry_agent.engine.store import Image


def image_here(engine: Engine, name: str, platform: Platform | None) -> Image | None:
    """The image `name`, None when it is not here or is for another platform. Raises InvalidArgument, Conflict."""
    try:
        image = engine.store.images.get(name)
    except NotFound:
        return None
    return image if platform is None or image.config.platform.serves(platform) is not None else None


async def image_of(
    engine: Engine,
    name: str,
    platform: Platform | None,
    credentials: Mapping[str, Credentials],
    progress: Progress,
    *,
    pulls: bool,
) -> Image:
    """The image `name`, pulled when it is not here, is for another platform, or `pulls`. Raises what pulling raises."""
    if not pulls and (image := image_here(engine, name, platform)):
        return image
    reference = Reference.parse(name)
    await pull(engine, reference, platform, credentials_for(credentials, reference.registry), progress)
    return engine.store.images.get(name)


def credentials_for(known: Mapping[str, Credentials], registry: str) -> Credentials:
    """Those of X-Registry-Config for a registry; clients write it with a scheme, a path or not (Docker Hub always)."""
    for written, credentials in known.items():
        host = written.partition("://")[2] or written
        host = host.partition("/")[0]
        if host == registry or (registry == HUB and host in HUB_HOSTS):
            return credentials
    return ANONYMOUS
