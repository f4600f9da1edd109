"""Mount points, devices, the working folder: found and made in a container's root before its runtime starts, as Docker.

crun refuses a destination that leads through a dangling link, and runc follows it. Here each is resolved as the
container will see it, mount by mount in their order; what is missing is made (layers/places.py), and the runtime is
handed a path without links.
"""

import errno
import os
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.layers.places import Cover, Places

from .spec.process import working_folder

# fmt: off
FAKED = frozenset({
    "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev", "/proc/slabinfo",
    "/proc/stat", "/proc/swaps", "/proc/sys/kernel/ns_last_pid", "/proc/uptime",
})
# fmt: on
"""What may be mounted on inside /proc: runc's list, for lxcfs."""
ORDINARY = ("/dev", "/proc", "/sys")
"""Never through a link: crun opens /dev by its name again, which a link would lead to the host's."""


class Unplaced(Exception):
    """A mount point or the working folder can be neither found nor made; the text is worded as the runtimes' are."""


def settle(document: dict[str, Any]) -> None:
    """Make what is missing in the root of an OCI configuration, and put resolved paths into it. Blocks.

    Raises Unplaced, InvalidArgument.
    """
    with Places(Path(document["root"]["path"])) as places:
        for mount in document["mounts"]:
            _settle(places, mount)
        for device in document["linux"]["devices"]:
            _settle_device(places, device)
        process = document["process"]
        wanted = process["cwd"]
        try:
            place = places.make(wanted)
        except OSError as exc:
            raise Unplaced(f"chdir `{wanted}`: {exc.strerror}") from exc
        process["cwd"] = working_folder(_spoken(place, wanted))


def _settle(places: Places, mount: dict[str, Any]) -> None:
    wanted, options, is_bind = mount["destination"], mount.get("options", ()), mount["type"] == "bind"
    try:
        place = places.make(wanted, like=mount["source"] if is_bind else "")
        _check(mount, place)
    except OSError as exc:
        raise Unplaced(f'error mounting "{mount["source"]}" to rootfs at "{wanted}": {exc.strerror}') from exc
    # A bind without what is mounted below its source shows other folders than there are.
    seen = mount["source"] if is_bind and "rbind" in options else ""
    places.cover(place, Cover(seen, "ro" not in options))
    mount["destination"] = _spoken(place, wanted)


def _settle_device(places: Places, device: dict[str, Any]) -> None:
    """Where a node is to be made: its folder is there afterwards. crun makes none behind a dangling link."""
    wanted = device["path"]
    try:
        place = places.find(wanted)
        places.make(place.rpartition("/")[0] or "/")
    except OSError as exc:
        raise Unplaced(f"making the device {wanted}: {exc.strerror}") from exc
    device["path"] = _spoken(place, wanted)


def _check(mount: dict[str, Any], place: str) -> None:
    """Refuse what runc refuses (checkProcMount), and a root. Raises OSError, InvalidArgument."""
    wanted = mount["destination"]
    if place == "/":
        raise InvalidArgument(f"invalid specification: destination can't be '/', where {wanted} leads")
    if place != wanted and wanted in ORDINARY:
        raise OSError(errno.ENOTDIR, f"{wanted} must be an ordinary folder, no link")
    if place == "/proc" and mount["type"] != "proc" and not _is_proc(mount):
        raise OSError(errno.EPERM, f'"{place}" cannot be mounted because it is not of type proc')
    if place.startswith("/proc/") and place not in FAKED:
        raise OSError(errno.EPERM, f'"{place}" cannot be mounted because it is inside /proc')


def _is_proc(mount: dict[str, Any]) -> bool:
    try:
        return mount["type"] == "bind" and os.path.samefile(mount["source"], "/proc")
    except OSError:
        return False


def _spoken(place: str, wanted: str) -> str:
    """The resolved path where JSON can say it; the other one leads there as well, through its links."""
    try:
        place.encode()
    except UnicodeEncodeError:
        return wanted
    return place
