"""The kinds of operation on containers. Each is one or a few calls of the Engine API."""

from __future__ import annotations

import json
from typing import Any

from containers.models import Container
from controlplane.lib.errors import NotFound, NotModified
from controlplane.lib.seal import unseal
from controlplane.operations.kinds import Kind, OnLoss, register
from controlplane.operations.models import Operation
from controlplane.operations.runner import Work
from hosts.engine import Engine, EngineError
from hosts.working import engine_of
from images.pulling import has_image, pull
from images.reference import parse

# Marks a container with the operation that made it, so that an operation repeated after its worker died finds
# the container it has already created instead of failing on its name.
OPERATION_LABEL = "io.gantry.operation"

DEFAULT_STOP_SECONDS = 10
IN_THE_ENGINES_HANDS = "The engine has been told and finishes it by itself within seconds."


def _find(operation: Operation) -> Container | None:
    return Container.objects.filter(host=operation.host_id, engine_id=operation.target_id).first()


async def _verb(work: Work, verb: str, done: str, timeout: float = 60, **query: Any) -> None:
    async with engine_of(work) as engine:
        path = f"/containers/{work.operation.target_id}/{verb}"
        try:
            await engine.post(path, timeout=timeout, **query)
        except NotModified:
            work.say("It was so already.")
    work.say(f"{work.operation.target_name} {done}.")


async def _start(work: Work) -> None:
    await _verb(work, "start", "runs")


async def _stop(work: Work) -> None:
    """params: timeout, seconds until the engine kills it."""
    seconds = int(work.params.get("timeout", DEFAULT_STOP_SECONDS))
    work.say(f"Asked it to end; it is killed after {seconds} s.")
    await _verb(work, "stop", "has stopped", timeout=seconds + 60, t=seconds)


async def _restart(work: Work) -> None:
    seconds = int(work.params.get("timeout", DEFAULT_STOP_SECONDS))
    await _verb(work, "restart", "has restarted", timeout=seconds + 60, t=seconds)


async def _kill(work: Work) -> None:
    await _verb(work, "kill", "was killed", signal=work.params.get("signal", "KILL"))


async def _pause(work: Work) -> None:
    await _verb(work, "pause", "is paused")


async def _unpause(work: Work) -> None:
    await _verb(work, "unpause", "runs again")


async def _rename(work: Work) -> None:
    await _verb(work, "rename", f"is now called {work.params['name']}", name=work.params["name"])


async def _remove(work: Work) -> None:
    """params: force (a running one is killed first), volumes (its anonymous volumes go too)."""
    flags = {"force": bool(work.params.get("force")), "v": bool(work.params.get("volumes"))}
    async with engine_of(work) as engine:
        path = f"/containers/{work.operation.target_id}"
        try:
            await engine.delete(path, timeout=120, **flags)
        except NotFound:
            if work.operation.attempt == 1:
                raise
    work.say(f"{work.operation.target_name} is removed.")


async def _run(work: Work) -> None:
    """params: reference, name, body (sealed JSON of the Engine API's create), start, pull, login (sealed)."""
    reference = parse(work.params["reference"])
    async with engine_of(work) as engine:
        container_id = await _already_created(work, engine)
        if container_id is None:
            if work.params.get("pull") or not await has_image(engine, reference):
                await pull(work, engine, reference, work.params.get("login", ""))
            # Ends this run when another worker has taken the operation over, as it does from one that was asleep.
            await work.checkpoint()
            container_id = await _create(work, engine)
        work.result["container_id"] = container_id
        await work.made("container", container_id, work.params["name"] or container_id[:12])
        if work.params["start"]:
            await _start_created(work, engine, container_id)


async def _already_created(work: Work, engine: Engine) -> str | None:
    filters = {"label": [f"{OPERATION_LABEL}={work.operation.pk}"]}
    found = await engine.get("/containers/json", all=True, filters=filters)
    return found[0]["Id"] if found else None


async def _create(work: Work, engine: Engine) -> str:
    body = json.loads(unseal(work.params["body"]))
    body["Labels"] = {**body.get("Labels", {}), OPERATION_LABEL: str(work.operation.pk)}
    query = {"name": work.params["name"]} if work.params["name"] else {}
    created = await engine.post("/containers/create", body, timeout=120, **query)
    for warning in created.get("Warnings") or []:
        work.say(warning, "stderr")
    work.say(f"Created {work.params['name'] or created['Id'][:12]}.")
    return str(created["Id"])


async def _start_created(work: Work, engine: Engine, container_id: str) -> None:
    try:
        await engine.post(f"/containers/{container_id}/start", timeout=120)
    except NotModified:
        pass  # An earlier attempt, whose worker died, has started it.
    except EngineError:
        work.say("It was created but could not be started; it is kept, so that nothing typed is lost.", "stderr")
        raise
    work.say("It runs.")


def _register(name: str, verb: str, run: Any, on_loss: OnLoss, note: str = IN_THE_ENGINES_HANDS) -> None:
    register(Kind(name, verb=verb, run=run, on_loss=on_loss, cancel_note=note, find_target=_find))


_register("container.start", "container.start", _start, OnLoss.REPEAT)
_register("container.stop", "container.stop", _stop, OnLoss.REPEAT)
_register("container.restart", "container.start", _restart, OnLoss.GIVE_UP)
_register("container.kill", "container.stop", _kill, OnLoss.GIVE_UP)
_register("container.pause", "container.stop", _pause, OnLoss.GIVE_UP)
_register("container.unpause", "container.start", _unpause, OnLoss.GIVE_UP)
_register("container.rename", "container.update", _rename, OnLoss.GIVE_UP)
_register("container.remove", "container.remove", _remove, OnLoss.REPEAT)
_register("container.run", "container.create", _run, OnLoss.REPEAT, note="")
