"""Why somebody may do something or may not, as far as the one who asks may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from containers.models import Container
from controlplane.access.decide import visible
from controlplane.access.explaining import Explanation, Line, explain
from controlplane.access.giving import manageable, managed
from controlplane.access.models import User
from hosts.models import Host
from images.models import ImageTag

Thing = Container | ImageTag | Host


@dataclass(frozen=True)
class Answer:
    """`lines`: what the person holds, of that which may be told: those that give it first, then the nearest miss."""

    allowed: bool
    sentence: str
    lines: tuple[Line, ...]


def things(user: User, kind: str) -> QuerySet[Any] | None:
    """The rows of `kind` ("container", "image", "host"; else None) that `user` may see and manages access to."""
    inside = managed(user)

    def there(verb: str, rows: QuerySet[Any], path: str) -> QuerySet[Any]:
        seen: QuerySet[Any] = visible(user, verb, rows)
        return seen if inside is None else seen.filter(**{f"{path}__in": inside})

    if kind == "container":
        rows = Container.objects.select_related("host__environment", "image_name")
        return there("container.see", rows, "host__environment")
    if kind == "image":
        tags = ImageTag.objects.select_related("host__environment", "image_name").exclude(reference="")
        return there("image.see", tags, "host__environment")
    return there("host.see", Host.objects.select_related("environment"), "environment") if kind == "host" else None


def answer(user: User, who: User, verb: str, thing: Thing | None) -> Answer:
    """Whether `who` may do `verb` to `thing` (None: to anything at all), and by what.

    What lies beyond what `user` manages is not told; that it decides on `thing`, which they manage, is.
    """
    found = explain(who, verb, thing)
    inside = managed(user)
    shown = set(
        manageable(user)
        .filter(pk__in=[line.grant.pk for line in found.lines if line.grant])
        .values_list("pk", flat=True)
    )

    def is_shown(line: Line) -> bool:
        return inside is None or line.grant is None or line.grant.pk in shown

    lines = tuple(line for line in found.lines if is_shown(line))
    seen = Explanation(found.actor, found.verb, lines, found.barred)
    sentence = seen.sentence(called(thing) if thing else "")
    if found.allowed and not seen.allowed and thing:
        sentence = f"{found.actor.display} may, by a grant that reaches beyond what you manage."
    elif len(lines) < len(found.lines) and not lines and not found.barred:
        sentence = f"{found.actor.display} may not: nothing that you manage gives it."
    return Answer((found if thing else seen).allowed, sentence, lines)


def called(thing: Thing) -> str:
    """A thing as one speaks of it."""
    if isinstance(thing, Host):
        return f"the host {thing.name}"
    return f"{thing.reference if isinstance(thing, ImageTag) else thing.name} (host {thing.host.name})"
