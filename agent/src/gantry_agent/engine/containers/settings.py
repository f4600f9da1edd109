"""Docker's Config and HostConfig: what a create request may say, its defaults, and what of the image it takes over."""

import re
from collections.abc import Mapping
from typing import Any

from gantry_agent.engine.errors import InvalidArgument, Unsupported
from gantry_agent.engine.runtime.processes import signal_number
from gantry_agent.engine.runtime.spec import capabilities, discards, document, mounts, process, resources

CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": None,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Healthcheck": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "NetworkDisabled": False,
    "MacAddress": "",
    "OnBuild": None,
    "Labels": None,
    "StopSignal": "",
    "StopTimeout": None,
    "Shell": None,
}
ONLY_WHEN_SET = ("ExposedPorts", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell")
HOST: dict[str, Any] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "default",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "private",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 64 << 20,
    "Runtime": "",
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": None,
    "BlkioDeviceReadBps": None,
    "BlkioDeviceWriteBps": None,
    "BlkioDeviceReadIOps": None,
    "BlkioDeviceWriteIOps": None,
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": False,
    "PidsLimit": None,
    "Ulimits": None,
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": None,
    "ReadonlyPaths": None,
}
OPTIONAL_HOST = ("Mounts", "Tmpfs", "Sysctls", "Init", "StorageOpt", "Annotations")
POLICIES = ("no", "always", "unless-stopped", "on-failure")


def config_of(body: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """A container's Config: what was asked for, and of the image what was not (Docker: runconfig, image merge).

    Raises InvalidArgument.
    """
    found = {name: _typed("Config", body, name, default) for name, default in CONFIG.items()}
    _check_words(found)
    for name in ("User", "WorkingDir", "StopSignal", "Shell"):
        found[name] = found[name] or image.get(name) or CONFIG[name]
    for name in ("ExposedPorts", "Volumes", "Labels"):
        merged = {**(image.get(name) or {}), **(found[name] or {})}
        found[name] = merged or ({} if name == "Labels" else None)
    given = list(found["Env"] or ())
    names = {each.partition("=")[0] for each in given}
    found["Env"] = given + [each for each in image.get("Env") or () if each.partition("=")[0] not in names]
    _merge_command(found, body, image)
    _merge_health(found, image)
    if found["StopSignal"]:
        signal_number(found["StopSignal"])
    if found["WorkingDir"]:
        # Relative folders were refused by Docker since 1.0; images may say "app" though, meaning /app.
        found["WorkingDir"] = process.working_folder(_absolute(body, found["WorkingDir"]))
    return {name: value for name, value in found.items() if value or name not in ONLY_WHEN_SET}


def host_config_of(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A container's HostConfig with its defaults, and warnings. Raises InvalidArgument, Conflict, Unsupported."""
    given = {} if body.get("HostConfig") is None else body["HostConfig"]
    if not isinstance(given, dict):
        raise InvalidArgument("HostConfig must be an object")
    found = {name: _typed("HostConfig", given, name, default) for name, default in HOST.items()}
    found |= {name: given[name] for name in OPTIONAL_HOST if given.get(name) is not None}
    found["LogConfig"] = {"Type": "json-file", "Config": {}, **_without_empty(found["LogConfig"])}
    found["RestartPolicy"] = restart_policy(found["RestartPolicy"], auto_remove=found["AutoRemove"])
    found["ShmSize"] = found["ShmSize"] or HOST["ShmSize"]
    found["IpcMode"] = found["IpcMode"] or HOST["IpcMode"]
    found["NetworkMode"] = found["NetworkMode"] or HOST["NetworkMode"]
    _check_modes(found)
    warnings = discards.discard(found)
    resources.check(found)
    _adapt(found)
    capabilities.chosen(found["CapAdd"] or (), found["CapDrop"] or (), privileged=False)
    process.rlimits(found["Ulimits"] or (), {})
    document.check(found)
    return found, warnings


def _adapt(host: dict[str, Any]) -> None:
    """What follows from the rest, where it was not said (Docker: daemon_unix.go, adaptContainerSettings)."""
    if host["Memory"] > 0 and host["MemorySwap"] == 0:
        host["MemorySwap"] = 2 * host["Memory"]
    host["CgroupnsMode"] = host["CgroupnsMode"] or mounts.cgroup_mode(host)


def restart_policy(given: Mapping[str, Any], *, auto_remove: bool = False) -> dict[str, Any]:
    """Raises InvalidArgument as Docker words it."""
    name, retries = str(given.get("Name") or "no"), int(given.get("MaximumRetryCount") or 0)
    if name not in POLICIES:
        raise InvalidArgument(f"invalid restart policy: unknown policy '{name}'; use one of '{', '.join(POLICIES)}'")
    if retries and name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if retries < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if auto_remove and name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    return {"Name": name, "MaximumRetryCount": retries}


def command_of(config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Path and Args. Raises InvalidArgument without any command."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not words:
        raise InvalidArgument("no command specified")
    return words[0], words[1:]


def _check_modes(host: Mapping[str, Any]) -> None:
    for name, allowed in (("UTSMode", ("", "host")), ("CgroupnsMode", ("", "host", "private"))):
        if host[name] not in allowed:
            raise InvalidArgument(f"invalid {name}: {host[name]}")
    if host["UsernsMode"] not in ("", "host"):
        raise InvalidArgument(f"invalid user namespace mode: {host['UsernsMode']}")
    pid = host["PidMode"]
    if pid not in ("", "host", "private") and not pid.startswith("container:"):
        raise InvalidArgument(f"invalid PID mode: {pid}")
    ipc = host["IpcMode"]
    if ipc not in ("none", "private", "shareable", "host") and not ipc.startswith("container:"):
        raise InvalidArgument(f"invalid IPC mode: {ipc}")
    if ".." in host["CgroupParent"].split("/"):
        raise InvalidArgument(f"invalid CgroupParent: {host['CgroupParent']}")
    if host["Isolation"] not in ("", "default"):
        raise InvalidArgument(f"invalid isolation '{host['Isolation']}' on linux")
    if host["DeviceRequests"]:
        raise Unsupported("this engine has no device drivers: DeviceRequests (--gpus) are not supported")
    if host["NetworkMode"].startswith("container:") and (host["PortBindings"] or host["PublishAllPorts"]):
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if host["LogConfig"]["Type"] not in ("json-file", "local", "k8s-file", "none", ""):
        raise InvalidArgument(f"logger: no log driver named '{host['LogConfig']['Type']}' is registered")
    options = host["LogConfig"]["Config"] or {}
    if (size := options.get("max-size")) and not re.fullmatch(r"-1|[1-9]\d{0,14}[bkmg]?b?", str(size).lower()):
        raise InvalidArgument(f"invalid value for max-size: {size!r}")
    if (files := options.get("max-file")) and not re.fullmatch(r"[1-9]\d{0,5}", str(files)):
        raise InvalidArgument(f"invalid value for max-file: {files!r}: at least 1 is needed")
    if host["Runtime"] not in ("", "crun", "runc", "io.containerd.runc.v2"):
        raise InvalidArgument(f"unknown or invalid runtime name: {host['Runtime']}")


def _check_words(config: dict[str, Any]) -> None:
    for name in ("Cmd", "Entrypoint"):
        if isinstance(config[name], str):
            config[name] = [config[name]]
    for name in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild"):
        value = config[name]
        if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise InvalidArgument(f"Config.{name} must be a list of strings")
        if any("\0" in each for each in value or ()):
            raise InvalidArgument(f"Config.{name} holds a zero byte")
    for each in config["Env"] or ():
        if not each or each.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {each}")


def _merge_command(found: dict[str, Any], body: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    if not found["Entrypoint"]:
        if not found["Cmd"]:
            found["Cmd"] = image.get("Cmd")
        if body.get("Entrypoint") is None:
            found["Entrypoint"] = image.get("Entrypoint")
    if found["Entrypoint"] == [""]:  # --entrypoint "": not the image's
        found["Entrypoint"] = None


def _merge_health(found: dict[str, Any], image: Mapping[str, Any]) -> None:
    own, theirs = found["Healthcheck"], image.get("Healthcheck")
    if own and theirs and own.get("Test") != ["NONE"]:
        found["Healthcheck"] = {**theirs, **{name: value for name, value in own.items() if value}}
    elif not own and theirs:
        found["Healthcheck"] = dict(theirs)
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        value = (found["Healthcheck"] or {}).get(name) or 0
        if 0 < value < 1_000_000 or value < 0:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if ((found["Healthcheck"] or {}).get("Retries") or 0) < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def _absolute(body: Mapping[str, Any], folder: str) -> str:
    if not folder.startswith("/"):
        if body.get("WorkingDir"):
            raise InvalidArgument(f"the working directory '{folder}' is invalid, it needs to be an absolute path")
        return f"/{folder}"
    return folder


def _typed(where: str, given: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of a key in the type it must have: null counts as not given. Raises InvalidArgument."""
    value = given.get(name)
    if value is None:
        return dict(default) if isinstance(default, dict) else list(default) if isinstance(default, list) else default
    kinds = {str: str, bool: bool, int: int, dict: dict, list: list}
    kind = kinds.get(type(default))
    if kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InvalidArgument(f"{where}.{name} must be of type {kind.__name__}, not {type(value).__name__}")
    return value


def _without_empty(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value}
