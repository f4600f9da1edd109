"""A volume's mount options: the local driver's type, device and o, given to mount(8) as Docker gives them.

This is root's mount: whoever may make volumes with options may mount whatever the host can see, as with Docker. Who
may is decided before the socket.
"""

import ctypes
import errno
import os
import re
import subprocess
from pathlib import Path

from gantry_agent.engine.errors import Internal, InvalidArgument, Unsupported

KNOWN = ("type", "device", "o")
TYPE = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
TIMEOUT = 30  # seconds; a dead NFS server must not hold a start for ever
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def check_options(options: dict[str, str]) -> None:
    """Raises InvalidArgument for what mount(8) could not use, Unsupported for a size."""
    if "size" in options:
        raise Unsupported("the volume option size is not supported by this engine: volumes have no quota")
    for key in options:
        if key not in KNOWN:
            raise InvalidArgument(f'invalid option: "{key}"')
    for key in ("type", "device") if options else ():
        if not options.get(key):
            raise InvalidArgument(f'missing required option: "{key}"')
    if options and not TYPE.fullmatch(options["type"]):
        raise InvalidArgument(f"invalid volume type {options['type']!r}")
    if any("\0" in value or "\n" in value for value in options.values()):
        raise InvalidArgument("volume options must be one line each")


def mount_volume(path: Path, options: dict[str, str]) -> None:
    """Mount a volume's device on its folder, instead of what is there. Blocks. Raises Internal with mount's words."""
    unmount_volume(path)
    command = ["mount", "-t", options["type"]]
    if options.get("o"):
        command += ["-o", options["o"]]
    try:
        done = subprocess.run(
            [*command, "--", options["device"], str(path)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise Internal(f"failed to mount local volume: {options['device']} did not answer in {TIMEOUT} s") from exc
    if done.returncode:
        raise Internal(f"failed to mount local volume: mount {options['device']}:{path}: {done.stderr.strip()}")


def unmount_volume(path: Path) -> None:
    """Take mounts off a volume's folder, if there are any. Raises Internal when one stays.

    Only the kernel knows: os.path.ismount does not see a bind of the same filesystem.
    """
    while libc.umount2(bytes(path), MNT_DETACH) == 0:
        pass
    if (number := ctypes.get_errno()) not in (errno.EINVAL, errno.ENOENT):
        raise Internal(f"cannot unmount {path}: {os.strerror(number)}")
