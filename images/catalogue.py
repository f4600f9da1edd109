"""The list of images over all hosts: one row for each name and image, with the hosts that hold it and its users.

A page costs eight queries whatever the number of rows: how many, which, where, used by what (two), and what may be done
with which (three).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, F, Func, IntegerField, Max, OuterRef, QuerySet, Subquery, Sum, Window
from django.db.models.functions import Coalesce, RowNumber

from controlplane.access.decide import Actor, allows, visible
from hosts.models import Environment, Host
from images.access import seen_by
from images.models import ImageTag
from images.usage import users

# So many of a row are fetched and shown; the rest is a number.
MOST_HOSTS, MOST_USERS = 2, 2
# An image under several names may have its first users on hosts of another name: look a little further.
MOST_CANDIDATES = 20

GROUP = ("reference", "repository", "tag", "image__engine_id")


class User(NamedTuple):
    """Something made from the image: a container."""

    pk: int
    name: str


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
    hosts: list[Host] = field(default_factory=list)  # the first by name
    users: list[User] = field(default_factory=list)  # the first by name
    digest: str = ""  # "repository@sha256:…" of one without a name, when it was pulled
    can_run: bool = False
    can_pull: bool = False
    can_remove: bool = False

    @property
    def key(self) -> str:
        """How forms name it: see `access`."""
        return f"|{self.engine_id}|{self.reference}"

    @property
    def name(self) -> str:
        """The name without its tag. An image pulled by digest has the repository it came from."""
        return self.repository or self.digest.partition("@")[0]

    @property
    def more_hosts(self) -> int:
        return self.host_count - len(self.hosts)

    @property
    def more_users(self) -> int:
        return self.user_count - len(self.users)

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
    _add_users(found, tags, using)
    _add_rights(actor, found, tags)
    return found


def _add_rights(actor: Actor, found: list[Row], tags: QuerySet[ImageTag]) -> None:
    """What `actor` may do with an image, on one of its hosts at least."""
    for field_name, verb in (("can_run", "image.run"), ("can_pull", "image.pull"), ("can_remove", "image.delete")):
        may = visible(actor, verb, tags).order_by().values_list("image__engine_id", "reference").distinct()
        permitted = set(may) if allows(actor, verb) else set()
        for row in found:
            setattr(row, field_name, (row.engine_id, row.reference) in permitted)


def _without_id(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "image__engine_id"}


def _add_hosts(found: list[Row], tags: QuerySet[ImageTag]) -> None:
    by_key = {(row.engine_id, row.reference): row for row in found}
    place = Window(RowNumber(), [F("image__engine_id"), F("reference")], F("host__name").asc())
    first = tags.annotate(place=place).filter(place__lte=MOST_HOSTS).select_related("image", "host")
    for tag in first.order_by("host__name"):
        row = by_key.get((tag.image.engine_id, tag.reference))
        if row is not None:
            row.hosts.append(tag.host)
            if not row.reference:  # an image's digests tell its other names: of no use where it has one
                row.digest = row.digest or next(iter(tag.image.repo_digests or []), "")


def _add_users(found: list[Row], tags: QuerySet[ImageTag], using: QuerySet[Any]) -> None:
    """Users are tied to an image and a host, not to a name: each of the image's names there has them all."""
    place = Window(RowNumber(), [F("image_id")], [F("name").asc(), F("pk").asc()])
    columns = using.annotate(place=place).values("pk", "name", "host_id", "image_id", "place")
    first = list(columns.filter(place__lte=MOST_CANDIDATES).order_by("name", "pk"))
    near = tags.filter(host__in={user["host_id"] for user in first}).order_by()
    names = defaultdict(set)
    for engine_id, reference, host_id in near.values_list("image__engine_id", "reference", "host_id"):
        names[engine_id, host_id].add(reference)
    by_key = {(row.engine_id, row.reference): row for row in found}
    for user in first:
        for reference in names[user["image_id"], user["host_id"]]:
            row = by_key.get((user["image_id"], reference))
            if row is not None and len(row.users) < MOST_USERS:
                row.users.append(User(user["pk"], user["name"]))
