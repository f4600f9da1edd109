"""What GET /info says: the host's facts, what the engine holds, and its configuration."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

from gantry_agent import __version__

from . import host
from .containers.model import Status
from .core import Engine
from .identity import engine_id

HUB = "https://index.docker.io/v1/"


async def engine_facts(engine: Engine) -> dict[str, Any]:
    """The answer to GET /info, in Docker's shape."""
    system, version = host.operating_system()
    return {
        "ID": await engine_id(engine.database),
        **_contents(engine),
        **_storage(engine),
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["json-file"],
        },
        **host.limits(),
        "KernelMemoryTCP": False,
        "IPv4Forwarding": host.is_set("net", "ipv4", "ip_forward"),
        "BridgeNfIptables": host.is_set("net", "bridge", "bridge-nf-call-iptables"),
        "BridgeNfIp6tables": host.is_set("net", "bridge", "bridge-nf-call-ip6tables"),
        "Debug": False,
        "NFd": host.open_files(),
        "NGoroutines": len(asyncio.all_tasks()),
        "NEventsListener": engine.events.listeners,
        "SystemTime": host.now(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": host.cgroup_version(),
        "KernelVersion": os.uname().release,
        "OperatingSystem": system,
        "OSVersion": version,
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "NCPU": host.processors(),
        "MemTotal": host.memory(),
        "Name": host.hostname(),
        "Labels": [],
        "ServerVersion": __version__,
        "ExperimentalBuild": False,
        "IndexServerAddress": HUB,
        "RegistryConfig": _registries(engine),
        **await _runtimes(engine),
        **_constants(),
        "DefaultAddressPools": [
            {"Base": pool["base"], "Size": pool["size"]} for pool in engine.config.default_address_pools
        ],
        "Warnings": _warnings(engine) or None,
    }


def _contents(engine: Engine) -> dict[str, int]:
    counts = Counter(container.state.status for container in engine.containers.all())
    running, paused = counts[Status.RUNNING], counts[Status.PAUSED]
    return {
        "Containers": counts.total(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": counts.total() - running - paused,
        "Images": len(engine.store.images.all()),
    }


def _storage(engine: Engine) -> dict[str, Any]:
    """As Docker's overlay2 driver describes itself: that is what this is."""
    status = [
        ["Backing Filesystem", host.filesystem_of(engine.layout.root)],
        ["Supports d_type", "true"],
        ["Native Overlay Diff", "true"],
        ["userxattr", "false"],
    ]
    return {"Driver": "overlay2", "DriverStatus": status, "DockerRootDir": str(engine.layout.root)}


def _registries(engine: Engine) -> dict[str, Any]:
    config = engine.config
    ranges = [each for each in config.insecure_registries if "/" in each]
    mirrors = list(config.registry_mirrors)
    hub = {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}
    others = {
        name: {
            "Name": name,
            "Mirrors": config.registries.get(name, {}).get("mirrors", []),
            "Secure": name not in config.insecure_registries,
            "Official": False,
        }
        for name in (*config.registries, *config.insecure_registries)
        if "/" not in name
    }
    return {
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
        "InsecureRegistryCIDRs": list(dict.fromkeys([*ranges, "127.0.0.0/8"])),
        "IndexConfigs": {**others, "docker.io": hub},
        "Mirrors": mirrors,
    }


async def _runtimes(engine: Engine) -> dict[str, Any]:
    """The OCI runtimes that are installed, and the one in use."""
    versions = {name: await host.version_of(name) for name in ("crun", "runc")}
    programs = engine.containers.programs
    return {
        "Runtimes": {name: {"path": name} for name, version in versions.items() if version},
        "DefaultRuntime": programs.name if programs else "",
        "InitBinary": Path(programs.init).name if programs else "",
        "RuncCommit": {"ID": versions["runc"], "Expected": versions["runc"]},
    }


def _constants() -> dict[str, Any]:
    """What never changes here."""
    nothing = {"ID": "", "Expected": ""}
    is_unified = host.cgroup_version() == "2"
    return {
        "GenericResources": None,
        "HttpProxy": os.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
        "NoProxy": os.environ.get("NO_PROXY", ""),
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,  # containers outlive this process
        "Isolation": "",
        "ContainerdCommit": nothing,
        "InitCommit": nothing,
        "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=cgroupns"] if is_unified else [])],
        "ProductLicense": "",
        "CDISpecDirs": [],
    }


def _warnings(engine: Engine) -> list[str]:
    """What is missing here: limits that this host cannot set, in Docker's words, and parts of the engine."""
    words = {
        "MemoryLimit": "memory limit",
        "SwapLimit": "swap limit",
        "PidsLimit": "pids limit",
        "CPUShares": "cpu shares",
    }
    found = [f"WARNING: No {words[name]} support" for name, can in host.limits().items() if name in words and not can]
    return [*found, *([f"WARNING: {engine.containers.unavailable}"] if engine.containers.unavailable else [])]
