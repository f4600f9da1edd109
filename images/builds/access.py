"""What a build takes beyond the right to build on a host: a right to each name it gives, and to each image it uses;
and what of builds somebody sees."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from controlplane.access.decide import Actor, allows, fetch, require, visible
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.references import name_of
from hosts.access import environments
from hosts.models import Host
from images.access import place_at
from images.builds.asked import Options
from images.builds.models import Build, Credential, Definition
from images.builds.naming import is_plain

EVERY_NAME = "every name that it gives"


def require_name(actor: User, host: Host, tag: str, *, push: bool, label: str = "") -> None:
    """Raise RightMissing unless `actor` may build `tag` on `host`, and push it, if it will be."""
    for verb in ("image.build", "image.push") if push else ("image.build",):
        require(actor, verb, place_at(host, tag, label=label))


def name_for(actor: User, host: Host, tag: str) -> str:
    """What a refusal calls a name that `actor` has not typed: they may not see it."""
    return tag if names_seen(actor, host, [tag]) else EVERY_NAME


def require_every_name(actor: User, definition: Definition) -> None:
    """Raise RightMissing unless `actor` may build all that `definition` does, or saved it last themselves.

    To change it is to read all its names, and its webhook builds them with its owner's rights.
    """
    if definition.owner_id == actor.pk and not actor.is_narrowed:
        return
    options = Options.of_json(definition.options)
    environment = definition.host.environment_id if definition.host else None
    for tag in filter(is_plain, options.tags):
        place = Place(environment, (name_of(tag),), label=f"every name that {definition} gives")
        for verb in ("image.build", "image.push") if options.push else ("image.build",):
            require(actor, verb, place)


def builds(actor: Actor) -> QuerySet[Build]:
    """Every build `actor` may see."""
    return visible(actor, "image.see", Build.objects.all())


def definitions(actor: Actor) -> QuerySet[Definition]:
    """Every definition `actor` may see: their own, and those filed under a name they see on its host."""
    return visible(actor, "image.see", Definition.objects.all())


def credentials(actor: Actor) -> QuerySet[Credential]:
    """Those that `actor` may choose for a build: of every host, and of environments where they build."""
    return Credential.objects.filter(Q(environment=None) | Q(environment__in=environments(actor, "image.build")))


def managed_credentials(actor: Actor) -> QuerySet[Credential]:
    """Those that `actor` manages."""
    return visible(actor, "registry.manage", Credential.objects.select_related("environment"))


def get_credential(actor: Actor, name: str) -> Credential:
    """One that `actor` manages. Raises RightMissing for whoever manages none, NotSeen."""
    require(actor, "registry.manage")
    rows = Credential.objects.select_related("environment")
    return fetch(actor, "registry.manage", rows, see="registry.manage", name=name)


def without_unseen(actor: Actor, found: Iterable[Build]) -> None:
    """Take from each, as it is shown, the definition that `actor` does not see: it has a name and a page of its own."""
    rows = [build for build in found if build.definition_id]
    ids = {build.definition_id for build in rows if build.definition_id}
    seen = set(definitions(actor).filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()
    for build in rows:
        if build.definition_id not in seen:
            build.definition = None


def with_names(actor: Actor, found: Iterable[Build]) -> list[Build]:
    """For a list: each with `names`, those of the names it gave that `actor` may see. Needs operation__host."""
    rows = list(found)
    without_unseen(actor, rows)
    for build in rows:
        build.names = names_seen(actor, build.operation.host, build.tags)  # type: ignore[attr-defined]
    return rows


def names_seen(actor: Actor, host: Host | None, tags: Iterable[str]) -> list[str]:
    """Those of the names a build gave on `host` that `actor` may see; templates are kept."""
    where = host.environment_id if host else None
    return [tag for tag in tags if "{" in tag or allows(actor, "image.see", Place(where, (name_of(tag),)))]
