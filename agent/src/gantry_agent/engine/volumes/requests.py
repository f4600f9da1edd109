"""What mounts a container asks for: Binds, Mounts, Tmpfs, VolumesFrom, and its image's Volumes, read into one list.

Docker's rules (volume/mounts/linux_parser.go, daemon/volumes.go): Mounts, Binds and Tmpfs may not share a place; they
win over VolumesFrom, which wins over the image's Volumes.
"""

import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gantry_agent.engine.containers.model import Container, MountPoint
from gantry_agent.engine.errors import InvalidArgument, Unsupported

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
IGNORED = ("z", "Z", "consistent", "cached", "delegated")  # SELinux labels and macOS: nothing to do here
# fmt: off
TMPFS_FLAGS = frozenset({
    "async", "atime", "dev", "diratime", "dirsync", "exec", "noatime", "nodev", "nodiratime", "noexec", "norelatime",
    "nostrictatime", "nosuid", "relatime", "ro", "rw", "strictatime", "suid", "sync",
})
# fmt: on
TMPFS_VALUES = re.compile(
    r"(size|nr_blocks)=\d+[kKmMgG%]?|(nr_inodes)=\d+[kKmMgG]?|mode=[0-7]{1,5}|(uid|gid)=\d+|mpol=[\w:,-]+"
)
TMPFS_DEFAULTS = ("nosuid", "nodev", "noexec")


@dataclass
class Wish:
    """One mount, and how its source comes to be. `mount.name` of a volume is "" when it is to be anonymous."""

    mount: MountPoint
    make_source: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    driver: str = "local"


def wanted(container: Container, find: Callable[[str], Container]) -> list[Wish]:
    """Every mount of a container that is being created, sorted so that one inside another comes after it.

    `find` looks up the containers of VolumesFrom. Raises InvalidArgument, NotFound, Unsupported.
    """
    host = container.host_config
    found: dict[str, Wish] = {}
    own = [
        *(_bind(str(text), str(host.get("VolumeDriver") or "local")) for text in host.get("Binds") or ()),
        *(_mount(each) for each in host.get("Mounts") or ()),
        *(_tmpfs(str(target), str(options)) for target, options in (host.get("Tmpfs") or {}).items()),
    ]
    for wish in own:
        if wish.mount.target in found:
            raise InvalidArgument(f"Duplicate mount point: {wish.mount.target}")
        found[wish.mount.target] = wish
    for text in host.get("VolumesFrom") or ():
        for wish in _of_other(str(text), find):
            found.setdefault(wish.mount.target, wish)
    for target in container.config.get("Volumes") or {}:
        place = _target(str(target), str(target))
        if place not in found:
            mount = MountPoint(kind="volume", source="", target=place, is_anonymous=True)
            found[place] = Wish(mount, driver=str(host.get("VolumeDriver") or "local"))
    return sorted(found.values(), key=lambda wish: wish.mount.target.count("/"))


def _bind(text: str, driver: str) -> Wish:
    """One of Binds: SOURCE:TARGET[:OPTIONS], or TARGET alone for an anonymous volume."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts[:2]):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    mode = parts[2] if len(parts) == 3 else ""
    mount = MountPoint(kind="volume", source="", target=_target(target, text), mode=mode)
    _apply_mode(mount, mode, text)
    if source.startswith("/"):
        mount.kind, mount.source = "bind", posixpath.normpath(source)
        mount.propagation = mount.propagation or "rprivate"
        mount.options = ["rbind"]
        if mount.no_copy:
            raise InvalidArgument(f"invalid volume specification: '{text}': nocopy is for volumes")
        return Wish(mount, make_source=True)
    if source.startswith("."):
        raise InvalidArgument(f"invalid volume specification: '{text}': a host path must be absolute")
    if mount.propagation:
        raise InvalidArgument(f"invalid volume specification: '{text}': propagation is for host paths")
    mount.name, mount.is_anonymous = source, not source
    return Wish(mount, driver=driver)


def _apply_mode(mount: MountPoint, mode: str, text: str) -> None:
    seen = set()
    for word in filter(None, mode.split(",")):
        if word in ("ro", "rw"):
            mount.writable, kind = word == "rw", "access"
        elif word in PROPAGATIONS:
            mount.propagation, kind = word, "propagation"
        elif word == "nocopy":
            mount.no_copy, kind = True, "copy"
        elif word in IGNORED:
            kind = word
        else:
            raise InvalidArgument(f"invalid mode: {mode}")
        if kind in seen:
            raise InvalidArgument(f"invalid volume specification: '{text}': {word} contradicts an earlier option")
        seen.add(kind)


def _mount(given: Any) -> Wish:
    """One of Mounts."""
    if not isinstance(given, dict):
        raise InvalidArgument("invalid mount config: an object was expected")
    kind = str(given.get("Type") or "")
    readers = {"bind": _mount_bind, "volume": _mount_volume, "tmpfs": _mount_tmpfs}
    if kind not in readers:
        if kind in ("npipe", "cluster", "image"):
            raise Unsupported(f"mounts of type {kind} are not supported by this engine")
        raise InvalidArgument(f"mount type unknown: {kind!r}")
    try:
        target = _target(str(given.get("Target") or ""), str(given))
        for other in {"bind", "volume", "tmpfs"} - {kind}:
            if given.get(f"{other.capitalize()}Options"):
                raise InvalidArgument(f"must not specify {other.capitalize()}Options")
        mount = MountPoint(kind=kind, source="", target=target, writable=not given.get("ReadOnly"))
        return readers[kind](mount, given)
    except InvalidArgument as exc:
        raise InvalidArgument(f'invalid mount config for type "{kind}": {exc.message}') from exc


def _mount_bind(mount: MountPoint, given: dict[str, Any]) -> Wish:
    source = str(given.get("Source") or "")
    if not source.startswith("/"):
        raise InvalidArgument(
            "field Source must not be empty"
            if not source
            else f"invalid mount path: '{source}' mount path must be absolute"
        )
    options = given.get("BindOptions") or {}
    mount.source = posixpath.normpath(source)
    mount.propagation = str(options.get("Propagation") or "rprivate")
    if mount.propagation not in PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation mode: {mount.propagation}")
    mount.options = ["bind" if options.get("NonRecursive") else "rbind"]
    return Wish(mount, make_source=bool(options.get("CreateMountpoint")))


def _mount_volume(mount: MountPoint, given: dict[str, Any]) -> Wish:
    options = given.get("VolumeOptions") or {}
    if options.get("Subpath"):
        raise Unsupported("VolumeOptions.Subpath is not supported by this engine: mount the volume's root")
    driver = options.get("DriverConfig") or {}
    mount.name = str(given.get("Source") or "")
    if mount.name.startswith("/"):
        raise InvalidArgument(f"invalid volume name: '{mount.name}': a host path is a bind")
    mount.is_anonymous = not mount.name
    mount.no_copy = bool(options.get("NoCopy"))
    return Wish(
        mount,
        labels=dict(options.get("Labels") or {}),
        options=dict(driver.get("Options") or {}),
        driver=str(driver.get("Name") or "local"),
    )


def _mount_tmpfs(mount: MountPoint, given: dict[str, Any]) -> Wish:
    if given.get("Source"):
        raise InvalidArgument("field Source must not be specified")
    options = given.get("TmpfsOptions") or {}
    mount.options = list(TMPFS_DEFAULTS)
    try:
        if size := int(options.get("SizeBytes") or 0):
            mount.options.append(f"size={size}")
        if mode := int(options.get("Mode") or 0):
            mount.options.append(f"mode={mode & 0o7777:o}")
    except (ValueError, TypeError) as exc:
        raise InvalidArgument(f"TmpfsOptions: {exc}") from exc
    return Wish(mount)


def _tmpfs(target: str, options: str) -> Wish:
    """One of HostConfig.Tmpfs: {"/run": "rw,size=64m"}."""
    words = [word for word in options.split(",") if word]
    for word in words:
        if word not in TMPFS_FLAGS and not TMPFS_VALUES.fullmatch(word):
            raise InvalidArgument(f"invalid tmpfs option [{word!r}]")
    opposite = {"nosuid": "suid", "nodev": "dev", "noexec": "exec"}
    chosen = [word for word in TMPFS_DEFAULTS if opposite[word] not in words and word not in words]
    mount = MountPoint(kind="tmpfs", source="", target=_target(target, target), options=[*chosen, *words])
    mount.writable = "ro" not in words
    return Wish(mount)


def _of_other(text: str, find: Callable[[str], Container]) -> Iterator[Wish]:
    """One of VolumesFrom: CONTAINER[:ro|rw]."""
    name, _, mode = text.partition(":")
    if not name or mode not in ("", "ro", "rw", "z", "Z"):
        raise InvalidArgument(f"invalid volumes-from specification: {text!r}")
    for mount in find(name).mounts:
        if mount.kind == "tmpfs":
            continue
        copied = dataclasses.replace(mount, is_anonymous=False, no_copy=True)
        copied.writable = mount.writable and mode != "ro"
        yield Wish(copied)


def _target(target: str, text: str) -> str:
    """A place in the container, normalised. Raises InvalidArgument."""
    if not target:
        raise InvalidArgument("field Target must not be empty")
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{target}' mount path must be absolute")
    normal = "/" + posixpath.normpath(target).lstrip("/")
    if normal == "/" or "\0" in normal:
        raise InvalidArgument(f"invalid specification: destination can't be '/' in '{text}'")
    return normal
