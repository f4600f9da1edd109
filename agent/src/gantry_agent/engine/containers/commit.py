"""`docker commit`: a container's changes become a layer, and with its configuration an image."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gantry_agent import __version__
from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Conflict
from gantry_agent.engine.images.announce import announce
from gantry_agent.engine.images.changes import apply_changes
from gantry_agent.engine.images.intake import in_thread
from gantry_agent.engine.images.layer import add_layer
from gantry_agent.engine.images.moments import rfc3339
from gantry_agent.engine.images.tar import receive
from gantry_agent.engine.layers.pack import pack_diff
from gantry_agent.engine.oci import Descriptor, Digest, ImageConfig, Reference
from gantry_agent.engine.store import files

from .files import lowers_of, upper_of
from .model import Container, Status

Config = dict[str, Any]

IMAGE_FIELDS = (
    "User", "ExposedPorts", "Env", "Cmd", "Healthcheck", "ArgsEscaped", "Volumes", "WorkingDir", "Entrypoint",
    "OnBuild", "Labels", "StopSignal", "Shell",
)  # fmt: skip
"""Of Docker's Config, what an image keeps (OCI image-spec, config.md, and Docker's own additions)."""


@dataclass(frozen=True)
class CommitOptions:
    """What the request says of the new image. `config`: Docker's Config, None for the container's own."""

    name: Reference | None = None
    author: str = ""
    comment: str = ""
    changes: Sequence[str] = ()
    config: Config | None = None


@asynccontextmanager
async def paused(engine: Engine, container: Container) -> AsyncIterator[None]:
    """Inside, a container that runs is paused; one that dies or is unpaused meanwhile is let be. Raises Conflict."""
    containers = engine.containers
    if container.state.status is not Status.RUNNING:
        yield
        return
    await containers.pause(container, for_commit=True)
    try:
        yield
    finally:
        if container.state.paused_for_commit:
            with suppress(Conflict):
                await asyncio.shield(containers.unpause(container))


async def commit(engine: Engine, container: Container, options: CommitOptions) -> Digest:
    """Make an image of the container as it is now; its id. The caller pauses it.

    Raises InvalidArgument for a change that is none, and what the store and the packing raise.
    """
    store = engine.store
    wanted = apply_changes(container.config if options.config is None else options.config, options.changes)
    config = merged(wanted, container.config)
    links = store.images.stack(container.image_id)
    folder = files.temporary(engine.layout.tmp, "commit")
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        async with store.lease():
            parent = store.images.by_id(container.image_id)
            base = parent.chains[-1] if parent.chains else None
            lowers = lowers_of(engine.layout, container, links)
            async with aclosing(pack_diff(upper_of(engine.layout, container), lowers)) as chunks:
                file = await in_thread(chunks, lambda archive: receive(archive, folder / "archive"))
            diff_id, blob = await add_layer(engine, file, base, None)
            document = _document(parent.config, container, config, diff_id, options)
            layers: list[Descriptor] = [*store.images.descriptors(container.image_id), blob]
            image_id = await store.images.add(document, layers, parent=container.image_id)
            if options.name:
                await store.images.tag(image_id, options.name)
                announce(engine, "tag", store.images.by_id(image_id), options.name.familiar)
    finally:
        await asyncio.shield(asyncio.to_thread(files.remove_tree, folder))
    return image_id


def merged(wanted: Config, container: Config) -> Config:
    """The new image's Config: what is wanted, the rest as the container has it (Docker: daemon/commit.go, merge)."""
    found = {name: wanted[name] for name in IMAGE_FIELDS if wanted.get(name)}
    for name in ("Cmd", "Entrypoint"):
        if isinstance(found.get(name), str):  # the API takes a word for a list of one
            found[name] = [found[name]]
    for name in ("User", "Healthcheck", "WorkingDir", "StopSignal", "Shell", "OnBuild"):
        if not found.get(name) and container.get(name):
            found[name] = container[name]
    for name in ("ExposedPorts", "Volumes", "Labels"):
        together = {**(container.get(name) or {}), **(found.get(name) or {})}
        if together:
            found[name] = together
    env = list(found.get("Env") or [])
    named = {each.partition("=")[0] for each in env}
    found["Env"] = env + [each for each in container.get("Env") or [] if each.partition("=")[0] not in named]
    if not found.get("Entrypoint"):
        if not found.get("Cmd"):
            found["Cmd"] = container.get("Cmd")
        if wanted.get("Entrypoint") is None:
            found["Entrypoint"] = container.get("Entrypoint")
    return {name: value for name, value in found.items() if value}


def _document(
    parent: ImageConfig, container: Container, config: Config, diff_id: Digest, options: CommitOptions
) -> bytes:
    created = rfc3339(time.time_ns())
    entry: dict[str, Any] = {"created": created, "created_by": " ".join(container.config.get("Cmd") or [])}
    if options.author:
        entry["author"] = options.author
    if options.comment:
        entry["comment"] = options.comment
    platform = parent.platform
    document = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": created,
        "author": options.author,
        "comment": options.comment,
        "container": container.id,
        "container_config": container.config,
        "docker_version": __version__,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*parent.diff_ids, diff_id]},
        "history": [*parent.history, entry],
    }
    if platform.variant:
        document["variant"] = platform.variant
    return json.dumps({name: value for name, value in document.items() if value}).encode()
