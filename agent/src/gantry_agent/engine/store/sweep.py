"""Leftovers: what a killed engine was working on. And which blobs are in use."""

import ctypes
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from gantry_agent.engine.database import Database
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Digest

from . import files
from .layers import Layer, short_name

log = logging.getLogger(__name__)

MNT_DETACH = 2
DELETE_TRIES = 5
DELETE_PAUSE = 0.2  # seconds
_libc = ctypes.CDLL(None, use_errno=True)


def sweep(layout: Layout, chains: Iterable[Digest]) -> list[Path]:
    """Move away layers without a row, mend the short links; everything below tmp/ that is now to be deleted.

    Blocks. Must run before anything new is put into tmp/.
    """
    wanted = {chain.hex: short_name(chain) for chain in chains}
    for name in os.listdir(layout.layers):
        if name not in wanted:
            files.move(layout.layers / name, files.temporary(layout.tmp, "gone"))
    links = {link: chain for chain, link in wanted.items()}
    for name in os.listdir(layout.links):
        if name not in links:
            files.remove(layout.links / name)
    for name, chain in links.items():
        target = f"../layers/{chain}/diff"
        if not (layout.links / name).is_symlink() or os.readlink(layout.links / name) != target:
            files.link(target, layout.links / name)
    _unmount_below(layout.tmp)
    if layout.secrets.exists():
        files.remove_tree(layout.secrets)
    return [layout.tmp / name for name in os.listdir(layout.tmp)]


def delete(paths: Sequence[Path]) -> None:
    """Delete files and folders; what cannot be deleted is said, and tried again at the next start."""
    for path in paths:
        for tries_left in reversed(range(DELETE_TRIES)):
            try:
                _delete(path)
                break
            except OSError as exc:
                if tries_left:
                    time.sleep(DELETE_PAUSE)  # an unpacker of the engine before may still be on its way out
                else:
                    log.warning("%s could not be deleted: %s", path, exc)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    else:
        files.remove(path)


def blobs_in_use(database: Database) -> set[str]:
    """Digests of every blob that an image, a name or a layer needs."""
    sources = (
        "SELECT id FROM images",
        "SELECT manifest FROM images WHERE manifest IS NOT NULL",
        "SELECT blob FROM image_layers",
        "SELECT blob FROM layers",
        "SELECT digest FROM repo_digests",
    )
    return {row[0] for row in database.read(" UNION ".join(sources))}


def highest_first(layers: Sequence[Layer]) -> list[Layer]:
    """Each layer before the one it stands on."""
    by_chain = {layer.chain: layer for layer in layers}

    def depth(layer: Layer) -> int:
        steps, parent = 0, layer.parent
        while parent in by_chain:
            steps, parent = steps + 1, by_chain[parent].parent
        return steps

    return sorted(layers, key=depth, reverse=True)


def _unmount_below(folder: Path) -> None:
    """Detach every mount below `folder`: deleting must not reach through one."""
    prefix = f"{folder}/"
    points = [_unescape(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(prefix)), reverse=True):
        if _libc.umount2(os.fsencode(point), MNT_DETACH) != 0:
            raise OSError(ctypes.get_errno(), f"{point} cannot be unmounted")


def _unescape(text: str) -> str:
    """A path as /proc writes it: space, tab, newline and backslash in octal."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
