"""The types the fields of a request must have, as the specification gives them (ContainerConfig, HostConfig and so on).

Docker's decoder refuses anything else before it looks at the values; so do we, and what comes after may rely on it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gantry_agent.engine.errors import InvalidArgument

LONGEST = 16 << 10
"""Characters of a string of HostConfig: paths, names and options. More fills the pipe in which a runtime complains."""

Check = Callable[[str, Any], None]


def _is(kind: type, words: str) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidArgument(f"invalid JSON: {where} must be {words}, not {type(value).__name__}")

    return check


BOOL, INT, OBJECT = _is(bool, "true or false"), _is(int, "a whole number"), _is(dict, "an object")
_ANY_TEXT, _LIST = _is(str, "a string"), _is(list, "a list")


def TEXT(where: str, value: Any) -> None:
    """A string without a zero byte, which no path or name may hold."""
    _ANY_TEXT(where, value)
    if "\0" in value:
        raise InvalidArgument(f"{where} holds a zero byte")


def list_of(check: Check) -> Check:
    """A list whose every item passes."""

    def check_list(where: str, value: Any) -> None:
        _LIST(where, value)
        for number, item in enumerate(value):
            check(f"{where}[{number}]", item)

    return check_list


def map_of(check: Check | None) -> Check:
    """An object whose every value passes; None lets any through."""

    def check_map(where: str, value: Any) -> None:
        OBJECT(where, value)
        for key, item in value.items():
            if "\0" in key:
                raise InvalidArgument(f"{where} holds a zero byte")
            if check and item is not None:
                check(f"{where}[{key!r}]", item)

    return check_map


def shaped(fields: Mapping[str, Check]) -> Check:
    """An object whose known fields pass; null stands for a field not given."""

    def check_fields(where: str, value: Any) -> None:
        OBJECT(where, value)
        for name, check in fields.items():
            if value.get(name) is not None:
                check(f"{where}.{name}" if where else name, value[name])

    return check_fields


TEXTS, TEXT_MAP, SET = list_of(TEXT), map_of(TEXT), map_of(None)
_WEIGHTS = list_of(shaped({"Path": TEXT, "Weight": INT}))
_RATES = list_of(shaped({"Path": TEXT, "Rate": INT}))


def _words(where: str, value: Any) -> None:
    (TEXT if isinstance(value, str) else TEXTS)(where, value)


LIMITS: dict[str, Check] = {
    **dict.fromkeys(
        (
            *("Memory", "MemorySwap", "MemoryReservation", "MemorySwappiness", "KernelMemory", "NanoCpus", "PidsLimit"),
            *("CpuShares", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "BlkioWeight"),
        ),
        INT,
    ),
    **dict.fromkeys(("CpusetCpus", "CpusetMems", "CgroupParent"), TEXT),
    **dict.fromkeys(
        ("BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"), _RATES
    ),
    "BlkioWeightDevice": _WEIGHTS,
    "OomKillDisable": BOOL,
    "Devices": list_of(shaped(dict.fromkeys(("PathOnHost", "PathInContainer", "CgroupPermissions"), TEXT))),
    "DeviceCgroupRules": TEXTS,
    "Ulimits": list_of(shaped({"Name": TEXT, "Soft": INT, "Hard": INT})),
    "RestartPolicy": shaped({"Name": TEXT, "MaximumRetryCount": INT}),
}
_MOUNT = shaped(
    {
        **dict.fromkeys(("Type", "Source", "Target", "Consistency"), TEXT),
        "ReadOnly": BOOL,
        "BindOptions": shaped({"Propagation": TEXT, "NonRecursive": BOOL, "CreateMountpoint": BOOL}),
        "VolumeOptions": shaped(
            {
                "NoCopy": BOOL,
                "Labels": TEXT_MAP,
                "Subpath": TEXT,
                "DriverConfig": shaped({"Name": TEXT, "Options": TEXT_MAP}),
            }
        ),
        "TmpfsOptions": shaped({"SizeBytes": INT, "Mode": INT}),
    }
)
HOST: dict[str, Check] = {
    **LIMITS,
    **dict.fromkeys(
        (
            *("Binds", "CapAdd", "CapDrop", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "Links"),
            *("SecurityOpt", "VolumesFrom", "MaskedPaths", "ReadonlyPaths"),
        ),
        TEXTS,
    ),
    **dict.fromkeys(("Tmpfs", "Sysctls", "StorageOpt", "Annotations"), TEXT_MAP),
    "LogConfig": shaped({"Type": TEXT, "Config": TEXT_MAP}),
    "PortBindings": map_of(list_of(shaped({"HostIp": TEXT, "HostPort": TEXT}))),
    "Mounts": list_of(_MOUNT),
    "OomScoreAdj": INT,
    "ShmSize": INT,
    "Init": BOOL,
    **dict.fromkeys(("NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode", "Runtime", "Isolation"), TEXT),
}
ENDPOINT = shaped(
    {
        "IPAMConfig": shaped({"IPv4Address": TEXT, "IPv6Address": TEXT, "LinkLocalIPs": TEXTS}),
        "Aliases": TEXTS,
        "Links": TEXTS,
        "MacAddress": TEXT,
        "DriverOpts": TEXT_MAP,
    }
)
_HEALTH = shaped(
    {"Test": TEXTS, **dict.fromkeys(("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"), INT)}
)
CONFIG: dict[str, Check] = {
    **dict.fromkeys(("Image", "User", "WorkingDir", "Hostname", "Domainname", "StopSignal", "MacAddress"), TEXT),
    **dict.fromkeys(("Cmd", "Entrypoint"), _words),
    **dict.fromkeys(("Env", "Shell", "OnBuild"), TEXTS),
    **dict.fromkeys(("ExposedPorts", "Volumes"), SET),
    "Labels": TEXT_MAP,
    "Healthcheck": _HEALTH,
    "StopTimeout": INT,
    **dict.fromkeys(("Tty", "OpenStdin", "StdinOnce", "NetworkDisabled", "ArgsEscaped"), BOOL),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr"), BOOL),
}
CREATE: dict[str, Check] = {
    **CONFIG,
    "HostConfig": shaped(HOST),
    "NetworkingConfig": shaped({"EndpointsConfig": map_of(ENDPOINT)}),
}
_PLACE = shaped({**dict.fromkeys(("Subnet", "IPRange", "Gateway"), TEXT), "AuxiliaryAddresses": TEXT_MAP})
NETWORK: dict[str, Check] = {
    **dict.fromkeys(("Name", "Driver", "Scope"), TEXT),
    **dict.fromkeys(("CheckDuplicate", "Internal", "Attachable", "Ingress", "ConfigOnly", "EnableIPv4"), BOOL),
    "EnableIPv6": BOOL,
    "ConfigFrom": shaped({"Network": TEXT}),
    "IPAM": shaped({"Driver": TEXT, "Config": list_of(_PLACE), "Options": TEXT_MAP}),
    **dict.fromkeys(("Options", "Labels"), TEXT_MAP),
}
CONNECT: dict[str, Check] = {"Container": TEXT, "EndpointConfig": ENDPOINT, "Force": BOOL}


def check_create(body: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for a create request whose fields have other types than the API gives them."""
    shaped(CREATE)("", body)
    _check_lengths(body.get("HostConfig"))


def check_config(body: Mapping[str, Any]) -> None:
    """Raises InvalidArgument, as `check_create`, for the Config of a commit."""
    shaped(CONFIG)("", body)


def check_network(body: Mapping[str, Any]) -> None:
    """Raises InvalidArgument, as `check_create`, for a request to make a network."""
    shaped(NETWORK)("", body)


def check_connect(body: Mapping[str, Any]) -> None:
    """Raises InvalidArgument, as `check_create`, for a request to connect or disconnect."""
    shaped(CONNECT)("", body)


def check_update(body: Mapping[str, Any]) -> None:
    """Raises InvalidArgument, as `check_create`, for an update request."""
    shaped(LIMITS)("", body)
    _check_lengths(body)


def _check_lengths(found: Any) -> None:
    if isinstance(found, str) and len(found) > LONGEST:
        raise InvalidArgument(f"a string of HostConfig is longer than {LONGEST} characters: {found[:40]}…")
    if isinstance(found, dict):
        found = [*found, *found.values()]
    if isinstance(found, list):
        for each in found:
            _check_lengths(each)
