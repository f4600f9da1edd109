"""What changes a container, or ends it, beside its runs: rename, update, remove."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gantry_agent.engine.errors import Conflict, InvalidArgument
from gantry_agent.engine.runtime import cgroups
from gantry_agent.engine.runtime.spec import discards, resources

from . import names, running, settings, stopping, wire
from .model import Container, Status

if TYPE_CHECKING:
    from gantry_agent.engine.core import Engine

    from .manager import Containers

UPDATABLE = [
    "BlkioWeight",
    "CpuShares",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NanoCpus",
    "PidsLimit",
]


async def rename(engine: "Engine", containers: "Containers", container: Container, name: str) -> None:
    """See `Containers.rename`."""
    chosen = names.check(name)
    before = container.name
    if chosen == before:
        raise InvalidArgument("Renaming a container with the same name as its current name")
    async with containers.lock(container):
        with containers.roster.claim(chosen, container.id):
            container.name = chosen
            try:
                await containers.save(container)
            except BaseException:
                container.name = before
                raise
        containers.roster.release(before)
        await engine.networks.renamed(container)
    containers.tell(container, "rename", oldName=f"/{before}")


async def update(
    engine: "Engine", containers: "Containers", container: Container, body: Mapping[str, Any]
) -> list[str]:
    """See `Containers.update`."""
    wire.check_update(body)
    async with containers.lock(container):
        if container.state.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(
                f'Cannot update container {container.id}: Container is marked for removal and cannot be "update".'
            )
        changed = {name: body[name] for name in UPDATABLE if body.get(name)}
        if body.get("PidsLimit") is not None:
            changed["PidsLimit"] = body["PidsLimit"]  # 0 means something: no limit, as -1 does
        host = {**container.host_config, **changed}
        if "Memory" in changed and "MemorySwap" not in changed and 0 < host["MemorySwap"] < host["Memory"]:
            raise Conflict(
                "Memory limit should be smaller than already set memoryswap limit,"
                " update the memoryswap at the same time"
            )
        warnings = discards.discard(host)
        resources.check(host)
        if (policy := body.get("RestartPolicy")) and policy.get("Name"):
            if host["AutoRemove"] and policy["Name"] != "no":
                raise InvalidArgument(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container"
                )
            host["RestartPolicy"] = settings.restart_policy(policy)
        if container.is_running and changed:
            await containers.tools.runtime.update(container.id, resources.resources(host))
            if "PidsLimit" in changed and int(changed["PidsLimit"]) <= 0:
                await asyncio.to_thread(cgroups.lift_pids, container.id, str(host.get("CgroupParent") or ""))
        container.host_config = host
        await containers.save(container)
    containers.tell(container, "update")
    return warnings


async def remove(
    engine: "Engine", containers: "Containers", container: Container, *, force: bool, volumes: bool
) -> None:
    """See `Containers.remove`."""
    state = container.state
    if state.status is Status.REMOVING:
        raise Conflict(f"removal of container {container.id} is already in progress")
    if state.is_running and not force:
        what = "paused" if state.status is Status.PAUSED else "running"
        hint = "unpause and then stop" if what == "paused" else "stop"
        raise Conflict(
            f'cannot remove container "/{container.name}": container is {what}: {hint} the container before removing'
            " or force remove"
        )
    if state.status is Status.RESTARTING and not force:
        raise Conflict(
            f'cannot remove container "/{container.name}": container is restarting: stop the container before removing'
            " or force remove"
        )
    if state.status is Status.RESTARTING:
        await containers.stop(container)
    while True:
        while state.is_running:
            state.stopped_by_hand = True
            await stopping.kill_and_wait(containers, container)
        async with containers.lock(container):
            if containers.find(container.id) is not container:
                return  # --rm was quicker
            if container.is_running:
                if force:
                    continue  # a start that was under way has ended
                raise Conflict(f"container {container.id} was started meanwhile")
            await finish_removal(engine, containers, container, volumes=volumes)
            return


async def finish_removal(engine: "Engine", containers: "Containers", container: Container, *, volumes: bool) -> None:
    """Take away everything of a container, which the caller has locked; the next engine goes on if this one dies.

    `volumes`: its anonymous ones too. What fails leaves it DEAD: its removal may be asked for again.
    """
    state = container.state
    state.status, state.removes_volumes = Status.REMOVING, volumes
    try:
        await containers.save(container)
        await _take_away(engine, containers, container, volumes=volumes)
    except BaseException:
        state.status = Status.DEAD  # not saved: the next engine finds REMOVING and goes on
        raise


async def _take_away(engine: "Engine", containers: "Containers", container: Container, *, volumes: bool) -> None:
    await engine.networks.detach(container)
    await containers.roots.forget(container)
    shm = engine.layout.container(container.id) / "shm"
    if shm.exists():
        await running.end(engine, containers.tools, containers.roots, container)
    parent = str(container.host_config.get("CgroupParent") or "")
    await asyncio.to_thread(cgroups.remove, container.id, parent)
    away = await asyncio.to_thread(running.remove_folder, engine.layout.container(container.id), engine.layout.tmp)
    await engine.volumes.release(container, remove_anonymous=volumes)
    await containers.roster.remove(container)
    containers.tell(container, "destroy")
    containers.waiting.removed(container)
    if away:
        engine.spawn(_delete(away), f"deletion of {container.id[:12]}")
    collect_later(engine, container)


async def _delete(folder: Any) -> None:
    await asyncio.shield(asyncio.to_thread(running.delete_tree, folder))


def collect_later(engine: "Engine", container: Container) -> None:
    """Once a container is gone: an image without a name may have been kept for it alone."""
    if not engine.containers.roster.by_image(container.image_id):
        engine.spawn(_collect(engine), "collection")


async def _collect(engine: "Engine") -> None:
    if engine.store.images.hidden():
        await engine.store.collect()
