"""The kinds of operation on images: pull, remove."""

from __future__ import annotations

from typing import Any

from controlplane.lib.errors import Conflict, NotFound
from controlplane.lib.references import name_of, parse
from controlplane.operations.kinds import Kind, OnLoss, register
from controlplane.operations.runner import Work
from hosts.engine import Engine, segment
from hosts.working import engine_of
from images.pulling import pull

RUNNING = ("running", "paused", "restarting")
MOST_NAMED = 5


async def _pull(work: Work) -> None:
    """params: reference, login (sealed, optional)."""
    reference = parse(work.params["reference"])
    async with engine_of(work) as engine:
        image_id = await pull(work, engine, reference, work.params.get("login", ""))
    work.result["image_id"] = image_id
    work.say(f"{work.operation.host_name} has {reference.familiar} ({image_id[:19]}).")


async def _remove(work: Work) -> None:
    """params: reference (a name or an id), force (also when stopped containers use it, or it has other names)."""
    name = str(work.params["reference"])
    force = bool(work.params.get("force"))
    async with engine_of(work) as engine:
        if force:
            await _refuse_running(work, engine, name)
        try:
            removed = await engine.delete(f"/images/{segment(name)}", timeout=300, force=force)
        except Conflict:
            await _refuse_used(engine, name)
            raise
        except NotFound:
            if work.operation.attempt == 1:
                raise
            removed = []
    for line in removed or []:
        for word, what in line.items():
            work.say(f"{word}: {what}")
    work.say(f"{work.operation.host_name} has {name} no longer.")


async def _refuse_running(work: Work, engine: Engine, name: str) -> None:
    """Raise Conflict when running containers use the image.

    Docker refuses that itself; Podman would kill and remove them. Stopped ones Docker leaves alone, and Podman
    removes them with the image, which is said in the output.
    """
    using = await _users(engine, name)
    running = [each for each in using if each["State"] in RUNNING]
    if running:
        raise Conflict(
            f"{name} is {_used_by(running, name)}.",
            "Stop and remove them first: the image of a running container is not removed, not even by force.",
        )
    if using:
        work.say(f"It is {_used_by(using, name)}, not running. Podman removes such containers too, Docker keeps them.")


async def _refuse_used(engine: Engine, name: str) -> None:
    """Raise Conflict that names who uses the image; return when nobody does: the engine has another reason."""
    using = await _users(engine, name)
    if using:
        running = any(each["State"] in RUNNING for each in using)
        raise Conflict(
            f"{name} is {_used_by(using, name)}.",
            "Stop and remove them first."
            if running
            else "Remove them first, or remove the image by force: none of them is running.",
        )


async def _users(engine: Engine, name: str) -> list[dict[str, Any]]:
    """The containers made from the image, whatever their state."""
    found = await engine.get("/containers/json", all=True, filters={"ancestor": [name]})
    return list(found or [])


def _used_by(containers: list[dict[str, Any]], name: str) -> str:
    """In words. Whoever reads of the operation sees what was made from the image by this name; its other names, and
    what was made by those, may be nothing for them."""
    wanted = name_of(name)
    named = [each for each in containers if not wanted[0] or name_of(str(each.get("Image", ""))) == wanted]
    return f"used by {_named(named)}" if named else "in use"


def _named(containers: list[dict[str, Any]]) -> str:
    names = [each["Names"][0].removeprefix("/") for each in containers[:MOST_NAMED]]
    more = len(containers) - len(names)
    words = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{'container' if len(containers) == 1 else 'containers'} {words}"


register(
    Kind("image.pull", verb="image.pull", run=_pull, on_loss=OnLoss.REPEAT, heavy=True, personal=("login",)),
)
register(
    Kind(
        "image.remove",
        verb="image.delete",
        run=_remove,
        on_loss=OnLoss.REPEAT,
        cancel_note="The engine has been told to remove it and cannot be stopped half-way.",
    )
)
