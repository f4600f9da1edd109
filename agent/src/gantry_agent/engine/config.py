"""The engine's configuration file: JSON, every key optional, an unknown one an error.

{
  "registry-mirrors": ["https://mirror.example"],      asked before Docker Hub
  "insecure-registries": ["10.0.0.0/8", "shop:5000"],  HTTP, or HTTPS without verification, allowed; loopback always is
  "registries": {"shop:5000": {"ca": "/etc/ca.pem", "mirrors": ["http://10.0.0.2:5000"]}},
  "bridge": "gantry0",                                 the default network's interface
  "bip": "10.88.0.1/16",                               its address and subnet
  "default-address-pools": [{"base": "10.89.0.0/16", "size": 24}],  subnets of user networks
  "dns": ["10.0.0.1"],                                 instead of the host's own servers
  "default-ulimits": {"nofile": [1024, 524288]},       soft, hard; clamped to what the host allows
  "log-max-size": 52428800, "log-max-file": 3,         bytes and number of a container's logs
  "runtime": "crun",                                   or runc; default: whichever works here
  "max-concurrent-downloads": 4, "max-concurrent-uploads": 4,
  "max-layer-size": 34359738368,                       bytes one layer may unpack to
  "max-layer-entries": 5000000,                        files in one layer
  "max-layer-ratio": 200,                              bytes that may come out of a compressed one, beyond its first GiB
  "build-fetches": "public",                           where builds may download from: off, public addresses, any
  "build-cache-size": 21474836480,                     bytes of layers that builds keep for the next one
  "build-pids-limit": 4096,                            processes a step of a build may have at once
  "build-keep-free": 536870912                         bytes of the disk that builds leave free, or a twentieth
}
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import config_values
from .errors import InvalidArgument

MAX_FILE = 1 << 20  # bytes
CHOICES = {"build-fetches": ("off", "public", "any")}


@dataclass(frozen=True)
class Config:
    """The configuration, with its defaults."""

    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    registries: dict[str, dict[str, Any]] = field(default_factory=dict)
    bridge: str = "gantry0"
    bip: str = "10.88.0.1/16"
    default_address_pools: tuple[dict[str, Any], ...] = ({"base": "10.89.0.0/16", "size": 24},)
    dns: tuple[str, ...] = ()
    default_ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    log_max_size: int = 50 << 20
    log_max_file: int = 3
    runtime: str = ""
    max_concurrent_downloads: int = 4
    max_concurrent_uploads: int = 4
    max_layer_size: int = 32 << 30
    max_layer_entries: int = 5_000_000
    max_layer_ratio: int = 200
    build_fetches: str = "public"
    build_cache_size: int = 20 << 30
    build_pids_limit: int = 4096
    build_keep_free: int = 512 << 20


def load(path: Path | None) -> Config:
    """Read a configuration file; without one, the defaults. Raises InvalidArgument naming file and key."""
    if path is None:
        return Config()
    try:
        content = path.read_bytes()
        found = json.loads(content) if len(content) <= MAX_FILE else None
    except (OSError, ValueError) as exc:
        raise InvalidArgument(f"{path} cannot be read as JSON: {exc}.") from exc
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} must hold one JSON object of at most {MAX_FILE} bytes.")
    known = {field.name.replace("_", "-"): field for field in dataclasses.fields(Config)}
    values: dict[str, Any] = {}
    for key, value in found.items():
        if key not in known:
            raise InvalidArgument(f"{path}: unknown key {key!r}. Known keys: {', '.join(sorted(known))}.")
        values[known[key].name] = _checked(path, key, value)
    return Config(**values)


def _checked(path: Path, key: str, value: Any) -> Any:
    """The value in the type its field has. Raises InvalidArgument."""
    default = getattr(Config(), key.replace("-", "_"))
    expected = list if isinstance(default, tuple) else type(default)
    if not isinstance(value, expected) or isinstance(value, bool):
        raise InvalidArgument(f"{path}: {key} must be a {expected.__name__}, not {value!r}.")
    if key in CHOICES and value not in CHOICES[key]:
        raise InvalidArgument(f"{path}: {key} must be one of {', '.join(CHOICES[key])}, not {value!r}.")
    if isinstance(value, int) and value <= 0:
        raise InvalidArgument(f"{path}: {key} must be more than 0, not {value}.")
    try:
        config_values.check(key, value)
    except InvalidArgument as exc:
        raise InvalidArgument(f"{path}: {exc.message}.") from exc
    return tuple(value) if isinstance(value, list) else value
