"""Does what is asked for keep to an environment's rules? Pure: everything that is known comes in as values.

`judge` reads the body of POST /containers/create; the same of what a host says of a container that is there is made by
`standing`. `judge_update`, `judge_commit`, `judge_exec` and `judge_build` are the other doors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hosts.rules import shape
from hosts.rules.facts import Facts, ImageFacts, Violation
from hosts.rules.limits import limits
from hosts.rules.mounts import mounts
from hosts.rules.rules import Rules, capability

# Kubernetes' Pod Security Standards: those that are the container's own.
SAFE_SYSCTLS = shape.words(
    "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_unprivileged_port_start "
    "net.ipv4.ip_local_reserved_ports net.ipv4.tcp_syncookies net.ipv4.ping_group_range "
    "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl "
    "net.ipv4.tcp_keepalive_probes"
)
CONFINING = shape.words(
    "no-new-privileges no-new-privileges:true no-new-privileges=true seccomp=builtin apparmor=docker-default"
)
# What each of them may be; all else is the host's, another container's, or a path.
NAMESPACES = {
    "PidMode": ("pid", {"", "private"}),
    "IpcMode": ("ipc", {"", "private", "none", "shareable"}),
    "UTSMode": ("uts", {"", "private"}),
    "UsernsMode": ("user", {"", "private"}),
    "CgroupnsMode": ("cgroup", {"", "private"}),
}
DEVICES = ("Devices", "DeviceRequests", "DeviceCgroupRules")
RESTARTS = frozenset({"RestartPolicy"})
CONTAINER = "container:"


def judge(rules: Rules, body: dict[str, Any], facts: Facts) -> list[Violation]:
    """All that `rules` do not allow of a create request. Also what no rules allow: a request that engines may read
    otherwise than we do."""
    misshapen = list(shape.check(body))
    if misshapen:
        return misshapen
    host: dict[str, Any] = body.get("HostConfig") or {}
    return [
        *judge_image(rules, facts.image),
        *_privilege(rules, host),
        *_namespaces(rules, host, facts),
        *_networks(rules, body, facts),
        *mounts(rules, host, facts),
        *limits(rules, host),
        *_user(rules, body.get("User") or "", facts.image.user, "User"),
    ]


def judge_update(rules: Rules, body: dict[str, Any], host: dict[str, Any]) -> list[Violation]:
    """The body of POST /containers/ID/update over the HostConfig that the container has.

    For most fields engines take 0 for “as it is”; for PidsLimit it is no limit. A restart policy alone changes no
    limit, and no update the root.
    """
    misshapen = list(shape.check_host(body, shape.UPDATE, ""))
    changed = {name: value for name, value in body.items() if value or (name == "PidsLimit" and value is not None)}
    limited = {**host, **changed, "ReadonlyRootfs": True}
    return misshapen or [*_privilege(rules, body), *(limits(rules, limited) if changed.keys() - RESTARTS else ())]


def judge_commit(rules: Rules, image: ImageFacts) -> list[Violation]:
    """The name that a commit gives: an image that may not run there is not made there. Its digest is known to nobody
    yet, so that a line which pins digests does not cover it."""
    return judge_image(rules, replace(image, digests=frozenset()), "repo")


def judge_exec(rules: Rules, *, user: str, privileged: bool, user_of_container: str) -> list[Violation]:
    """The fields of POST /containers/ID/exec."""
    found = list(_user(rules, user, user_of_container, "User"))
    if rules.no_privileged and privileged:
        found.append(Violation("Privileged", "true", "false"))
    return found


def judge_build(rules: Rules, *, memory: int, nano_cpus: int, flags: Mapping[str, int]) -> list[Violation]:
    """Its limits, and `flags` as in `judge_flags`."""
    found = limits(rules, {"Memory": memory, "NanoCpus": nano_cpus, "PidsLimit": rules.pids}, "Options.")
    return [*found, *judge_flags(rules, flags)]


def judge_flags(rules: Rules, flags: Mapping[str, int]) -> list[Violation]:
    """`flags`: of RUN in a Dockerfile, as `--network=host`, with their lines. What a step may have otherwise is the
    engine's own default, which is confined."""
    found = []
    for flag, line in flags.items():
        name, _, value = flag.partition("=")
        if rules.own_namespaces and name == "--network" and value not in ("default", "none"):
            found.append(Violation(f"Dockerfile line {line}", flag, "--network=default or none"))
        if rules.no_privileged and name == "--security" and value != "sandbox":
            found.append(Violation(f"Dockerfile line {line}", flag, "--security=sandbox"))
        if rules.no_devices and name == "--device":
            found.append(Violation(f"Dockerfile line {line}", flag, "no devices"))
    return found


def judge_image(rules: Rules, image: ImageFacts, field: str = "Image") -> list[Violation]:
    """Whether one of the lines that say which images may run has it."""
    if not rules.images:
        return []
    named = [allowed for allowed in rules.images if allowed.scope.covers(image.repository, image.tag)]
    if any(not allowed.digests or image.digests is None or image.digests & {*allowed.digests} for allowed in named):
        return []
    if named:
        pinned = sorted({digest for allowed in named for digest in allowed.digests})
        return [Violation(field, f"{image.name} with another digest", _some(pinned))]
    return [Violation(field, image.name, _some(rules.images))]


def _some(values: Any, most: int = 6) -> str:
    shown = [str(each) for each in values]
    return "; ".join(shown[:most]) + (f"; and {len(shown) - most} more" if len(shown) > most else "")


def _privilege(rules: Rules, host: dict[str, Any]) -> Iterator[Violation]:
    if rules.no_privileged and host.get("Privileged"):
        yield Violation("HostConfig.Privileged", "true", "false")
    if rules.capabilities is not None:
        for word in host.get("CapAdd") or []:
            if capability(word) not in rules.capabilities:
                yield Violation("HostConfig.CapAdd", word, ", ".join(rules.capabilities) or "none")
    if rules.no_devices:
        for name in DEVICES:
            if host.get(name):
                yield Violation(f"HostConfig.{name}", f"{len(host[name])} of them", "none")
    if rules.confined:
        yield from _confinement(host)
    if rules.safe_sysctls:
        for name in host.get("Sysctls") or {}:
            if name not in SAFE_SYSCTLS:
                yield Violation("HostConfig.Sysctls", name, ", ".join(sorted(SAFE_SYSCTLS)))
    if rules.plain_runtime:
        for name in ("CgroupParent", "Runtime"):
            if host.get(name):
                yield Violation(f"HostConfig.{name}", host[name], "the engine’s own")


def _confinement(host: dict[str, Any]) -> Iterator[Violation]:
    for option in host.get("SecurityOpt") or []:
        if option not in CONFINING:
            yield Violation("HostConfig.SecurityOpt", option[:100], ", ".join(sorted(CONFINING)))
    for name in ("MaskedPaths", "ReadonlyPaths"):  # the docker CLI's systempaths=unconfined
        if host.get(name) is not None:
            yield Violation(f"HostConfig.{name}", "a list of one’s own", "the engine’s own")


def _namespaces(rules: Rules, host: dict[str, Any], facts: Facts) -> Iterator[Violation]:
    if not rules.own_namespaces:
        return
    for name, (kind, own) in NAMESPACES.items():
        mode = host.get(name) or ""
        if mode.startswith(CONTAINER):
            yield from _joined(f"HostConfig.{name}", mode, kind, facts)
        elif mode not in own:
            yield Violation(f"HostConfig.{name}", mode, "the container’s own")


def _networks(rules: Rules, body: dict[str, Any], facts: Facts) -> Iterator[Violation]:
    host: dict[str, Any] = body.get("HostConfig") or {}
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    if rules.own_namespaces:
        mode = host.get("NetworkMode") or ""
        if mode.startswith(CONTAINER):
            yield from _joined("HostConfig.NetworkMode", mode, "network", facts)
        elif _is_of_host(mode, facts) or ":" in mode:  # Podman's ns:/PATH
            yield Violation("HostConfig.NetworkMode", mode, "a network of the container’s own")
        for name, endpoint in endpoints.items():
            if any(_is_of_host(each, facts) for each in (name, (endpoint or {}).get("NetworkID") or "")):
                yield Violation("NetworkingConfig.EndpointsConfig", name, "a network of the container’s own")
    if rules.safe_sysctls:
        for name, endpoint in endpoints.items():
            if (endpoint or {}).get("DriverOpts"):
                yield Violation(f"NetworkingConfig.EndpointsConfig.{name}.DriverOpts", "options", "none")


def _is_of_host(network: str, facts: Facts) -> bool:
    """Engines find a network by its name, its id, or the beginning of that."""
    return bool(network) and any(
        each == network or (len(each) == 64 and each.startswith(network)) for each in facts.host_networks | {"host"}
    )


def _joined(path: str, mode: str, kind: str, facts: Facts) -> Iterator[Violation]:
    other = facts.others.get(mode.removeprefix(CONTAINER))
    if other is None:
        if facts.complete:
            yield Violation(path, f"{mode}, which is not there", "a container of this host")
        return
    if other.privileged:
        yield Violation(path, f"{mode}, which is privileged", "a container that keeps to the rules")
    if kind in other.open_to:
        yield Violation(path, f"{mode}, which is in the host’s {kind} namespace", "a container in one of its own")


def _user(rules: Rules, user: str, otherwise: str | None, path: str) -> Iterator[Violation]:
    """A name is no proof: the image says itself which number it stands for."""
    effective = user or otherwise
    if not rules.not_root or effective is None:
        return
    name = effective.partition(":")[0].strip()
    if not name:
        yield Violation(path, "root, as the image has no other", "a number other than 0")
    elif not (name.isascii() and name.isdecimal()):
        yield Violation(path, f"{name[:60]}, which may be anybody’s name", "a number other than 0")
    elif int(name[:20]) == 0:
        yield Violation(path, name[:60], "a number other than 0")


def standing(inspection: dict[str, Any]) -> dict[str, Any]:
    """What a host says of a container that is there, as the request that would make it. Only what rules speak of, and
    what engines fill in by themselves left out."""
    config, host = _dict(inspection.get("Config")), _dict(inspection.get("HostConfig"))
    kept = {name: host[name] for name in _JUDGED if host.get(name) not in (None, "", [], {}, 0, False)}
    if kept.get("Runtime") in _USUAL_RUNTIMES:
        del kept["Runtime"]
    if kept.get("CgroupParent") in _USUAL_PARENTS:
        del kept["CgroupParent"]
    for name in ("MaskedPaths", "ReadonlyPaths"):
        if host.get(name) == [] and not host.get("Privileged"):
            kept[name] = []
    return {"User": config.get("User") or "", "HostConfig": kept}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_JUDGED = (
    *("Privileged", "CapAdd", *DEVICES, "SecurityOpt", "Sysctls", "CgroupParent", "Runtime", "NetworkMode"),
    *(name for name in NAMESPACES if name != "CgroupnsMode"),  # the kernel's doing where nobody has said it
    *("Binds", "Mounts", "VolumesFrom", "VolumeDriver", "Tmpfs", "Memory", "MemorySwap", "NanoCpus", "CpuQuota"),
    *("CpuPeriod", "PidsLimit", "ReadonlyRootfs", "Links"),
)
_USUAL_RUNTIMES = ("runc", "crun", "oci", "io.containerd.runc.v2")
_USUAL_PARENTS = ("/docker", "system.slice", "machine.slice", "/libpod_parent", "libpod_parent")
