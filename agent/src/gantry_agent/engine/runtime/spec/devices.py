"""Devices of the host inside a container."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gantry_agent.engine.errors import InvalidArgument

SKIPPED = ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console")
NO_FILE = ("core", "stdin", "stdout", "stderr")


def asked_for(host: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The OCI's linux.devices, and the rules that allow them. Raises InvalidArgument for what is no device."""
    if host.get("Privileged"):
        return [_entry(path, str(path)) for path in _all()], []
    nodes, rules = [], []
    for each in host.get("Devices") or ():
        source, access = str(each.get("PathOnHost") or ""), each.get("CgroupPermissions") or "rwm"
        target = str(each.get("PathInContainer") or source)
        found = _below(Path(source))
        if not found:
            raise InvalidArgument(
                f"error gathering device information while adding custom device {source!r}: no such file or directory"
            )
        for path in found:
            inside = target if path == Path(source) else f"{target}/{path.relative_to(source)}"
            node = _entry(path, inside)
            nodes.append(node)
            rules.append({"allow": True, "access": access} | {name: node[name] for name in ("type", "major", "minor")})
    return nodes, rules


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        return [each for each in sorted(path.rglob("*")) if _is_device(each)]
    return [path] if _is_device(path) else []


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _all() -> Iterable[Path]:
    """Every device of the host, as Docker gives a privileged container."""
    for folder, names, files in os.walk("/dev"):
        names[:] = [name for name in names if name not in SKIPPED]
        for name in files:
            path = Path(folder, name)
            if name not in (*SKIPPED, *NO_FILE) and not path.is_symlink() and _is_device(path):
                yield path


def _entry(path: Path, inside: str) -> dict[str, Any]:
    found = path.stat()
    return {
        "path": inside,
        "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
