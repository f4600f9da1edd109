"""Giving a container that is there other limits and another restart policy.

Only what differs from what the engine has is sent, and it is judged over that: an update takes no limit away that rules
ask for. A container that breaks rules is given no policy by which the engine would start it again.
"""

from __future__ import annotations

from typing import Any

from containers.limits import Changes
from containers.running import standing_violations
from controlplane.lib.errors import Conflict, NotFound
from controlplane.lib.threads import in_thread
from controlplane.operations.runner import Work
from hosts.engine import Engine
from hosts.models import Host
from hosts.rules.errors import refuse
from hosts.rules.judge import judge_update
from hosts.rules.models import rules_of
from hosts.working import engine_of

VERB = "container.update"


async def update(work: Work) -> None:
    """params: as `Changes`."""
    changes = Changes(**work.params)
    async with engine_of(work) as engine:
        found = await engine.get(f"/containers/{work.operation.target_id}/json")
        present = found.get("HostConfig")
        present = present if isinstance(present, dict) else {}
        body = changes.body(present)
        if not body:
            work.say("It was so already.")
            return
        await _judge(work, engine, body, present)
        for warning in await _send(work, engine, body):
            work.say(warning, "stderr")
    work.say(f"{work.operation.target_name} has other {_words(body)} now.")


async def _judge(work: Work, engine: Engine, body: dict[str, Any], present: dict[str, Any]) -> None:
    host = work.operation.host
    if host is None:
        raise Conflict("The host that this was for has been removed.")
    rules = await in_thread(rules_of, host.environment_id)
    violations = judge_update(rules, body, present)
    if not violations and body.get("RestartPolicy", {}).get("Name", "no") != "no":
        violations = await standing_violations(host, engine, work.operation.target_id, changed=body)
    await in_thread(refuse, VERB, host, violations, work.operation.target_name)


async def _send(work: Work, engine: Engine, body: dict[str, Any]) -> list[str]:
    """The engine's warnings. Raises Conflict where it knows no updates."""
    try:
        answer = await engine.post(f"/containers/{work.operation.target_id}/update", body, timeout=120)
    except NotFound as exc:  # the container itself has just been found
        raise Conflict(
            f"{_engine_name(work.operation.host)} does not change limits of a container that is there: expected an "
            "answer to POST /containers/ID/update, found 404.",
            "Duplicate the container with other limits, and remove this one. A newer version of the engine may do it.",
        ) from exc
    warnings = answer.get("Warnings") if isinstance(answer, dict) else None
    return [str(each) for each in warnings or []]


def _engine_name(host: Host | None) -> str:
    return f"{host.engine_kind.capitalize()} {host.engine_version} on {host.name}".replace("  ", " ") if host else ""


def _words(body: dict[str, Any]) -> str:
    names = {"Memory": "memory", "NanoCpus": "CPU", "CpuQuota": "CPU", "PidsLimit": "process"}
    changed = [f"{word} limits" for name, word in names.items() if name in body]
    return " and ".join([*changed, *(["restarts"] if "RestartPolicy" in body else [])])
