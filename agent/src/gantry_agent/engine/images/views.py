"""Images in the shapes of Docker's API."""

from collections import Counter
from typing import Any

from gantry_agent.engine.core import Engine
from gantry_agent.engine.oci import Digest
from gantry_agent.engine.store import Image

from .filters import ImageFilter
from .moments import ZERO, created_at, rfc3339

CONFIG_DEFAULTS: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}


def summaries(
    engine: Engine, chosen: ImageFilter, *, all_images: bool = False, with_sizes: bool = False
) -> list[dict[str, Any]]:
    """ImageSummary of every image the filter accepts, newest first.

    Images that are only a step towards another one are left out unless `all_images`.
    """
    shared = _shared_sizes(engine) if with_sizes else {}
    found = []
    images = engine.store.images.all() + (engine.store.images.steps() if all_images else [])
    for image in sorted(images, key=lambda each: created_at(each.config.created), reverse=True):
        if not chosen.accepts(image):
            continue
        if chosen.dangling is not None and chosen.dangling == bool(image.tags):
            continue
        tags, digests = chosen.names(image.tags), chosen.names(image.digests)
        is_step = not all_images and not image.references and bool(engine.store.images.children(image.id))
        if not tags and not digests and (chosen.patterns or is_step):
            continue
        found.append(
            {
                "Id": image.id,
                "ParentId": image.parent,
                "RepoTags": tags,
                "RepoDigests": digests,
                "Created": created_at(image.config.created) // 10**9,
                "Size": image.size,
                "SharedSize": shared.get(image.id, -1),
                "Labels": image.config.labels or None,
                "Containers": _containers(engine, image.id) if with_sizes else -1,
            }
        )
    return found


def usage(engine: Engine) -> dict[str, Any]:
    """The images' part of /system/df: {"LayersSize": bytes on the disk, "Images": [ImageSummary with SharedSize]}."""
    return {
        "LayersSize": sum(layer.size for layer in engine.store.layers.all()),
        "Images": summaries(engine, ImageFilter(), with_sizes=True),
    }


def inspect(engine: Engine, image: Image) -> dict[str, Any]:
    """ImageInspect."""
    data = image.config.data
    history = image.config.history
    platform = image.config.platform
    found = {
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": data.get("comment") or (history[-1].get("comment") if history else "") or "",
        "Created": image.config.created or ZERO,
        "DockerVersion": data.get("docker_version") or "",
        "Author": data.get("author") or "",
        "Config": {**CONFIG_DEFAULTS, **image.config.config},
        "Architecture": platform.architecture,
        "Os": platform.os,
        "Size": image.size,
        "GraphDriver": {"Name": "overlay2", "Data": _graph(engine, image)},
        "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.tagged_at) if image.tagged_at else ZERO},
    }
    if platform.variant:
        found["Variant"] = platform.variant
    if data.get("os.version"):
        found["OsVersion"] = data["os.version"]
    return found


def history(engine: Engine, image: Image) -> list[dict[str, Any]]:
    """How the image came to be, newest step first; only steps that are images here have an id."""
    sizes = [layer.size for layer in engine.store.images.layers_of(image)]
    steps = list(image.config.history)
    missing = len(sizes) - sum(not step.get("empty_layer") for step in steps)
    steps = [{} for _ in range(max(missing, 0))] + steps
    found: list[dict[str, Any]] = []
    for step in steps:
        created = step.get("created")
        found.append(
            {
                "Id": "<missing>",
                "Created": created_at(created) // 10**9 if isinstance(created, str) else 0,
                "CreatedBy": str(step.get("created_by") or ""),
                "Tags": None,
                "Size": 0 if step.get("empty_layer") or not sizes else sizes.pop(0),
                "Comment": str(step.get("comment") or ""),
            }
        )
    found.reverse()
    ancestors = {each.id: each for each in engine.store.images.all()}
    here: Image | None = image
    for step in found:
        if here is None:
            break
        step["Id"], step["Tags"] = here.id, here.repo_tags or None
        here = ancestors.get(Digest(here.parent))
    return found


def _graph(engine: Engine, image: Image) -> dict[str, str] | None:
    """Where its files are, as the overlay2 driver says it."""
    paths = [str(engine.store.layers.diff(chain)) for chain in reversed(image.chains)]
    if not paths:
        return None
    top = paths[0].removesuffix("/diff")
    data = {"MergedDir": f"{top}/merged", "UpperDir": paths[0], "WorkDir": f"{top}/work"}
    return {"LowerDir": ":".join(paths[1:]), **data} if paths[1:] else data


def _shared_sizes(engine: Engine) -> dict[str, int]:
    """For each image, the bytes of layers that other images use too."""
    images = engine.store.images.all()
    uses = Counter(chain for image in images for chain in image.chains)
    sizes = {layer.chain: layer.size for layer in engine.store.layers.all()}
    return {image.id: sum(sizes.get(chain, 0) for chain in image.chains if uses[chain] > 1) for image in images}


def _containers(engine: Engine, image_id: str) -> int:
    return len(engine.store.used_by(image_id)) if engine.store.used_by else 0
