"""The kinds of operation on images: pull, remove."""

from __future__ import annotations

from controlplane.operations.kinds import Kind, OnLoss, register
from controlplane.operations.runner import Work
from hosts.working import engine_of
from images.pulling import pull
from images.reference import parse


async def _pull(work: Work) -> None:
    """params: reference, login (sealed, optional)."""
    reference = parse(work.params["reference"])
    async with engine_of(work) as engine:
        await pull(work, engine, reference, work.params.get("login", ""))
        image = await engine.get(f"/images/{reference.familiar}/json")
    work.result["image_id"] = image["Id"]
    work.say(f"{work.host.name} has {reference.familiar} ({image['Id'][:19]}).")


async def _remove(work: Work) -> None:
    """params: reference (a name or an id), force."""
    async with engine_of(work) as engine:
        force = "true" if work.params.get("force") else "false"
        for line in await engine.delete(f"/images/{work.params['reference']}", force=force) or []:
            for word, name in line.items():
                work.say(f"{word}: {name}")


register(Kind("image.pull", verb="image.pull", run=_pull, on_loss=OnLoss.REPEAT, heavy=True))
register(
    Kind(
        "image.remove",
        verb="image.delete",
        run=_remove,
        cancel_note="The engine has been told to remove it and cannot be stopped half-way.",
    )
)
