"""A container's files: where its writable layer lies, and how a worker comes to see what the container sees."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from gantry_agent.engine.errors import Forbidden
from gantry_agent.engine.layers.overlay import with_foundation
from gantry_agent.engine.layers.pack import View, layers_view
from gantry_agent.engine.layout import Layout

from .model import Container


def upper_of(layout: Layout, container: Container) -> Path:
    """The folder of everything the container changed."""
    return layout.container(container.id) / "upper"


def lowers_of(layout: Layout, container: Container, links: Sequence[str]) -> View:
    """What lies below it. `links`: of the image's layers, top first."""
    return layers_view(with_foundation(links, layout.links), layout.links, layout.container(container.id) / "merged")


def view_of(container: Container, merged: Path, files: Mapping[str, Path]) -> View:
    """What the container sees, its root being mounted at `merged`: volumes, binds and the files the engine keeps for
    it (`files`: path in the container → path here) are put in their places for the worker alone.
    """
    binds = [[str(source), target, "read-only"] for target, source in files.items() if source.exists()]
    binds += [
        [mount.source, mount.target, "writable" if mount.writable else "read-only"]
        for mount in container.mounts
        if mount.kind != "tmpfs" and mount.source and os.path.exists(mount.source)
    ]
    return {"kind": "folder", "path": str(merged), "binds": binds}


def root_of(merged: Path) -> View:
    """The container's own files, without what is mounted on them for it: what is exported."""
    return {"kind": "folder", "path": str(merged)}


def check_writable(container: Container, path: str) -> None:
    """Raises Forbidden when `path` lies in a read-only volume, or in a read-only root outside of all volumes."""
    path = posixpath.normpath(posixpath.join("/", path))
    around = [mount for mount in container.mounts if _contains(mount.target, path)]
    if around:
        nearest = max(around, key=lambda mount: len(mount.target))
        if not nearest.writable:
            raise Forbidden("mounted volume is marked read-only")
    elif container.host_config.get("ReadonlyRootfs"):
        raise Forbidden("container rootfs is marked read-only")


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
