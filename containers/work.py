"""The kinds of operation on containers. Each is one or a few calls of the Engine API."""

from __future__ import annotations

from typing import Any

from containers import committing, running, updating
from containers.models import Container
from controlplane.access.reach import Place
from controlplane.lib.errors import NotFound, NotModified
from controlplane.operations.kinds import Kind, OnLoss, register, subject
from controlplane.operations.models import Operation
from controlplane.operations.runner import Work
from hosts.working import engine_of

DEFAULT_STOP_SECONDS = 10
IN_THE_ENGINES_HANDS = "The engine has been told and finishes it by itself within seconds."


def _find(operation: Operation) -> Container | Place:
    found = Container.objects.filter(host=operation.host_id, engine_id=operation.target_id)
    return found.select_related("host", "image_name").first() or subject(operation)


async def _verb(work: Work, verb: str, done: str, timeout: float = 60, *, judged: bool = False, **query: Any) -> None:
    """`judged`: refused for a container that breaks rules of its environment."""
    async with engine_of(work) as engine:
        if judged:
            await running.require_standing(work, engine, work.operation.target_id, "container.start")
        path = f"/containers/{work.operation.target_id}/{verb}"
        try:
            await engine.post(path, timeout=timeout, **query)
        except NotModified:
            work.say("It was so already.")
    work.say(f"{work.operation.target_name} {done}.")


async def _start(work: Work) -> None:
    await _verb(work, "start", "runs", judged=True)


async def _stop(work: Work) -> None:
    """params: timeout, seconds until the engine kills it."""
    seconds = int(work.params.get("timeout", DEFAULT_STOP_SECONDS))
    work.say(f"Asked it to end; it is killed after {seconds} s.")
    await _verb(work, "stop", "has stopped", timeout=seconds + 60, t=seconds)


async def _restart(work: Work) -> None:
    seconds = int(work.params.get("timeout", DEFAULT_STOP_SECONDS))
    await _verb(work, "restart", "has restarted", timeout=seconds + 60, judged=True, t=seconds)


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


def _register(
    name: str, verb: str, run: Any, on_loss: OnLoss, note: str = IN_THE_ENGINES_HANDS, personal: tuple[str, ...] = ()
) -> None:
    register(
        Kind(name, verb=verb, run=run, on_loss=on_loss, cancel_note=note, find_target=_find, personal=personal),
    )


_register("container.start", "container.start", _start, OnLoss.REPEAT)
_register("container.stop", "container.stop", _stop, OnLoss.REPEAT)
_register("container.restart", "container.start", _restart, OnLoss.GIVE_UP)
_register("container.kill", "container.stop", _kill, OnLoss.GIVE_UP)
_register("container.pause", "container.stop", _pause, OnLoss.GIVE_UP)
_register("container.unpause", "container.start", _unpause, OnLoss.GIVE_UP)
_register("container.rename", "container.update", _rename, OnLoss.GIVE_UP)
_register("container.update", updating.VERB, updating.update, OnLoss.REPEAT)
_register("container.commit", committing.VERB, committing.commit, OnLoss.GIVE_UP)
_register("container.remove", "container.remove", _remove, OnLoss.REPEAT)
_register("container.run", "container.create", running.run, OnLoss.REPEAT, note="", personal=("login",))
