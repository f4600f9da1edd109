"""Folders and volumes: what a container may be given of the host's file system.

A path is judged as it is written: a symbolic link on the host leads elsewhere, and cannot be seen from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hosts.rules.facts import Facts, Violation, VolumeFacts
from hosts.rules.rules import Rules, normal

KINDS = ("bind", "volume", "tmpfs")
# What the options of a volume of memory, which is nobody's, may say.
_OF_MEMORY = re.compile(r"(size|mode|uid|gid|nr_inodes)=\w+%?|noexec|nosuid|nodev|noatime|ro|rw|")


def mounts(rules: Rules, host: dict[str, Any], facts: Facts) -> Iterator[Violation]:
    for bind in host.get("Binds") or []:
        source, _, rest = bind.partition(":")
        if not rest:
            yield Violation("HostConfig.Binds", bind[:200], "SOURCE:TARGET")
        elif "/" in source or source.startswith(".") or not source:
            yield from path(rules, source, "HostConfig.Binds")
        else:
            yield from volume(rules, source, facts, "HostConfig.Binds")
    if rules.plain_volumes and host.get("VolumeDriver") not in (None, "", "local"):
        yield Violation("HostConfig.VolumeDriver", host["VolumeDriver"], "local")
    for number, mount in enumerate(host.get("Mounts") or []):
        yield from _mount(rules, mount, facts, f"HostConfig.Mounts[{number}]")
    for each in host.get("VolumesFrom") or []:
        yield from _from_other(rules, each.partition(":")[0], facts)


def _mount(rules: Rules, mount: dict[str, Any], facts: Facts, where: str) -> Iterator[Violation]:
    kind = mount.get("Type") or ""
    if kind not in KINDS:  # of an image, say: its files would be read without a right to it
        yield Violation(f"{where}.Type", kind or "none", ", ".join(KINDS))
    elif kind == "bind":
        yield from path(rules, mount.get("Source") or "", f"{where}.Source")
    elif kind == "volume":
        driver = (mount.get("VolumeOptions") or {}).get("DriverConfig") or {}
        made = VolumeFacts(driver.get("Name") or "local", driver.get("Options") or {})
        yield from _driver(rules, made, f"{where}.VolumeOptions.DriverConfig")
        if name := mount.get("Source"):
            yield from volume(rules, name, facts, f"{where}.Source")


def _from_other(rules: Rules, name: str, facts: Facts) -> Iterator[Violation]:
    where = "HostConfig.VolumesFrom"
    other = facts.others.get(name)
    if other is None:
        if facts.complete and (rules.binds is not None or rules.plain_volumes):
            yield Violation(where, f"{name}, which is not there", "a container of this host")
        return
    for kind, source in other.mounts:
        if kind == "bind":
            yield from path(rules, source, where)
        elif kind == "volume":
            yield from volume(rules, source, facts, where)
        elif kind != "tmpfs" and (rules.binds is not None or rules.plain_volumes):
            yield Violation(where, f"a mount of the kind {kind}", ", ".join(KINDS))


def path(rules: Rules, source: str, where: str) -> Iterator[Violation]:
    """A folder of the host."""
    if rules.binds is None:
        return
    allowed = f"below {', '.join(rules.binds)}" if rules.binds else "no folders of the host"
    inside = source.startswith("/") and ".." not in source.split("/") and "\0" not in source
    clean = normal(source)
    if not inside or not any(clean == each or clean.startswith(f"{each.rstrip('/')}/") for each in rules.binds):
        yield Violation(where, source[:200] or "nothing", allowed)


def volume(rules: Rules, name: str, facts: Facts, where: str) -> Iterator[Violation]:
    """A volume by its name: one that is there may be a folder of the host by its driver's options."""
    if found := facts.volumes.get(name):
        yield from _driver(rules, found, f"{where} ({name[:60]})")


def _driver(rules: Rules, made: VolumeFacts, where: str) -> Iterator[Violation]:
    options = {str(key).lower(): str(value) for key, value in made.options.items()}
    if made.driver == "local" and (not options or _is_of_memory(options)):
        return
    device = options.get("device", "")
    if made.driver == "local" and device.startswith("/") and _binds(options):
        yield from path(rules, device, where)
        if rules.binds is not None:
            return  # one of the folders that are allowed
    if rules.plain_volumes:
        found = f"the driver {made.driver}" + (f" with {', '.join(sorted(options))}" if options else "")
        yield Violation(where, found[:200], "the driver local without options")
    elif rules.binds is not None and made.driver == "local":
        yield Violation(where, f"options {', '.join(sorted(options))}"[:200], "no options that mount what is elsewhere")


def _is_of_memory(options: Mapping[str, str]) -> bool:
    words = options.get("o", "").split(",")
    return options.get("type") == "tmpfs" and all(_OF_MEMORY.fullmatch(word) for word in words)


def _binds(options: Mapping[str, str]) -> bool:
    words = options.get("o", "").split(",")
    return options.get("type", "none") == "none" and bool({"bind", "rbind"} & set(words))
