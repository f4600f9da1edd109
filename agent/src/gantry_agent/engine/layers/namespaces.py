"""System calls a worker needs that Python 3.11 lacks: mount namespaces, capabilities, openat2."""

import ctypes
import errno
import os

from .mounting import mount_raw

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE, MS_BIND = 0x4000, 1 << 18, 0x1000
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x02, 0x04, 0x10
MOST_TRIES = 100  # openat2 says EAGAIN when a rename elsewhere leaves it unsure
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION = 0x20080522
# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, MKNOD, SETFCAP
FILE_CAPABILITIES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 27 | 1 << 31
SYS_ADMIN = 1 << 21  # needed for trusted.* attributes: whiteouts of folders

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def own_mounts() -> None:
    """Leave the host's mount namespace: mounts made from here on end with this process."""
    _check(_libc.unshare(CLONE_NEWNS))
    mount_raw("", "/", "", MS_REC | MS_PRIVATE)


def bind(source: int, target: int, *, recursive: bool = True) -> None:
    """Bind what one descriptor stands for onto what another does."""
    mount_raw(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", "", MS_BIND | (MS_REC if recursive else 0))


def open_in_root(root: int, path: bytes, flags: int, *, links: bool = True) -> int:
    """Open a path with the folder `root` as its root; links cannot lead out, nor through /proc. Raises OSError: ELOOP
    for any link at all without `links`.
    """
    refused = RESOLVE_NO_MAGICLINKS if links else RESOLVE_NO_SYMLINKS
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | refused)
    for _ in range(MOST_TRIES):
        found: int = _libc.syscall(SYS_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return _check(found)


def drop_capabilities(*, keep_admin: bool = False) -> None:
    """Keep only what writing files of any owner and kind takes.

    Even if somebody bound a /proc into the tree: /proc/PID/root of the host's processes is closed to one that has
    fewer capabilities than they and no CAP_SYS_PTRACE (ptrace(2), "access mode checking").
    """
    wanted = FILE_CAPABILITIES | (SYS_ADMIN if keep_admin else 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)(wanted, wanted, 0, 0, 0, 0)
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # What this process lacks already cannot be kept.
    held = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, held))
    data[0] &= held[1]
    data[1] &= held[1]
    _check(_libc.capset(header, data))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
