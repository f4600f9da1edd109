"""What a grant covers now: images, containers and hosts, of those that the one who asks may see; and what they lack to
give it.

Five queries, however much there is: patterns are compared once with each name that occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Count, Model, Q, QuerySet

from containers.models import Container
from controlplane.access.decide import visible
from controlplane.access.giving import Extent, lacking
from controlplane.access.models import Role, User
from controlplane.access.patterns import Scope
from controlplane.access.roles import WHOLE_VERBS
from controlplane.access.wording import in_words
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.references import parse
from hosts.models import Host
from images.models import ImageTag

FIRST = 5
M = TypeVar("M", bound=Model)


@dataclass
class Coverage:
    """Counts, and the first few by name."""

    images: int = 0
    first_images: list[str] = field(default_factory=list)
    containers: int = 0
    first_containers: list[Container] = field(default_factory=list)
    hosts: int = 0
    first_hosts: list[Host] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.images or self.containers or self.hosts)


def cover(actor: User, scope: Scope, environments: Iterable[int] | None) -> Coverage:
    """What `scope` covers in `environments` (None: every one, and hosts in none) of what `actor` may see."""

    def there(verb: str, rows: QuerySet[M], path: str) -> QuerySet[M]:
        seen = visible(actor, verb, rows)
        return seen if environments is None else seen.filter(**{f"{path}__in": list(environments)})

    found = Coverage()
    tags = there("image.see", ImageTag.objects.filter(image_name__isnull=False), "host__environment")
    names = tags.order_by().values_list("image_name__repository", "image_name__tag").distinct()
    covered = sorted(name for name in names if scope.covers(*name))
    found.images, found.first_images = len(covered), [familiar(*name) for name in covered[:FIRST]]

    containers = there("container.see", Container.objects.all(), "host__environment")
    by_name = containers.order_by().values_list("image_name", "image_name__repository", "image_name__tag")
    groups = [
        (repository or "", tag or "", pk, count)
        for pk, repository, tag, count in by_name.annotate(count=Count("pk"))
        if scope.covers(repository or "", tag or "")
    ]
    found.containers = sum(count for *_, count in groups)
    found.first_containers = list(_of(containers, sorted(groups, key=lambda group: group[:2])))

    hosts = there("host.see", Host.objects.all(), "environment")
    found.hosts = hosts.count()
    found.first_hosts = list(hosts[:FIRST])
    return found


def _of(containers: QuerySet[Container], groups: Sequence[tuple[str, str, int | None, int]]) -> QuerySet[Container]:
    """The first few containers of the first few names."""
    wanted = Q(pk=None)
    for _, _, pk, _ in groups[:FIRST]:
        wanted |= Q(image_name=pk) if pk else Q(image_name__isnull=True)
    return containers.filter(wanted).select_related("host")[:FIRST]


def preview_of(
    actor: User,
    role: Role | None,
    repositories: Sequence[str] | None,
    tags: Sequence[str] | None,
    environments: frozenset[int] | None,
    until: datetime | None,
) -> dict[str, Any]:
    """A grant as far as it is said: in words, what it covers, and the rights that `actor` lacks to give it.

    `environments`: None for every one. `idle`: rights of the role that such a scope does not give.
    """
    found: dict[str, Any] = {"role": role, "is_anywhere": environments is None or bool(environments)}
    if repositories:
        found["repositories_said"] = in_words(repositories, "repository")
    if tags:
        found["tags_said"] = in_words(tags, "tag")
    if repositories and tags:
        scope = Scope(tuple(repositories), tuple(tags))
        found["coverage"] = cover(actor, scope, environments)
        if role:
            found["lacking"] = lacking(actor, Extent(role.known_verbs, scope, environments, until))
            found["idle"] = sorted(role.known_verbs & WHOLE_VERBS) if not scope.is_whole else []
    return found


def familiar(repository: str, tag: str) -> str:
    """As one types it: shop/web:dev-1. A name that an engine has said need not be one that we would read."""
    try:
        name = parse(repository).repository_familiar
    except InvalidArgument:
        name = repository
    return f"{name}:{tag}" if tag else name
