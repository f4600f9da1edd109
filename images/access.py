"""Fetching images with permission: the fetch is the check.

An image on a host is named `[HOST]|ENGINE ID|REFERENCE` in forms and links; without the host it means every host
that holds it. The mirror's own row ids are of no use there: a host that is listed again may get new ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from controlplane.access.decide import Actor, visible
from controlplane.access.reach import Place
from controlplane.lib.errors import NotSeen
from controlplane.lib.lists import row_ids
from controlplane.lib.references import name_of
from hosts.models import Host
from images.models import ImageTag

MOST_SELECTED = 500


def seen_by(actor: Actor) -> QuerySet[ImageTag]:
    """Every name of an image on a host that `actor` may see; a nameless image has one row."""
    return visible(actor, "image.see", ImageTag.objects.all())


def place_at(host: Host, reference: str, *, label: str = "") -> Place:
    """Where the image that `reference` names on `host` lies, whether it is there yet or not."""
    return Place(host.environment_id, (name_of(reference),), label=label or reference)


def key(tag: ImageTag, *, everywhere: bool = False) -> str:
    """How forms name `tag`; `everywhere`: on whatever host."""
    return f"{'' if everywhere else tag.host_id}|{tag.image.engine_id}|{tag.reference}"


def not_seen(text: str) -> NotSeen:
    """What to raise for a key that names nothing that is seen."""
    host, _, rest = text.replace("\0", "").partition("|")
    engine_id, _, reference = rest.partition("|")
    lookup = {"image__engine_id": engine_id, "reference": reference}
    return NotSeen("image.see", ImageTag, {"host": host, **lookup} if host else lookup)


def select(actor: Actor, keys: Iterable[str]) -> list[ImageTag]:
    """The seen rows that `keys` name, by reference and host; keys that name nothing are left out."""
    wanted = Q(pk=None)
    for text in list(keys)[:MOST_SELECTED]:
        if "\0" in text:  # PostgreSQL refuses to be asked for it
            continue
        host, _, rest = text.partition("|")
        engine_id, _, reference = rest.partition("|")
        match = Q(image__engine_id=engine_id, reference=reference)
        wanted |= match & Q(host_id__in=row_ids([host])) if host else match
    rows = seen_by(actor).filter(wanted).select_related("image", "image_name", "host", "host__environment")
    return list(rows.order_by("repository", "tag", "image__engine_id", "host__name"))
