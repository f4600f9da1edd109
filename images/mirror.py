"""The mirror of images: listed again whenever an event says that something changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from controlplane.access.naming import intern
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.live import publish
from controlplane.lib.references import DEFAULT_DOMAIN, name_of, parse
from controlplane.lib.threads import in_thread
from hosts.engine import Engine
from hosts.models import Host
from hosts.watch.facts import number, text
from hosts.watch.mirrors import LIST_LIMIT, LIST_SECONDS, Event, register
from images.models import Image, ImageTag

MOST_NAMES = 500
NONE = "<none>"


def from_list(entry: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of Image and its references, from one entry of GET /images/json."""
    created = number(entry.get("Created"))
    labels = entry.get("Labels")
    names = [text(name, 300) for name in (entry.get("RepoTags") or [])[:MOST_NAMES]]
    digests = [text(name, 400) for name in (entry.get("RepoDigests") or [])[:MOST_NAMES]]
    fields = {
        "engine_id": text(entry.get("Id"), 100),
        "size": number(entry.get("Size")) or 0,
        "created_at": datetime.fromtimestamp(created, UTC) if created is not None and created < 2**33 else None,
        "repo_digests": sorted(name for name in digests if NONE not in name),
        "labels": {text(k, 200): text(v, 1000) for k, v in list(labels.items())[:200]}
        if isinstance(labels, dict)
        else {},
    }
    return fields, sorted({familiar(name) for name in names if name and NONE not in name})


def familiar(name: str) -> str:
    """One spelling over all engines: Podman prints docker.io/library/nginx:1 where Docker prints nginx:1."""
    if not name.startswith(f"{DEFAULT_DOMAIN}/"):
        return name
    try:
        return parse(name, default_tag="").familiar
    except InvalidArgument:
        return name


def split(reference: str) -> tuple[str, str]:
    """Repository and tag of a name as an engine prints it; a colon before a slash belongs to a port.

    Podman lists "repository@sha256:…" among the tags of an image that was pulled by digest.
    """
    if "@" in reference:
        return reference.partition("@")[0], ""
    repository, colon, tag = reference.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (reference, "")


class ImageMirror:
    """Follows the images of a host."""

    name = "images"

    def wants(self, event: Event) -> bool:
        kind, action = event.get("Type"), event.get("Action")
        return kind == "image" or (kind == "container" and action == "commit")

    async def apply(self, engine: Engine, host: Host, events: Sequence[Event]) -> None:
        await self.refresh(engine, host)

    async def refresh(self, engine: Engine, host: Host) -> None:
        found = await engine.get("/images/json", limit=LIST_LIMIT, timeout=LIST_SECONDS)
        entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
        await in_thread(_store, host, [entry for entry in entries if isinstance(entry.get("Id"), str)])


FIELDS = ("size", "created_at", "repo_digests", "labels")


def _store(host: Host, entries: Sequence[dict[str, Any]]) -> None:
    """Make the host's rows equal to `entries`."""
    wanted: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for entry in entries:
        fields, names = from_list(entry)
        wanted[fields["engine_id"]] = fields, names
    with transaction.atomic():
        known = {row.engine_id: row for row in Image.objects.select_for_update().filter(host=host)}
        gone = [row.pk for engine_id, row in known.items() if engine_id not in wanted]
        Image.objects.filter(pk__in=gone).delete()
        fresh = Image.objects.bulk_create(
            Image(host=host, **fields) for engine_id, (fields, _) in wanted.items() if engine_id not in known
        )
        changed = [row for row in known.values() if row.engine_id in wanted and _differs(row, wanted[row.engine_id][0])]
        Image.objects.bulk_update(changed, FIELDS, batch_size=200)
        kept = [row for row in known.values() if row.engine_id in wanted]
        renamed = _store_names(host, [*kept, *fresh], {key: names for key, (_, names) in wanted.items()})
        Image.objects.filter(host=host).update(observed_at=timezone.now())
        if gone or fresh or changed or renamed:
            publish("images", f"host.{host.pk}")


def _differs(row: Image, fields: dict[str, Any]) -> bool:
    different = [name for name in FIELDS if getattr(row, name) != fields[name]]
    for name in different:
        setattr(row, name, fields[name])
    return bool(different)


def _store_names(host: Host, images: Sequence[Image], names: dict[str, list[str]]) -> bool:
    """Make the host's tags equal; an image without a name keeps one row with an empty reference."""
    wanted = {(image.pk, name) for image in images for name in names[image.engine_id] or [""]}
    known = {(row.image_id, row.reference): row.pk for row in ImageTag.objects.filter(host=host)}
    gone = [pk for key, pk in known.items() if key not in wanted]
    ImageTag.objects.filter(pk__in=gone).delete()
    fresh = sorted(wanted - known.keys())
    rows = [_name_row(host, image_id, name) for image_id, name in fresh]
    names_known = intern(name_of(row.reference) for row in rows)
    for row in rows:
        row.image_name_id = names_known.get(name_of(row.reference))
    ImageTag.objects.bulk_create(rows)
    return bool(gone or fresh)


def _name_row(host: Host, image_id: int, reference: str) -> ImageTag:
    repository, tag = split(reference)
    return ImageTag(host=host, image_id=image_id, reference=reference, repository=repository, tag=tag[:130])


register(ImageMirror())
