"""What the engine knows of one container: data only.

The row in the database is `Container.to_json()`; it is written before an answer that depends on it is given.
"""

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any, Self


class Status(enum.StrEnum):
    """Docker's states of a container. Which may follow which is in `lifecycle.py`."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass
class State:
    """How it is doing. Times are nanoseconds since the epoch, 0: never."""

    status: Status = Status.CREATED
    pid: int = 0
    pid_started: int = 0
    """The process's start time in clock ticks (/proc/PID/stat, field 22): tells it from another with its number."""
    conmon_pid: int = 0
    conmon_started: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    stopped_by_hand: bool = False
    """Somebody asked for it: `unless-stopped` and `always` then leave it alone."""
    paused_for_commit: bool = False
    """Frozen, or about to be, by a commit: the next engine lets it go on."""
    removes_volumes: bool = False
    """While it is being removed: its anonymous volumes go too."""
    health: str = ""
    """"", starting, healthy or unhealthy."""
    health_failing: int = 0
    health_log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether there is a process; a paused one counts, one between two attempts does not."""
        return self.status in (Status.RUNNING, Status.PAUSED)


@dataclass
class MountPoint:
    """One mount of a container as inspect shows it. `source` is the path on the host."""

    kind: str  # bind, volume, tmpfs
    source: str
    target: str
    name: str = ""  # of the volume
    writable: bool = True
    propagation: str = ""
    options: list[str] = field(default_factory=list)
    is_anonymous: bool = False
    no_copy: bool = False
    mode: str = ""
    """The options of a bind as given: ro,z."""


@dataclass
class Endpoint:
    """A container's place in one network. Empty addresses: not attached now."""

    network_id: str = ""
    aliases: list[str] = field(default_factory=list)
    wanted_ip: str = ""
    wanted_mac: str = ""
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    interface: str = ""
    """Its name on the host."""
    inner: str = ""
    """Its name in the container: eth0."""
    links: list[str] = field(default_factory=list)
    driver_options: dict[str, str] = field(default_factory=dict)


@dataclass
class Container:
    """One container. `config` and `host_config` are Docker's Config and HostConfig, defaults filled in."""

    id: str
    name: str
    image_id: str
    image: str
    """The reference as given at create."""
    created_at: int
    config: dict[str, Any]
    host_config: dict[str, Any]
    path: str = ""
    """Entrypoint's first word."""
    args: list[str] = field(default_factory=list)
    state: State = field(default_factory=State)
    restart_count: int = 0
    mounts: list[MountPoint] = field(default_factory=list)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """By network name."""
    ports: dict[str, list[dict[str, str]] | None] = field(default_factory=dict)
    """As inspect's NetworkSettings.Ports: {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}."""
    exec_ids: list[str] = field(default_factory=list)
    is_step: bool = False
    """Of a build: the next engine has no use for it."""

    @property
    def is_running(self) -> bool:
        return self.state.is_running

    @property
    def is_tty(self) -> bool:
        return bool(self.config.get("Tty"))

    @property
    def network_mode(self) -> str:
        """bridge, host, none, container:<id>, or a user network's name."""
        mode = str(self.host_config.get("NetworkMode") or "default")
        return "bridge" if mode == "default" else mode

    @property
    def labels(self) -> dict[str, str]:
        return self.config.get("Labels") or {}

    def to_json(self) -> dict[str, Any]:
        """What the database holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The inverse of `to_json`; fields a newer engine wrote are ignored."""
        values = _known(cls, found)
        values["state"] = State(**_known(State, found.get("state", {})))
        values["state"].status = Status(values["state"].status)
        values["mounts"] = [MountPoint(**_known(MountPoint, each)) for each in found.get("mounts", [])]
        values["endpoints"] = {
            name: Endpoint(**_known(Endpoint, each)) for name, each in found.get("endpoints", {}).items()
        }
        return cls(**values)


def _known(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    names = {each.name for each in dataclasses.fields(kind)}
    return {name: value for name, value in found.items() if name in names}
