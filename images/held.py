"""An image as a host holds it: what is behind a name there, whatever has been done to names on the host itself."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.access.decide import allows, require
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.errors import Conflict, NotFound, RightMissing
from controlplane.lib.references import Reference, name_of
from controlplane.operations.models import Operation
from hosts.engine import Engine, segment
from hosts.models import Host
from hosts.rules.facts import ImageFacts
from images.builds.models import Build
from images.models import Origin

USING = ("image.pull", "image.run")  # either of which lets one have what is in an image


@dataclass(frozen=True)
class HeldImage:
    """An image on a host. `names`: (full repository, tag) of each of its own there."""

    id: str
    names: tuple[tuple[str, str], ...]
    digests: tuple[str, ...]  # REPOSITORY@sha256:…
    user: str
    parent: str

    def facts(self, name: str) -> ImageFacts:
        """As it is judged under `name`, which it was asked for by."""
        known = {self.id, *(each.rpartition("@")[2] for each in self.digests)}
        return ImageFacts(*name_of(name), frozenset(known), self.user)

    def is_called(self, reference: Reference) -> bool:
        """Whether it is that, and not another that the engine took the words for: an id, a digest of elsewhere."""
        if reference.digest:
            wanted = f"{reference.repository}@{reference.digest}"
            return any(f"{name_of(each)[0]}@{each.rpartition('@')[2]}" == wanted for each in self.digests)
        return (reference.repository, reference.tag) in self.names


async def held_image(engine: Engine, name: str) -> HeldImage:
    """The image that `name` stands for on the engine now. Raises NotFound."""
    found = await engine.get(f"/images/{segment(name)}/json")
    names = [name_of(each) for each in found.get("RepoTags") or [] if isinstance(each, str) and "<none>" not in each]
    digests = [each for each in found.get("RepoDigests") or [] if isinstance(each, str) and "<none>" not in each]
    config = found.get("Config")
    return HeldImage(
        id=whole_id(str(found["Id"])),
        names=tuple(names),
        digests=tuple(digests),
        user=str((config if isinstance(config, dict) else {}).get("User") or ""),
        parent=whole_id(str(found.get("Parent") or "")),
    )


def whole_id(text: str) -> str:
    """An image's id with its algorithm: Podman leaves that out."""
    return f"sha256:{text}" if text and ":" not in text else text


def asker(operation: Operation) -> tuple[User, Host]:
    """Whoever asked for it, as they are now and by the token they asked by, and the host. Raises Conflict when either
    has been removed."""
    found = operation.asker
    if found is None or operation.host is None:
        raise Conflict("Whoever asked for this, or the host it was for, has been removed.")
    return found, operation.host


async def parent_of(engine: Engine, image: HeldImage) -> HeldImage | None:
    """What it was made of there, if the engine knows."""
    try:
        return await held_image(engine, image.parent) if image.parent else None
    except NotFound:
        return None


def refuse_borrowed(
    actor: User, host: Host, reference: Reference, image: HeldImage, parent: HeldImage | None, verb: str = "image.run"
) -> None:
    """Raise RightMissing for an image that is, or is made of, one that `actor` has no right to: a name that somebody
    gave it on the host changes nothing about what is in it.

    Other tags of the same repository are one's own business: that is how versions are promoted.
    """
    if allows(actor, verb, Place(host.environment_id)):
        return
    _require_origins(actor, host, reference, image)
    label = f"{reference.familiar}: that image goes by another name there as well"
    for repository, tag in image.names:
        if repository != reference.repository:
            require(actor, verb, Place(host.environment_id, ((repository, tag),), label=label))
    if parent is None or Build.objects.filter(operation__host=host, image_id=image.id).exists():
        return  # what was built here was asked for by the names of its bases
    _require_origins(actor, host, reference, parent)
    places = [Place(host.environment_id, (name,)) for name in parent.names if name[0] != reference.repository]
    if places and not any(allows(actor, verb, place) for place in places for verb in USING):
        raise RightMissing("image.pull", f"what {reference.familiar} was made of on {host.name}")


def _require_origins(actor: User, host: Host, reference: Reference, image: HeldImage) -> None:
    """What Gantry committed it from is known for good: the engine forgets a parent that has lost its names."""
    for origin in Origin.objects.filter(image_id=image.id).exclude(repository=reference.repository):
        place = Place(host.environment_id, ((origin.repository, origin.tag),) if origin.repository else ())
        if not any(allows(actor, verb, place) for verb in USING):
            raise RightMissing("image.pull", f"what {reference.familiar} was made of")


def origins_of(image: HeldImage, named: str, parent: HeldImage | None) -> set[tuple[str, str]]:
    """The names of all that is in an image which is committed from a container of `image`, created as `named`."""
    found = {name_of(named)}
    found |= set(Origin.objects.filter(image_id=image.id).values_list("repository", "tag"))
    if parent is not None and not Build.objects.filter(image_id=image.id).exists():
        found |= set(parent.names)
    return found


def remember_origins(image_id: str, origins: set[tuple[str, str]]) -> None:
    """Before the image has a name: from then on somebody may use it. What is longer than any name is nobody's."""
    rows = (Origin(image_id=image_id, repository=r[:300], tag=t[:130]) for r, t in sorted(origins))
    Origin.objects.bulk_create(rows, ignore_conflicts=True)
