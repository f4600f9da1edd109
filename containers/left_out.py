"""What the form that runs a container cannot say of one that is there, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hosts.rules import shape

Object = dict[str, Any]
LONGEST = 120
MIB = 1024 * 1024

# What the form says.
_CARRIED = shape.words(
    "Binds Mounts PortBindings RestartPolicy AutoRemove NetworkMode Memory NanoCpus CpuQuota CpuPeriod PidsLimit "
    "ReadonlyRootfs"
)
# What engines choose themselves, or what says nothing of a container.
_OF_THE_ENGINE = shape.words("CgroupnsMode ConsoleSize MaskedPaths ReadonlyPaths Annotations")
# Of the others, what is as good as nothing.
_USUAL: dict[str, tuple[Any, ...]] = {
    "IpcMode": ("private", "shareable"),
    "PidMode": ("private",),
    "UTSMode": ("private",),
    "UsernsMode": ("private",),
    "Runtime": ("runc", "crun", "oci", "io.containerd.runc.v2"),
    "CgroupParent": ("/docker", "system.slice", "machine.slice", "/libpod_parent", "libpod_parent"),
    "ShmSize": (64 * MIB, 65_536_000),
    "MemorySwappiness": (-1,),
    "VolumeDriver": ("local",),
}
# Where Podman puts file systems in memory over a root that is read-only.
_PODMANS = {"/run", "/tmp", "/var/tmp"}
_WORDS = {
    "Privileged": "that it is privileged",
    "CapAdd": "added capabilities",
    "CapDrop": "dropped capabilities",
    "Devices": "devices of the host",
    "DeviceRequests": "requests for devices",
    "DeviceCgroupRules": "rules for devices",
    "SecurityOpt": "security options",
    "Sysctls": "sysctls",
    "Tmpfs": "file systems in memory",
    "VolumesFrom": "volumes of other containers",
    "Links": "links to other containers",
    "ExtraHosts": "further names of hosts",
    "Dns": "name servers",
    "DnsSearch": "search domains",
    "DnsOptions": "options of name servers",
    "GroupAdd": "further groups",
    "Ulimits": "ulimits",
    "LogConfig": "where its log goes",
    "ShmSize": "the size of /dev/shm",
    "PidMode": "the pid namespace",
    "IpcMode": "the ipc namespace",
    "UTSMode": "the uts namespace",
    "UsernsMode": "the user namespace",
    "CgroupParent": "the parent of its control group",
    "Runtime": "the runtime",
    "Init": "an init process",
    "MemoryReservation": "reserved memory",
    "MemorySwap": "the limit with swap",
    "OomKillDisable": "that it is not killed for want of memory",
    "OomScoreAdj": "its place among those that are",
    "CpuShares": "its share of the CPUs",
    "CpusetCpus": "the CPUs it is bound to",
    "CpusetMems": "the memory nodes it is bound to",
    "PublishAllPorts": "that every exposed port is published",
    "StorageOpt": "options of its storage",
}


def object_of(found: object, name: str) -> Object:
    """A host may say anything: what is none is an empty one."""
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, dict) else {}


def text_of(found: object, name: str) -> str:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def texts_of(found: object, name: str) -> list[str]:
    value = found.get(name) if isinstance(found, dict) else None
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def left_out(found: Object, of_image: Object) -> list[str]:
    """Each with what was found."""
    config, host = object_of(found, "Config"), object_of(found, "HostConfig")
    return [*_of_host(host), *_of_config(text_of(found, "Id"), config, host, of_image), *_networks(found, host)]


def _of_host(host: Object) -> Iterator[str]:
    for name in sorted(shape.HOST - _CARRIED - _OF_THE_ENGINE):
        value = host.get(name)
        if value in (None, "", [], {}, 0, False) or value in _USUAL.get(name, ()):
            continue
        if name == "LogConfig" and not object_of(host, name).get("Config"):
            continue
        if name == "Tmpfs" and host.get("ReadonlyRootfs") and not object_of(host, name).keys() - _PODMANS:
            continue
        if name == "MemorySwap" and value == 2 * (host.get("Memory") or 0):
            continue
        words = _WORDS.get(name, name)
        yield words if value is True else f"{words}: {_shown(value)}"
    for name in ("MaskedPaths", "ReadonlyPaths"):
        if host.get(name) == [] and not host.get("Privileged"):
            yield f"paths that are not masked ({name})"


def _of_config(ident: str, config: Object, host: Object, of_image: Object) -> Iterator[str]:
    mode = text_of(host, "NetworkMode")
    hostname = text_of(config, "Hostname")
    if hostname not in ("", ident[:12]) and mode != "host" and not mode.startswith("container:"):
        yield f"its host name: {_shown(hostname)}"
    if config.get("Domainname"):
        yield f"its domain name: {_shown(config['Domainname'])}"
    if config.get("OpenStdin") and not config.get("Tty"):
        yield "that its input is kept open without a terminal"
    for name, words in (("Healthcheck", "its health check"), ("Shell", "its shell")):
        if config.get(name) and config.get(name) != of_image.get(name):
            yield f"{words}: {_shown(config[name])}"
    usual = ("", "SIGTERM", "15", text_of(of_image, "StopSignal"))
    if str(config.get("StopSignal") or "") not in usual:
        yield f"the signal that stops it: {_shown(config['StopSignal'])}"
    if config.get("StopTimeout") not in (None, 0, 10):
        yield f"the time it has to stop: {_shown(config['StopTimeout'])} s"
    published = object_of(host, "PortBindings").keys()
    exposed = object_of(config, "ExposedPorts").keys() - object_of(of_image, "ExposedPorts").keys() - published
    if exposed:
        yield f"ports that are exposed and not published: {', '.join(sorted(exposed))[:LONGEST]}"


def _networks(found: Object, host: Object) -> Iterator[str]:
    networks = object_of(object_of(found, "NetworkSettings"), "Networks")
    mode = text_of(host, "NetworkMode")
    own = {mode, "bridge", "podman"} if mode in ("", "default", "bridge") else {mode}
    idents = {name for name, each in networks.items() if mode and text_of(each, "NetworkID") == mode}
    further = sorted(networks.keys() - own - idents)
    if further and not mode.startswith("container:"):
        yield f"further networks: {', '.join(further)[:LONGEST]}"
    for name, each in sorted(networks.items()):
        if any(object_of(each, "IPAMConfig").values()):
            yield f"its own address in {name[:60]}"


def _shown(value: object) -> str:
    text = _words(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _words(value: object) -> str:
    """Lists and objects without the brackets that only programs like."""
    if isinstance(value, list):
        between = "; " if any(isinstance(each, dict) for each in value) else ", "
        return between.join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={_words(each)}" for name, each in value.items())
    return "" if value is None else str(value)
