"""Reading inside a container's root as the container would see it: no link leads out (openat2, RESOLVE_IN_ROOT)."""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
MAX_FILE = 1 << 20  # bytes read of /etc/passwd or /etc/group

_libc = ctypes.CDLL(None, use_errno=True)


def open_inside(root: Path, path: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of `path` with `root` as /. Raises OSError."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        for _ in range(8):  # EAGAIN: something was renamed meanwhile
            found = _libc.syscall(
                ctypes.c_long(SYS_OPENAT2), ctypes.c_int(top), os.fsencode(path), how, ctypes.c_size_t(len(how))
            )
            if found >= 0:
                return int(found)
            if ctypes.get_errno() != errno.EAGAIN:
                break
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    finally:
        os.close(top)


def lines_inside(root: Path, path: str) -> Iterator[str]:
    """The lines of a regular file one by one, of its first MAX_FILE bytes; none when there is none."""
    try:
        descriptor = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return
    left = MAX_FILE
    with os.fdopen(descriptor, "rb") as file:
        while left and (line := file.readline(left)):
            left -= len(line)
            yield line.decode(errors="replace")
