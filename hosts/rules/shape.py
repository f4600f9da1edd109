"""The shape of a create request: parsed once, and every key of it one that the judge knows.

Docker reads keys whatever their case and takes the last of two: a judge that reads them otherwise judges another
request than the engine does. So what is not spelled as in the Engine API is refused, not passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controlplane.lib.errors import InvalidArgument
from hosts.rules.facts import Violation


def words(text: str) -> frozenset[str]:
    """Those of a text."""
    return frozenset(text.split())


# Engine API 1.47, ContainerConfig and what ContainerCreate adds to it.
CREATE = words(
    "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd "
    "Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint NetworkDisabled MacAddress OnBuild Labels StopSignal "
    "StopTimeout Shell HostConfig NetworkingConfig"
)
UPDATE = words(
    "CpuShares Memory CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps "
    "BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus "
    "CpusetMems Devices DeviceCgroupRules DeviceRequests KernelMemoryTCP MemoryReservation MemorySwap "
    "MemorySwappiness NanoCpus OomKillDisable Init PidsLimit Ulimits RestartPolicy"
)
HOST = UPDATE | words(
    "Binds LogConfig NetworkMode PortBindings AutoRemove VolumeDriver VolumesFrom Mounts ConsoleSize Annotations "
    "CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Links OomScoreAdj PidMode "
    "Privileged PublishAllPorts ReadonlyRootfs SecurityOpt StorageOpt Tmpfs UTSMode UsernsMode ShmSize Sysctls "
    "Runtime MaskedPaths ReadonlyPaths"
)
MOUNT = words("Target Source Type ReadOnly Consistency BindOptions VolumeOptions TmpfsOptions")
VOLUME = words("NoCopy Labels DriverConfig Subpath")
DRIVER = frozenset(("Name", "Options"))
NETWORKING = frozenset(("EndpointsConfig",))
ENDPOINT = words("IPAMConfig Links MacAddress Aliases DriverOpts NetworkID")

_LISTS = ("Binds", "VolumesFrom", "CapAdd", "CapDrop", "Devices", "DeviceRequests", "DeviceCgroupRules")
_MORE_LISTS = ("SecurityOpt", "Links", "Mounts", "MaskedPaths", "ReadonlyPaths", "GroupAdd")
_TEXTS = ("NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")
_MORE_TEXTS = ("VolumeDriver", "CgroupParent", "Runtime")
_SWITCHES = ("Privileged", "ReadonlyRootfs", "OomKillDisable")
_NUMBERS = ("Memory", "MemorySwap", "NanoCpus", "CpuQuota", "CpuPeriod", "PidsLimit")
OF_TEXTS = ("Binds", "VolumesFrom", "CapAdd", "CapDrop", "DeviceCgroupRules", "SecurityOpt", "Links")
_EXPECTED: dict[str, type] = {
    **dict.fromkeys(_LISTS + _MORE_LISTS, list),
    **dict.fromkeys(_TEXTS + _MORE_TEXTS, str),
    **dict.fromkeys(_SWITCHES, bool),
    **dict.fromkeys(_NUMBERS, int),
    **dict.fromkeys(("Sysctls", "Tmpfs"), dict),
}
_WORDS = {list: "a list", str: "text", bool: "true or false", int: "a whole number", dict: "an object"}


def parse(text: str | bytes) -> dict[str, Any]:
    """The one object of a request's body. Raises InvalidArgument for anything else, and for a key that is
    there twice."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"Expected one JSON object, found a fault: {exc}.") from exc
    if not isinstance(found, dict):
        raise InvalidArgument("Expected one JSON object, found another value.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keys of one object. Of names that people choose (labels, variables) two may differ in case alone: those are
    told from the API's own by `check`, which knows these by heart."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word}, which is no number")


def check(body: dict[str, Any]) -> Iterator[Violation]:
    """Every key that the judge does not know, and every value of another type than the Engine API says."""
    yield from _keys("", body, CREATE)
    for name in ("User", "Image"):
        yield from _type(name, body.get(name), str)
    host = body.get("HostConfig")
    yield from _type("HostConfig", host, dict)
    if isinstance(host, dict):
        yield from check_host(host)
    networking = body.get("NetworkingConfig")
    yield from _type("NetworkingConfig", networking, dict)
    if isinstance(networking, dict):
        yield from _networking(networking)


def check_host(host: dict[str, Any], known: frozenset[str] = HOST, prefix: str = "HostConfig.") -> Iterator[Violation]:
    yield from _keys(prefix, host, known)
    for name, expected in _EXPECTED.items():
        yield from _type(f"{prefix}{name}", host.get(name), expected)
    for name in OF_TEXTS:
        values = host.get(name)
        if isinstance(values, list) and not all(isinstance(each, str) for each in values):
            yield Violation(f"{prefix}{name}", "an entry that is no text", "a list of texts")
    mounts = host.get("Mounts")
    for number, mount in enumerate(mounts if isinstance(mounts, list) else []):
        yield from _mount(f"{prefix}Mounts[{number}]", mount)


def _mount(path: str, mount: object) -> Iterator[Violation]:
    if not isinstance(mount, dict):
        yield Violation(path, "no object", "an object")
        return
    yield from _keys(f"{path}.", mount, MOUNT)
    for name in ("Type", "Source", "Target"):
        yield from _type(f"{path}.{name}", mount.get(name), str)
    options = mount.get("VolumeOptions")
    yield from _type(f"{path}.VolumeOptions", options, dict)
    if not isinstance(options, dict):
        return
    yield from _keys(f"{path}.VolumeOptions.", options, VOLUME)
    driver = options.get("DriverConfig")
    yield from _type(f"{path}.VolumeOptions.DriverConfig", driver, dict)
    if isinstance(driver, dict):
        yield from _keys(f"{path}.VolumeOptions.DriverConfig.", driver, DRIVER)
        yield from _type(f"{path}.VolumeOptions.DriverConfig.Name", driver.get("Name"), str)
        yield from _type(f"{path}.VolumeOptions.DriverConfig.Options", driver.get("Options"), dict)


def _networking(networking: dict[str, Any]) -> Iterator[Violation]:
    yield from _keys("NetworkingConfig.", networking, NETWORKING)
    endpoints = networking.get("EndpointsConfig")
    yield from _type("NetworkingConfig.EndpointsConfig", endpoints, dict)
    for name, endpoint in (endpoints if isinstance(endpoints, dict) else {}).items():
        path = f"NetworkingConfig.EndpointsConfig.{name}"
        yield from _type(path, endpoint, dict)
        if isinstance(endpoint, dict):
            yield from _keys(f"{path}.", endpoint, ENDPOINT)
            yield from _type(f"{path}.Links", endpoint.get("Links"), list)
            yield from _type(f"{path}.DriverOpts", endpoint.get("DriverOpts"), dict)


def _keys(prefix: str, found: dict[str, Any], known: frozenset[str]) -> Iterator[Violation]:
    for key in found.keys() - known:
        yield Violation(f"{prefix}{key}"[:200], "a field that is not known", "those of the Engine API, spelled alike")


def _type(path: str, value: object, expected: type) -> Iterator[Violation]:
    """None is as good as absent. Of numbers, true is none."""
    if value is None or (isinstance(value, expected) and not (expected is int and isinstance(value, bool))):
        return
    yield Violation(path, type(value).__name__, _WORDS[expected])
