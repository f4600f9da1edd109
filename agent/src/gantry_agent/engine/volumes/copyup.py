"""Copy-up: an empty volume gets what the image has at its place, with owners, modes, times, links and attributes.

The image's tree is not trusted, and the volume may be written at the same moment by a container that has it already.
So the source is found with openat2 inside the container's root, and everything else is done relative to open folders
without ever following a link.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from gantry_agent.engine.errors import Internal
from gantry_agent.engine.layers.namespaces import open_in_root
from gantry_agent.engine.store import files

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CHUNK = 1 << 22  # bytes one call moves at most
MAX_LINKS = 500  # files with several names that are held open; the names of further ones become copies
MAX_DEPTH = 1000  # folders inside folders; deeper is an attack


def copy_up_whole(root: Path, target: str, destination: Path, staged: Path) -> None:
    """As `copy_up`, but `destination` is another folder then: of a copy that is cut short it gets nothing. Blocks.

    Nobody may have `destination` open or mounted. The copy is made at `staged`, a new name on the same filesystem,
    which is gone afterwards. Raises Internal.
    """
    try:
        staged.mkdir(0o700)
        if not copy_up(root, target, staged):
            return
        if not is_empty(staged):
            files.sync_filesystem(staged)
        staged.rename(destination)
        files.sync_folder(destination.parent)
    except OSError as exc:
        if exc.errno in (errno.EBUSY, errno.EXDEV):  # a disk of its own, mounted by the host's administrator
            copy_up(root, target, destination)
        elif exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # what somebody has put there meanwhile stays
            raise Internal(f"cannot copy {target} of the image to its volume: {exc}") from exc
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    """Blocks. Raises OSError."""
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def copy_up(root: Path, target: str, destination: Path) -> bool:
    """Copy the content of folder `target` inside `root` to the empty folder `destination`, if it can be. Blocks.

    Does nothing when there is no such folder in the image, or `destination` is not empty. Raises Internal.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = open_inside(root, target)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise Internal(f"cannot read {target} of the image: {exc.strerror}") from exc
        stack.callback(os.close, source)
        goal = os.open(destination, FOLDER)
        stack.callback(os.close, goal)
        if os.listdir(goal):
            return False
        links: dict[tuple[int, int], int] = {}
        stack.callback(_close_all, links)
        try:
            _copy_folder(source, goal, links, 0)
        except OSError as exc:
            raise Internal(f"cannot copy {target} of the image to its volume: {exc}") from exc
    return True


def _close_all(links: dict[tuple[int, int], int]) -> None:
    for descriptor in links.values():
        os.close(descriptor)


def open_inside(root: Path, target: str) -> int:
    """A folder below `root`, links resolved as if `root` were /. Raises OSError."""
    base = os.open(root, FOLDER)
    try:
        return open_in_root(base, os.fsencode(target), os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(base)


def _copy_folder(source: int, goal: int, links: dict[tuple[int, int], int], depth: int) -> None:
    """Everything in `source` into `goal`, then the folder's own owner, mode and times: they change while it fills."""
    if depth > MAX_DEPTH:
        raise OSError(errno.ELOOP, "folders are nested too deeply")
    for name in sorted(os.listdir(source)):
        _copy_entry(source, goal, name, links, depth)
    found = os.fstat(source)
    os.fchown(goal, found.st_uid, found.st_gid)
    os.fchmod(goal, stat.S_IMODE(found.st_mode))
    _copy_attributes(source, goal)
    os.utime(goal, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_entry(source: int, goal: int, name: str, links: dict[tuple[int, int], int], depth: int) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=goal)
        with _opened(name, FOLDER, source) as inner, _opened(name, FOLDER, goal) as new:
            _copy_folder(inner, new, links, depth + 1)
        return
    key = (found.st_dev, found.st_ino)
    if first := links.get(key):
        os.link(f"/proc/self/fd/{first}", name, dst_dir_fd=goal, follow_symlinks=True)
        return
    if kind == stat.S_IFREG:
        _copy_file(source, goal, name, found)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=goal)
    else:
        os.mknod(name, kind | 0o600, found.st_rdev, dir_fd=goal)
    if found.st_nlink > 1 and len(links) < MAX_LINKS:
        links[key] = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=goal)
    if kind != stat.S_IFREG:
        os.chown(name, found.st_uid, found.st_gid, dir_fd=goal, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=goal)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=goal, follow_symlinks=False)


def _copy_file(source: int, goal: int, name: str, found: os.stat_result) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, source) as old, _opened(name, flags, goal) as new:
        # Not copy_file_range: between overlayfs and the volume's filesystem it is refused on most kernels.
        while os.sendfile(new, old, None, CHUNK):
            pass
        os.fchown(new, found.st_uid, found.st_gid)
        os.fchmod(new, stat.S_IMODE(found.st_mode))
        _copy_attributes(old, new)
        os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_attributes(old: int, new: int) -> None:
    """Extended attributes; overlayfs's own mean nothing here, and a filesystem without them is no failure."""
    for name in os.listxattr(old):
        if name.startswith("trusted.overlay."):
            continue
        with contextlib.suppress(OSError):
            os.setxattr(new, name, os.getxattr(old, name))


@contextlib.contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
