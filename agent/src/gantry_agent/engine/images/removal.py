"""Removing images: names first, then the image, then what nothing uses any more. The rules are Docker's
(daemon/images/image_delete.go)."""

import re
from collections.abc import Sequence

from gantry_agent.engine.core import Engine
from gantry_agent.engine.errors import Conflict
from gantry_agent.engine.oci import Reference
from gantry_agent.engine.store import Freed, Image
from gantry_agent.engine.store.store import User

from .announce import announce

Records = list[dict[str, str]]


async def remove_image(engine: Engine, name: str, *, force: bool = False, prune_parents: bool = True) -> Records:
    """Take a name, or the whole image, away: [{"Untagged": …} | {"Deleted": …}] in the order it happened.

    Raises NotFound, and Conflict when containers or other names need it.
    """
    removal = Removal(engine)
    await removal.remove(name, force=force, prune_parents=prune_parents)
    return removal.records


class Removal:
    """One removal: what was done so far, and what it freed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.store.images
        self.records: Records = []
        self.freed = Freed()

    async def remove(self, name: str, *, force: bool, prune_parents: bool) -> None:
        """As `remove_image`."""
        image = self._images.get(name)
        if not _is_id_of(image, name):
            await self._remove_name(image, name, force, prune_parents)
            return
        if conflict := self._conflict(image, force=force, ignore_names=_has_one_name(image.references)):
            raise conflict
        await self._delete(image, prune_parents)

    async def _remove_name(self, image: Image, name: str, force: bool, prune_parents: bool) -> None:
        """The name goes; the image goes with it when it was the last one and no container needs it."""
        users = self._users(image)
        if not force and users and _has_one_name(image.references):
            raise Conflict(
                f"conflict: unable to remove repository reference {_quoted(name)} (must force)"
                f" - container {users[0].id[:12]} is using its referenced image {image.id.short}"
            )
        going = _going(image, _named(image, name))
        if len(going) == len(image.references) and not self._conflict(image, force=force, ignore_names=True):
            await self._delete(image, prune_parents, going)
        else:
            await self._images.untag(*going)
            self._tell_untagged(image, going)

    async def _delete(self, image: Image, prune_parents: bool, names: Sequence[Reference] | None = None) -> None:
        """The image and all its names, in one step: whoever dies in between leaves it whole or gone."""
        await self._images.hide(image)
        self._tell_untagged(image, image.references if names is None else names)
        freed = await self._engine.store.collect()
        announce(self._engine, "delete", image)
        self.records.append({"Deleted": image.id})
        self.records += [{"Deleted": layer.chain} for layer in freed.layers]
        self.freed.layers += freed.layers
        self.freed.blob_bytes += freed.blob_bytes
        if prune_parents and image.parent:
            await self._prune(image.parent)

    async def _prune(self, parent: str) -> None:
        """Delete a parent that has no name, no child and no container; quietly leave any other."""
        image = next((each for each in self._images.all() if each.id == parent), None)
        if image and not image.references and not self._conflict(image, force=False):
            await self._delete(image, True)

    def _tell_untagged(self, image: Image, references: Sequence[Reference]) -> None:
        for each in references:
            announce(self._engine, "untag", image)
            self.records.append({"Untagged": each.familiar})

    def _users(self, image: Image) -> Sequence[User]:
        return self._engine.store.used_by(image.id) if self._engine.store.used_by else ()

    def _conflict(self, image: Image, *, force: bool, ignore_names: bool = False) -> Conflict | None:
        """Why the image cannot go; with `force` only what cannot be forced."""
        users = self._users(image)
        running = next((each for each in users if each.is_running), None)
        if self._images.children(image.id):
            return _refusal(image, "cannot be forced", "image has dependent child images")
        if running:
            return _refusal(image, "cannot be forced", f"image is being used by running container {running.id[:12]}")
        if force:
            return None
        if image.references and not ignore_names:
            return _refusal(image, "must be forced", "image is referenced in multiple repositories")
        if users:
            return _refusal(image, "must be forced", f"image is being used by stopped container {users[0].id[:12]}")
        return None


def _refusal(image: Image, how: str, why: str) -> Conflict:
    return Conflict(f"conflict: unable to delete {image.id.short} ({how}) - {why}")


def _is_id_of(image: Image, name: str) -> bool:
    """Whether `name` is the image's id or its beginning, and not one of its names."""
    if not re.match(r"(?:sha256:)?[0-9a-f]+\Z", name):
        return False
    if len(name.removeprefix("sha256:")) < 64:
        reference = Reference.parse(name)
        if any(each.name == reference.name and each.tag == reference.tag for each in image.tags):
            return False
    return image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))


def _named(image: Image, name: str) -> Reference:
    """The image's reference that `name` means."""
    wanted = Reference.parse(name)
    if wanted.digest:
        return next(each for each in image.digests if (each.name, each.digest) == (wanted.name, wanted.digest))
    return next(each for each in image.tags if (each.name, each.tag) == (wanted.name, wanted.tag))


def _going(image: Image, reference: Reference) -> list[Reference]:
    """The names that go with `reference`: the digests of a repository go with its last tag."""
    same = [each for each in image.references if each.name == reference.name and each != reference]
    if reference.digest or any(not each.digest for each in same):
        return [reference]
    return [reference, *same]


def _has_one_name(references: Sequence[Reference]) -> bool:
    """At most one tag, and digests only of the same repository."""
    tags = [each for each in references if not each.digest]
    digests = {each.name for each in references if each.digest}
    if len(references) <= 1:
        return True
    if len(tags) > 1:
        return False
    return digests == {(tags or references)[0].name}


def _quoted(text: str) -> str:
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'
