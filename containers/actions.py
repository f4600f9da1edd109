"""Verbs on containers that a person asks for. Each makes one operation, or one with a child for each container."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from containers.committing import VERB as COMMIT
from containers.committing import require_commit, violations_of
from containers.keeping import broken_by
from containers.limits import Changes
from containers.models import Container, ContainerState
from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.access.naming import intern_one
from controlplane.lib.errors import Conflict
from controlplane.lib.references import name_of
from controlplane.lib.seal import seal
from controlplane.operations import actions as operations
from controlplane.operations import kinds
from controlplane.operations.actions import Request
from controlplane.operations.models import Operation
from hosts.models import Host
from hosts.rules.errors import RulesBroken
from hosts.rules.facts import Facts, ImageFacts
from hosts.rules.judge import judge, judge_update
from hosts.rules.models import rules_of
from images.access import place_at

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


def refuse_unfit(verb: Verb, selected: Sequence[Container], *, all_of_them: bool = False) -> list[Container]:
    """Those of `selected` that `verb` fits. Raises Conflict when it fits none; with `all_of_them`, when not each."""
    fitting = [container for container in selected if verb.fits(container)]
    if not selected:
        raise Conflict("No container was selected.", "Select at least one, then try again.")
    if fitting and (len(fitting) == len(selected) or not all_of_them):
        return fitting
    states = ", ".join(sorted({each.shown_state for each in selected if each not in fitting}))
    what = "does not fit all of the containers: some" if fitting else "fits none of the selected containers: they"
    raise Conflict(f"“{verb.label}” {what} are {states}.", f"It fits: {', '.join(verb.states)}.")


def act(actor: User, verb: Verb, containers: Sequence[Container], *, ip: str | None, **params: Any) -> Operation:
    """Do `verb` to each: one operation, or a parent with children. Raises Refused on the first not allowed."""
    for container in containers:
        require(actor, verb.permission, container)
        if verb.name in ("start", "restart") and (found := broken_by(container)):
            raise RulesBroken(verb.permission, container.host, found, container.name)
    requests = [_request(verb, container, params) for container in containers]
    return operations.start_many(actor, f"{verb.label} {len(requests)} containers", requests, ip=ip)


def rename(actor: User, container: Container, name: str, *, ip: str | None) -> Operation:
    """Give a container another name."""
    require(actor, "container.update", container)
    request = _about(container, "container.rename", f"Rename {container.name} to {name}", {"name": name})
    return operations.start(actor, request, ip=ip)


def update(actor: User, container: Container, changes: Changes, *, ip: str | None) -> Operation:
    """Give a container other limits or another restart policy. Raises RightMissing, RulesBroken, InvalidArgument."""
    require(actor, "container.update", container)
    known = (container.settings or {}).get("HostConfig")
    if isinstance(known, dict):  # else the worker alone can tell
        found = judge_update(rules_of(container.host.environment_id), changes.body(known), known)
        if found:
            raise RulesBroken("container.update", container.host, found, container.name)
    title = f"Change limits of {container.name}"
    return operations.start(actor, _about(container, "container.update", title, changes.as_params()), ip=ip)


def commit(
    actor: User,
    container: Container,
    reference: str,
    *,
    comment: str = "",
    author: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
    ip: str | None = None,
) -> Operation:
    """Make an image of a container and call it `reference`. `changes`: instructions of a Dockerfile, kept sealed.

    Raises RightMissing, RulesBroken.
    """
    require_commit(actor, container, reference, pause=pause)
    if found := violations_of(container, reference, broken_by(container)):
        raise RulesBroken(COMMIT, container.host, found, reference)
    params = {
        "reference": reference,
        "comment": comment,
        "author": author,
        "changes": seal(json.dumps(list(changes))),
        "pause": pause,
    }
    request = _about(container, "container.commit", f"Commit {container.name} to {reference}", params)
    if name_of(reference) != name_of(container.image_ref):
        request = replace(request, image=None)  # whoever has a right to one of the two would read of the other
    return operations.start(actor, request, ip=ip)


def _request(verb: Verb, container: Container, params: dict[str, Any]) -> Request:
    return _about(container, verb.kind, f"{verb.label} {container.name}", params)


def _about(container: Container, kind: str, title: str, params: dict[str, Any]) -> Request:
    return Request(
        kind=kind,
        title=title,
        host=container.host,
        target=("container", container.engine_id, container.name),
        params=params,
        lane=container.lane,
        image=container.image_name_id,
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
    {"username", "password"} for the registry. Raises RightMissing, RulesBroken.
    """
    place = place_at(host, reference)
    for verb in ("container.create", "image.run", *(["image.pull"] if pull else [])):
        require(actor, verb, place)
    if found := judge(rules_of(host.environment_id), body, Facts(ImageFacts(*name_of(reference)))):
        raise RulesBroken("container.create", host, found, name or reference)
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
        image=intern_one(reference),
    )
    return operations.start(actor, request, ip=ip)
