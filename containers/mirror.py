"""The mirror of containers: rows made of the engine's list, corrected by its events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from containers.keeping import mark, settings_of
from containers.models import Container, ContainerState
from controlplane.access.naming import intern
from controlplane.lib.errors import NotFound
from controlplane.lib.live import publish
from controlplane.lib.references import name_of
from controlplane.lib.threads import in_thread
from hosts.engine import Engine
from hosts.models import Host
from hosts.watch.facts import number, text
from hosts.watch.mirrors import LIST_LIMIT, LIST_SECONDS, Event, register

# Labels longer than this are cut in the mirror: they are for finding and filtering, inspect shows them whole.
MOST_LABELS, LONGEST_KEY, LONGEST_VALUE = 200, 200, 1000
INSPECTED_AT_ONCE = 4
INSPECT_SECONDS = 5.0
# More changed containers than this in one batch are listed together instead of inspected one by one.
MOST_INSPECTED = 40

# Attach, exec, resize, top and the like change nothing that is shown.
QUIET = re.compile(r"^(exec_|attach|detach|resize|top|copy|archive-path|extract-to-dir|export|prune)")
EXITED = re.compile(r"Exited \((-?\d+)\)")
HEALTH = re.compile(r"\((healthy|unhealthy|health: starting)\)")

LISTED = (
    "name",
    "command",
    "state",
    "health",
    "exit_code",
    "ports",
    "labels",
    "labels_text",
    "mounts",
    "networks",
    "image_id",
)
INSPECTED = ("image_ref", "image_name", "started_at", "finished_at", "exit_code", "health", "settings", "breaks_rules")


def from_list(entry: dict[str, Any]) -> dict[str, Any]:
    """Fields of Container from one entry of GET /containers/json."""
    status = text(entry.get("Status"), 200)
    exited, health = EXITED.search(status), HEALTH.search(status)
    labels = _labels(entry.get("Labels"))
    state = text(entry.get("State"), 12).lower()
    return {
        "engine_id": text(entry.get("Id"), 64),
        "name": _name(entry),
        "command": text(entry.get("Command"), 2000),
        "state": _state(state),
        "health": health[1].removeprefix("health: ") if health else "",
        "exit_code": int(exited[1]) if exited and abs(int(exited[1])) < 2**31 else None,
        "ports": _ports(entry.get("Ports")),
        "labels": labels,
        "labels_text": "".join(f"\n{key}={value}" for key, value in sorted(labels.items())) + "\n",
        "mounts": _mounts(entry.get("Mounts")),
        "networks": sorted(text(name, 200) for name in _dict(_dict(entry.get("NetworkSettings")).get("Networks"))),
        "image_id": text(entry.get("ImageID"), 100),
        "image_ref": text(entry.get("Image"), 300),
        "created_at": _epoch(entry.get("Created")),
    }


def from_inspect(data: dict[str, Any]) -> dict[str, Any]:
    """Fields that only inspect tells: the reference it was created from, and its times."""
    state = _dict(data.get("State"))
    health = _dict(state.get("Health") or state.get("Healthcheck"))
    exit_code = state.get("ExitCode")
    status = _state(text(state.get("Status"), 12))
    ended = status in (ContainerState.EXITED, ContainerState.DEAD)
    word = text(health.get("Status"), 12)
    return {
        "image_ref": text(_dict(data.get("Config")).get("Image"), 300),
        "started_at": _time(state.get("StartedAt")),
        "finished_at": _time(state.get("FinishedAt")) if ended else None,
        "exit_code": exit_code if ended and isinstance(exit_code, int) and abs(exit_code) < 2**31 else None,
        "health": word if word in ("starting", "healthy", "unhealthy") else "",
        "settings": settings_of(data),
    }


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# Podman's own words for what Docker calls otherwise.
OTHER_WORDS = {
    "configured": ContainerState.CREATED,
    "initialized": ContainerState.CREATED,
    "stopped": ContainerState.EXITED,
    "stopping": ContainerState.RUNNING,
}


def _state(word: str) -> str:
    if word in ContainerState.values:
        return word
    return OTHER_WORDS.get(word, ContainerState.DEAD)


def _name(entry: dict[str, Any]) -> str:
    """The container's own name: links add names with a second slash."""
    names = [name for name in entry.get("Names") or [] if isinstance(name, str)]
    own = [name for name in names if name.count("/") <= 1] or names
    return text(own[0].lstrip("/"), 250) if own else text(entry.get("Id"), 64)[:12]


def _labels(value: object) -> dict[str, str]:
    kept = list(_dict(value).items())[:MOST_LABELS]
    return {text(key, LONGEST_KEY): text(label, LONGEST_VALUE) for key, label in kept}


def _ports(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    ports = [
        {
            "container": number(port.get("PrivatePort")),
            "host": number(port.get("PublicPort")) or None,
            "ip": text(port.get("IP"), 45),
            "protocol": text(port.get("Type"), 10),
        }
        for port in value[:500]
        if isinstance(port, dict)
    ]
    return sorted(ports, key=lambda p: (p["container"] or 0, p["protocol"], p["host"] or 0, p["ip"]))


def _mounts(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    mounts = [
        {
            "type": text(mount.get("Type"), 20),
            "source": text(mount.get("Name") or mount.get("Source"), 500),
            "target": text(mount.get("Destination"), 500),
            "writable": mount.get("RW") is not False,
        }
        for mount in value[:200]
        if isinstance(mount, dict)
    ]
    return sorted(mounts, key=lambda mount: mount["target"])


def _epoch(value: object) -> datetime | None:
    seconds = number(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and seconds < 2**33 else None


def _time(value: object) -> datetime | None:
    """RFC 3339 with nanoseconds; year 1 is Docker's "never"."""
    try:
        found = parse_datetime(text(value, 40))
    except ValueError:
        return None
    return found if found and found.tzinfo and found.year > 1 else None


class ContainerMirror:
    """Follows the containers of a host."""

    name = "containers"

    def wants(self, event: Event) -> bool:
        action = event.get("Action") or event.get("status")
        return event.get("Type") == "container" and isinstance(action, str) and not QUIET.match(action)

    async def refresh(self, engine: Engine, host: Host) -> None:
        entries = await _list(engine, None)
        incomplete = await in_thread(_store, host, entries, None)
        await self._complete(engine, host, incomplete)

    async def apply(self, engine: Engine, host: Host, events: Sequence[Event]) -> None:
        ids = sorted({text(_dict(event.get("Actor")).get("ID"), 64) for event in events} - {""})
        entries = await _list(engine, ids)
        await in_thread(_store, host, entries, ids)
        listed = [entry["Id"] for entry in entries]
        await self._complete(engine, host, listed[-MOST_INSPECTED:])

    async def _complete(self, engine: Engine, host: Host, ids: Sequence[str]) -> None:
        """Inspect each of `ids` for what the list does not tell; one that is gone meanwhile is left to its event."""
        turns = asyncio.Semaphore(INSPECTED_AT_ONCE)

        async def one(engine_id: str) -> tuple[str, dict[str, Any]] | None:
            async with turns:
                try:
                    data = await engine.get(f"/containers/{engine_id}/json", timeout=INSPECT_SECONDS)
                except NotFound:
                    return None
                return engine_id, from_inspect(_dict(data))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(engine_id)) for engine_id in ids]
        found = dict(result for task in tasks if (result := task.result()))
        if found:
            await in_thread(_store_inspected, host, found)


async def _list(engine: Engine, ids: Sequence[str] | None) -> list[dict[str, Any]]:
    """The engine's entries of `ids`, or of all. Entries without a proper id are dropped."""
    filters = {"id": list(ids)} if ids is not None else None
    found = await engine.get("/containers/json", limit=LIST_LIMIT, timeout=LIST_SECONDS, all=True, filters=filters)
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return [entry for entry in entries if re.fullmatch("[0-9a-f]{64}", str(entry.get("Id")))]


def _store(host: Host, entries: Iterable[dict[str, Any]], ids: Sequence[str] | None) -> list[str]:
    """Make the rows of `ids` (None: of the whole host) equal to `entries`; those not among them are removed.

    Returns the ids of rows that still lack what inspect tells.
    """
    wanted = {fields["engine_id"]: fields for fields in map(from_list, entries)}
    with transaction.atomic():
        rows = Container.objects.select_for_update().filter(host=host)
        if ids is not None:
            rows = rows.filter(engine_id__in=ids)
        known = {row.engine_id: row for row in rows}
        gone = [row.pk for engine_id, row in known.items() if engine_id not in wanted]
        Container.objects.filter(pk__in=gone).delete()
        fresh = [Container(host=host, **fields) for engine_id, fields in wanted.items() if engine_id not in known]
        _give_names(fresh)
        Container.objects.bulk_create(fresh)
        changed = [row for row in known.values() if row.engine_id in wanted and _differs(row, wanted[row.engine_id])]
        Container.objects.bulk_update(changed, LISTED, batch_size=200)
        rows.update(observed_at=timezone.now())
        if gone or fresh or changed:
            touched = [*gone, *(row.pk for row in changed)]
            publish("containers", *(f"container.{pk}" for pk in touched[:100]))
    incomplete = [row for row in (*fresh, *known.values()) if row.engine_id in wanted and _lacks(row)]
    return [row.engine_id for row in incomplete]


def _give_names(rows: Sequence[Container]) -> None:
    """Say by which name of an image each is found by those who have a right to that."""
    names = intern(name_of(row.image_ref) for row in rows)
    for row in rows:
        row.image_name_id = names.get(name_of(row.image_ref))


def _differs(row: Container, fields: dict[str, Any]) -> bool:
    """Take over what differs. The list's image name is not: an engine prints an id once the tag has moved on."""
    different = [name for name in LISTED if getattr(row, name) != fields[name]]
    for name in different:
        setattr(row, name, fields[name])
    return bool(different)


def _lacks(row: Container) -> bool:
    """Whether inspect would tell more: what it is made of, and since when it runs."""
    return row.settings is None or (row.state != ContainerState.CREATED and row.started_at is None)


def _store_inspected(host: Host, found: dict[str, dict[str, Any]]) -> None:
    with transaction.atomic():
        rows = Container.objects.select_for_update().filter(host=host, engine_id__in=found)
        changed = []
        for row in rows:
            fields = {name: value for name, value in found[row.engine_id].items() if value or name != "image_ref"}
            if any(getattr(row, name) != value for name, value in fields.items()):
                for name, value in fields.items():
                    setattr(row, name, value)
                changed.append(row)
        _give_names(changed)
        mark(changed, Host.objects.filter(pk=host.pk).values_list("environment", flat=True).first())
        Container.objects.bulk_update(changed, INSPECTED, batch_size=200)
        if changed:
            publish("containers", *(f"container.{row.pk}" for row in changed[:100]))


register(ContainerMirror())
