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
        if _has_one_name(image.references):
            if conflict := self._conflict(image, force=force, ignore_names=True):
                raise conflict
            for reference in image.references:
                await self._untag(image, reference)
            image = self._images.get(image.id)
        if conflict := self._conflict(image, force=force):
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
        reference = _named(image, name)
        await self._untag(image, reference)
        left = [each for each in image.references if each != reference]
        if not reference.digest and not any(each.name == reference.name and not each.digest for each in left):
            # Docker: digests of a repository go with its last tag.
            for each in [each for each in left if each.name == reference.name]:
                await self._untag(image, each)
                left.remove(each)
        if not left and not self._conflict(image, force=force, ignore_names=True):
            await self._delete(self._images.get(image.id), prune_parents)

    async def _delete(self, image: Image, prune_parents: bool) -> None:
        for reference in image.references:
            await self._untag(image, reference)
        await self._images.hide(image.id)
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

    async def _untag(self, image: Image, reference: Reference) -> None:
        await self._images.untag(reference)
        announce(self._engine, "untag", image)
        self.records.append({"Untagged": reference.familiar})

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
