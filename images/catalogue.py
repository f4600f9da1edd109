"""The list of images over all hosts: one row for each name and image, with the hosts that hold it and its users.

A page costs four queries whatever the number of rows: how many, which, where, used by what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Func, IntegerField, Max, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from controlplane.access.decide import Actor
from hosts.models import Environment, Host
from images.access import seen_by
from images.models import ImageTag
from images.usage import users

GROUP = ("reference", "repository", "tag", "image__engine_id")


@dataclass
class Row:
    """One image under one name (none: `reference` is empty), on all the hosts that hold it so."""

    reference: str
    repository: str
    tag: str
    engine_id: str
    size: int  # bytes; the largest where engines differ
    created: datetime | None
    host_count: int
    user_count: int
    hosts: list[Host] = field(default_factory=list)
    users: list[Any] = field(default_factory=list)
    digest: str = ""  # "repository@sha256:…", when it was pulled

    @property
    def key(self) -> str:
        """How forms name it: see `access`."""
        return f"|{self.engine_id}|{self.reference}"

    @property
    def name(self) -> str:
        """The name without its tag. An image pulled by digest has the repository it came from."""
        return self.repository or self.digest.partition("@")[0]

    @property
    def short_id(self) -> str:
        return self.engine_id.removeprefix("sha256:")[:12]


def grouped(actor: Actor) -> QuerySet[ImageTag, dict[str, Any]]:
    """What `actor` may see, by name and image id, with `size`, `created`, `host_count` and `user_count`."""
    same = users(actor).filter(host_id=OuterRef("host_id"), image_id=OuterRef("image__engine_id"))
    counted = same.order_by().annotate(n=Func("pk", function="COUNT")).values("n")
    return (
        seen_by(actor)
        .annotate(used_there=Subquery(counted, output_field=IntegerField()))
        .values(*GROUP)
        .annotate(
            size=Max("image__size"),
            created=Max("image__created_at"),
            host_count=Count("host", distinct=True),
            user_count=Coalesce(Sum("used_there"), 0),
        )
    )


def rows(
    actor: Actor, groups: Iterable[dict[str, Any]], *, host: Host | None, environment: Environment | None
) -> list[Row]:
    """The groups of one page as rows with their hosts and users, of `host` or `environment` alone if given."""
    found = [Row(engine_id=group["image__engine_id"], **_without_id(group)) for group in groups]
    ids = {row.engine_id for row in found}
    tags = seen_by(actor).filter(image__engine_id__in=ids, reference__in={row.reference for row in found})
    using = users(actor).filter(image_id__in=ids)
    if host is not None:
        tags, using = tags.filter(host=host), using.filter(host=host)
    if environment is not None:
        tags = tags.filter(host__environment=environment)
        using = using.filter(host__environment=environment)
    _add_hosts(found, tags)
    _add_users(found, using)
    return found


def _without_id(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "image__engine_id"}


def _add_hosts(found: list[Row], tags: QuerySet[ImageTag]) -> None:
    by_key = {(row.engine_id, row.reference): row for row in found}
    for tag in tags.select_related("image", "host").order_by("host__name"):
        row = by_key.get((tag.image.engine_id, tag.reference))
        if row is not None:
            row.hosts.append(tag.host)
            row.digest = row.digest or next(iter(tag.image.repo_digests or []), "")


def _add_users(found: list[Row], using: QuerySet[Any]) -> None:
    by_image = defaultdict(list)
    for user in using.only("pk", "name", "state", "host", "image_id").order_by("name"):
        by_image[user.image_id].append(user)
    for row in found:
        held = {host.pk for host in row.hosts}
        row.users = [user for user in by_image[row.engine_id] if user.host_id in held]
