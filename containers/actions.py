"""Verbs on containers that a person asks for. Each makes one operation, or one with a child for each container."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from containers.models import Container, ContainerState
from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.lib.seal import seal
from controlplane.operations import actions as operations
from controlplane.operations import kinds
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host

RUNNING = (ContainerState.RUNNING, ContainerState.RESTARTING)
IDLE = (ContainerState.CREATED, ContainerState.EXITED, ContainerState.DEAD)


@dataclass(frozen=True)
class Verb:
    """One thing to do to a container: its word on a button, and the states in which it makes sense."""

    name: str
    label: str
    icon: str
    states: tuple[str, ...]
    destructive: bool = False

    @property
    def kind(self) -> str:
        return f"container.{self.name}"

    @property
    def permission(self) -> str:
        return kinds.get(self.kind).verb

    def fits(self, container: Container) -> bool:
        """Whether it makes sense in the container's present state. Nothing fits an unknown one."""
        return container.is_known and container.state in self.states


VERBS = {
    verb.name: verb
    for verb in (
        Verb("start", "Start", "play", IDLE),
        Verb("stop", "Stop", "stop", (*RUNNING, ContainerState.PAUSED)),
        Verb("restart", "Restart", "restart", (*RUNNING, *IDLE, ContainerState.PAUSED)),
        Verb("kill", "Kill", "kill", (*RUNNING, ContainerState.PAUSED), destructive=True),
        Verb("pause", "Pause", "pause", (ContainerState.RUNNING,)),
        Verb("unpause", "Unpause", "play", (ContainerState.PAUSED,)),
        Verb("remove", "Remove", "trash", tuple(ContainerState.values), destructive=True),
    )
}


def act(actor: User, verb: Verb, containers: Sequence[Container], *, ip: str | None, **params: Any) -> Operation:
    """Do `verb` to each: one operation, or a parent with children. Raises Forbidden on the first not allowed."""
    for container in containers:
        require(actor, verb.permission, container)
    requests = [_request(verb, container, params) for container in containers]
    return operations.start_many(actor, f"{verb.label} {len(requests)} containers", requests, ip=ip)


def rename(actor: User, container: Container, name: str, *, ip: str | None) -> Operation:
    """Give a container another name."""
    require(actor, "container.update", container)
    request = Request(
        kind="container.rename",
        title=f"Rename {container.name} to {name}",
        host=container.host,
        target=("container", container.engine_id, container.name),
        params={"name": name},
        lane=container.lane,
    )
    return operations.start(actor, request, ip=ip)


def _request(verb: Verb, container: Container, params: dict[str, Any]) -> Request:
    return Request(
        kind=verb.kind,
        title=f"{verb.label} {container.name}",
        host=container.host,
        target=("container", container.engine_id, container.name),
        params=params,
        lane=container.lane,
    )


def run(
    actor: User,
    host: Host,
    *,
    reference: str,
    name: str,
    body: dict[str, Any],
    start: bool,
    pull: bool = False,
    login: dict[str, str] | None = None,
    ip: str | None = None,
) -> Operation:
    """Create a container on `host`, pulling its image when it is missing, and start it unless told not to.

    `pull`: ask the registry also when the host has the image, for there may be a newer one under its name.

    `body`: the Engine API's create request; kept sealed, since its environment may hold secrets. `login`:
    {"username", "password"} for the registry.
    """
    require(actor, "container.create", host)
    params = {
        "reference": reference,
        "name": name,
        "body": seal(json.dumps(body)),
        "start": start,
        "pull": pull,
        "login": seal(json.dumps(login)) if login else "",
    }
    request = Request(
        kind="container.run",
        title=f"{'Run' if start else 'Create'} {name or reference}",
        host=host,
        target=("image", reference, name or reference),
        params=params,
    )
    return operations.start(actor, request, ip=ip)
