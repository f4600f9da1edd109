"""The system calls that mount a stack of layers (kernel: Documentation/filesystems/overlayfs), in the calling thread.

Lower layers are named relative to the folder of short links, because mount(2) takes one page of options; a stack that
does not fit goes through the newer mount API (`lowerdir+`, Linux 6.5). Redirects and metadata-only copies stay off:
the upper folder then holds every change in full, and can be packed as it lies.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from gantry_agent.engine.errors import Internal

MAX_LAYERS = 500  # the kernel's own limit (OVL_MAX_STACK)
PAGE = 4096
SETTINGS = {"redirect_dir": "nofollow", "index": "off", "metacopy": "off"}

MS_RDONLY, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 4, 32, 4096
MNT_DETACH = 2
SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 429, 430, 431, 432
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
MOVE_MOUNT_F_EMPTY_PATH = 4
AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


def mount_here(links: Sequence[str], links_folder: Path, upper: Path | None, work: Path | None, merged: Path) -> None:
    """Mount `links` (top first) at `merged`, read-only without `upper`; this thread's working directory changes.

    Raises Internal.
    """
    if len(links) > MAX_LAYERS:
        raise Internal(f"{len(links)} layers: the kernel stacks at most {MAX_LAYERS}")
    for folder in (merged, upper, work):
        if folder:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chdir(links_folder)
    lowers = list(links)
    if upper is None and len(lowers) < 2:
        _bind(lowers[0] if lowers else str(merged), merged)
        return
    if not lowers:
        empty = merged.with_name("empty")
        empty.mkdir(mode=0o755, exist_ok=True)
        lowers = [str(empty)]
    try:
        _mount_overlay(lowers, upper, work, merged)
    except OSError as exc:
        raise Internal(f"mounting {len(lowers)} layers at {merged}: {exc.strerror}") from exc


def unmount_here(merged: Path) -> None:
    """Take the mount at `merged` away, also while in use; none there is fine. Raises Internal."""
    if _libc.umount2(os.fsencode(merged), MNT_DETACH):
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise Internal(f"unmounting {merged}: {os.strerror(number)}")


def mount_raw(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(data)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _mount_overlay(lowers: Sequence[str], upper: Path | None, work: Path | None, merged: Path) -> None:
    options = ["lowerdir=" + ":".join(_escape(each, ",:") for each in lowers)]
    if upper and work:
        options += [f"upperdir={_escape(str(upper), ',')}", f"workdir={_escape(str(work), ',')}"]
    options += [f"{name}={value}" for name, value in SETTINGS.items()]
    data = ",".join(options)
    if len(os.fsencode(data)) < PAGE:
        mount_raw("overlay", str(merged), "overlay", 0 if upper else MS_RDONLY, data)
    else:
        _mount_many(lowers, upper, work, merged)


def _mount_many(lowers: Sequence[str], upper: Path | None, work: Path | None, merged: Path) -> None:
    """Hand the layers over one by one. Raises OSError; EINVAL on kernels before 6.5."""
    context = _call(SYS_FSOPEN, b"overlay", 1)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, context)
        values = [("lowerdir+", each) for each in lowers]
        if upper and work:
            values += [("upperdir", str(upper)), ("workdir", str(work))]
        for name, value in (*values, *SETTINGS.items()):
            _call(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, name.encode(), os.fsencode(value), 0)
        _call(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = _call(SYS_FSMOUNT, context, 1, 0 if upper else 1)
        stack.callback(os.close, mounted)
        _call(SYS_MOVE_MOUNT, mounted, b"", AT_FDCWD, os.fsencode(merged), MOVE_MOUNT_F_EMPTY_PATH)


def _bind(source: str, merged: Path) -> None:
    mount_raw(source, str(merged), "", MS_BIND)
    mount_raw("", str(merged), "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _call(number: int, *arguments: object) -> int:
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    found: int = _libc.syscall(ctypes.c_long(number), *converted)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found


def _escape(text: str, special: str) -> str:
    return "".join(f"\\{each}" if each in special + "\\" else each for each in text)
