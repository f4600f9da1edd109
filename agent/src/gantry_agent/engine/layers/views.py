"""A container's or an image's files as a worker sees them: how the worker comes to its root.

A view travels in the job as JSON, one of
    {"kind": "folder", "path": …, "binds": […]}              a folder of the host, such as a mounted root. A bind is
        [source, target, "writable" or "read-only"]: a container's volumes, for this worker alone
    {"kind": "stack", "links": […], "links_folder": …, "merged": …}     layers, mounted read-only for this worker alone

A running container's mount namespace is not joined: its /proc and /dev are no files of its own, and a link through a
/proc that shows the host's processes would lead out. As with Docker, its tmpfs mounts are not seen either.
"""

import os
import sys
from pathlib import Path
from typing import Any

from .mounting import MS_BIND, MS_RDONLY, MS_REMOUNT, mount_here, mount_raw
from .namespaces import bind, drop_capabilities, open_in_root, own_mounts
from .places import PATH_ONLY, Places

View = dict[str, Any]


def enter_view(view: View, *, keep_admin: bool = False) -> None:
    """Make the view's root this process' root, for good, and give up every right that files do not need.

    Raises OSError, Internal.
    """
    if view["kind"] == "stack":
        own_mounts()
        mount_here(view["links"], Path(view["links_folder"]), None, None, Path(view["merged"]))
        enter(view["merged"], keep_admin=keep_admin)
    else:
        if view.get("binds"):
            own_mounts()
            _bind_all(view["path"], view["binds"])
        enter(view["path"], keep_admin=keep_admin)


def open_view(view: View) -> int:
    """A descriptor of a view's root, for one who enters another. Raises OSError, Internal."""
    if view["kind"] == "stack":
        own_mounts()
        mount_here(view["links"], Path(view["links_folder"]), None, None, Path(view["merged"]))
        return os.open(view["merged"], os.O_DIRECTORY | PATH_ONLY)
    return os.open(view["path"], os.O_DIRECTORY | PATH_ONLY)


def enter(root: str, *, keep_admin: bool = False) -> None:
    """Make the folder `root` this process' root. Nothing can be imported afterwards: the files there are foreign."""
    os.chroot(root)
    os.chdir("/")
    sys.path.clear()
    sys.path_importer_cache.clear()
    sys.meta_path.clear()
    drop_capabilities(keep_admin=keep_admin)


def _bind_all(path: str, binds: list[list[str]]) -> None:
    """Mount volumes in their places below `path`, outer ones first."""
    root = os.open(path, os.O_DIRECTORY | PATH_ONLY)
    with Places(Path(path)) as places:
        for source, target, mode in sorted(binds, key=lambda each: each[1]):
            descriptor = os.open(source, PATH_ONLY)
            place = places.make(target, like=source)
            bind(descriptor, open_in_root(root, os.fsencode(place), PATH_ONLY))
            if mode == "read-only":
                # The descriptor above still means the folder below the mount: the mount is found by looking again.
                mounted = open_in_root(root, os.fsencode(place), PATH_ONLY)
                mount_raw("", f"/proc/self/fd/{mounted}", "", MS_BIND | MS_REMOUNT | MS_RDONLY)
