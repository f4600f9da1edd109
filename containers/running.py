"""Running a new container: the image behind its name first, then the rights and rules, then the engine.

What was judged is what runs: the container that the engine has made must have the image that was looked at.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from containers.held import gather, require_each
from controlplane.access.decide import require
from controlplane.lib.errors import Conflict, NotFound, NotModified
from controlplane.lib.references import Reference, parse
from controlplane.lib.seal import unseal
from controlplane.lib.threads import in_thread
from controlplane.operations.runner import Work
from hosts.engine import Engine, EngineError
from hosts.models import Host
from hosts.rules import shape
from hosts.rules.errors import refuse
from hosts.rules.facts import Facts, Violation
from hosts.rules.judge import judge, judge_exec, standing
from hosts.rules.models import rules_of
from hosts.working import engine_of
from images.access import place_at
from images.held import HeldImage, asker, held_image, parent_of, refuse_borrowed, whole_id
from images.pulling import pull

# Marks a container with the operation that made it, so that an operation repeated after its worker died finds
# the container it has already created instead of failing on its name. The operation's number alone would not do: a
# host may hold containers of another Gantry, or of this one before its database was made anew.
OPERATION_LABEL = "io.gantry.operation"


async def run(work: Work) -> None:
    """params: reference, name, body (sealed JSON of the Engine API's create), start, pull, login (sealed)."""
    reference = parse(work.params["reference"])
    await in_thread(_require, work, reference, "container.create", "image.run")
    async with engine_of(work) as engine:
        container_id = await _already_created(work, engine)
        work.result.setdefault("mark", secrets.token_hex(16))
        if container_id is None or "judged_image" not in work.result:
            image = await _image(work, engine, reference)
            body = await _judged(work, engine, reference, image)
            work.result["judged_image"] = image.id
            # Ends this run when another worker has taken the operation over, as it does from one that was asleep.
            await work.checkpoint()
            container_id = container_id or await _create(work, engine, body)
        await _compare(work, engine, container_id)
        work.result["container_id"] = container_id
        await work.made("container", container_id, work.params["name"] or container_id[:12])
        if work.params["start"]:
            await require_standing(work, engine, container_id, "container.create")
            await _start_created(work, engine, container_id)


def _require(work: Work, reference: Reference, *verbs: str) -> None:
    """Whoever asked for it was asked for their rights then; much may have changed while it waited."""
    actor, host = asker(work.operation)
    for verb in verbs:
        require(actor, verb, place_at(host, reference.familiar))


async def _image(work: Work, engine: Engine, reference: Reference) -> HeldImage:
    """The image that `reference` stands for on the host, pulled when it is missing or that was asked for.

    Raises RightMissing without the right to pull, and Conflict when the engine takes the words for another image.
    """
    try:
        found = None if work.params.get("pull") else await held_image(engine, reference.lookup)
        if found and reference.digest and not found.is_called(reference):
            raise _other_repository(work, reference)
    except NotFound:
        found = None
    if found is None:
        await in_thread(_require, work, reference, "image.pull")
        await pull(work, engine, reference, work.params.get("login", ""))
        found = await held_image(engine, reference.lookup)
    if not found.is_called(reference):
        raise (
            _other_repository(work, reference)
            if reference.digest
            else Conflict(
                f"{work.operation.host_name} has no image of the name {reference.familiar}: the engine found another.",
                "Give the image's whole name, with its registry.",
            )
        )
    return found


def _other_repository(work: Work, reference: Reference) -> Conflict:
    return Conflict(
        f"On {work.operation.host_name}, {reference.digest[:19]}… is not of the repository "
        f"{reference.repository_familiar}.",
        f"Pull {reference.lookup} there first: then its registry says that it is.",
    )


async def _judged(work: Work, engine: Engine, reference: Reference, image: HeldImage) -> dict[str, Any]:
    """The body that is sent, once rights and rules allow it."""
    body = {**shape.parse(unseal(work.params["body"])), "Image": reference.lookup}
    body["Labels"] = {**(body.get("Labels") or {}), OPERATION_LABEL: _label(work)}
    # The shape first: what looks things up below relies on it.
    await in_thread(_judge, work, body, Facts(image.facts(reference.familiar)), "container.create")
    body, facts, takes = await gather(engine, body, image.facts(reference.familiar))
    parent = await parent_of(engine, image)

    def decide() -> None:
        actor, host = asker(work.operation)
        refuse_borrowed(actor, host, reference, image, parent)
        require_each(actor, host, takes)
        _judge(work, body, facts, "container.create")

    await in_thread(decide)
    return body


def _judge(work: Work, body: dict[str, Any], facts: Facts, verb: str) -> None:
    host = work.operation.host
    if host is None:
        raise Conflict("The host that this was for has been removed.")
    refuse(verb, host, judge(rules_of(host.environment_id), body, facts), work.operation.target_name)


def _label(work: Work) -> str:
    return f"{work.operation.pk}.{work.result['mark']}"


async def _already_created(work: Work, engine: Engine) -> str | None:
    if "mark" not in work.result:  # it is written down before anything is created
        return None
    filters = {"label": [f"{OPERATION_LABEL}={_label(work)}"]}
    found = await engine.get("/containers/json", all=True, filters=filters)
    return found[0]["Id"] if found else None


async def _create(work: Work, engine: Engine, body: dict[str, Any]) -> str:
    query = {"name": work.params["name"]} if work.params["name"] else {}
    created = await engine.post("/containers/create", body, timeout=120, **query)
    for warning in created.get("Warnings") or []:
        work.say(warning, "stderr")
    work.say(f"Created {work.params['name'] or created['Id'][:12]}.")
    return str(created["Id"])


async def _compare(work: Work, engine: Engine, container_id: str) -> None:
    """Remove the container again, and raise Conflict, when its image is not the one that was judged."""
    judged = work.result.get("judged_image")
    found = await engine.get(f"/containers/{container_id}/json")
    made_of = whole_id(str(found.get("Image") or ""))
    if judged == made_of:
        return
    await engine.delete(f"/containers/{container_id}", timeout=120, force=True, v=True)
    raise Conflict(
        f"{work.params['reference']} came to stand for another image while its container was made: expected "
        f"{str(judged)[:19]}, found {made_of[:19]}. The container was removed; it never ran.",
        "Run it again: the image that it stands for now is judged then.",
    )


async def require_standing(work: Work, engine: Engine, container_id: str, verb: str) -> None:
    """Raise RulesBroken when the container, as the engine has it now, breaks rules of its environment."""
    host = work.operation.host
    if host:
        found = await standing_violations(host, engine, container_id)
        await in_thread(refuse, verb, host, found, work.operation.target_name)


async def standing_violations(
    host: Host,
    engine: Engine,
    container_id: str,
    *,
    shell_as: str | None = None,
    changed: dict[str, Any] | None = None,
) -> list[Violation]:
    """What the container breaks as the engine has it now; `shell_as`: and what a shell of this user in it would;
    `changed`: with these fields of its HostConfig instead."""
    rules = await in_thread(rules_of, host.environment_id)
    if rules.is_empty:
        return []
    found = await engine.get(f"/containers/{container_id}/json")
    config = found.get("Config")
    config = config if isinstance(config, dict) else {}
    try:
        image = await held_image(engine, str(found.get("Image") or ""))
    except NotFound:
        image = HeldImage(whole_id(str(found.get("Image") or "")), (), (), "", "")
    if changed:
        found = {**found, "HostConfig": {**found["HostConfig"], **changed}}
    body = standing(found)
    _, facts, _ = await gather(engine, body, image.facts(str(config.get("Image") or "")))
    violations = judge(rules, body, replace(facts, complete=False))
    if shell_as is not None:
        violations += judge_exec(rules, user=shell_as, privileged=False, user_of_container=body["User"])
    return violations


async def _start_created(work: Work, engine: Engine, container_id: str) -> None:
    try:
        await engine.post(f"/containers/{container_id}/start", timeout=120)
    except NotModified:
        pass  # An earlier attempt, whose worker died, has started it.
    except EngineError:
        work.say("It was created but could not be started; it is kept, so that nothing typed is lost.", "stderr")
        raise
    work.say("It runs.")
