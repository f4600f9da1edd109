"""Whatever is added, named, used and removed in whatever order: the store holds what its images need, and no more.

A model of names and layers in plain sets runs beside the real store and the real rules of removal.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.errors import Conflict, NotFound
from gantry_agent.engine.images.filters import ImageFilter
from gantry_agent.engine.images.prune import prune_images
from gantry_agent.engine.images.removal import remove_image
from gantry_agent.engine.oci import Digest, Reference
from gantry_agent.engine.store import files
from gantry_agent.engine.store.checks import check
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.engine.stores import User, add_image, contents, opened

STACKS = st.text("abc", min_size=0, max_size=3)
NAMES = st.sampled_from(["a:1", "a:2", "b:1", "a@" + Digest.of(b"1"), "b@" + Digest.of(b"2")])


class StoreModel(RuleBasedStateMachine):
    """`names`: reference → image; `images`: image → its stack; `users`: image → running or not, of each container."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.stack = AsyncExitStack()
        self.names: dict[str, str] = {}
        self.images: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        """Images that are gone, but for a container."""

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.engine = self.run(self.stack.enter_async_context(opened(self.folder)))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule()
    def open_again(self) -> None:
        users = self.engine.users
        self.run(self.stack.aclose())
        self.open()
        self.engine.users.extend(users)

    @rule(stack=STACKS, name=NAMES | st.none())
    def add(self, stack: str, name: str | None) -> None:
        image_id = self.run(add_image(self.engine.store, stack))
        self.images[image_id] = stack
        self.kept.pop(image_id, None)
        if name:
            self.run(self.engine.store.images.tag(image_id, Reference.parse(name)))
            self.names[name] = image_id

    @rule(name=NAMES, other=NAMES)
    def tag(self, name: str, other: str) -> None:
        if name in self.names:
            image = self.engine.store.images.get(name)
            self.run(self.engine.store.images.tag(image.id, Reference.parse(other)))
            self.names[other] = self.names[name]

    @rule(data=st.data(), running=st.booleans())
    def use(self, data: st.DataObject, running: bool) -> None:
        if self.images:
            image_id = data.draw(st.sampled_from(sorted(self.images)))
            self.engine.users.append(User(f"{len(self.engine.users):064}", image_id, running))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.engine.users:
            user = data.draw(st.sampled_from(self.engine.users))
            self.engine.users.remove(user)
            self.run(self.engine.store.collect())
            if user.image not in {each.image for each in self.engine.users}:
                self.kept.pop(user.image, None)

    @rule(name=NAMES, force=st.booleans())
    def remove_name(self, name: str, force: bool) -> None:
        image_id = self.names.get(name)
        if image_id is None:
            with pytest.raises(NotFound):
                self.run(remove_image(self.engine, name, force=force))
            return
        users = [user for user in self.engine.users if user.image == image_id]
        if users and not force and self.has_one_name(image_id):
            with pytest.raises(Conflict, match="must force"):
                self.run(remove_image(self.engine, name))
            return
        self.run(remove_image(self.engine, name, force=force))
        self.drop_name(name)
        if not self.names_of(image_id) and (not users or (force and not any(user.is_running for user in users))):
            self.drop_image(image_id)

    @rule(data=st.data(), force=st.booleans())
    def remove_id(self, data: st.DataObject, force: bool) -> None:
        if not self.images:
            return
        image_id = data.draw(st.sampled_from(sorted(self.images)))
        users = [user for user in self.engine.users if user.image == image_id]
        hard = any(user.is_running for user in users)
        if hard or (not force and (users or not self.has_one_name(image_id))):
            with pytest.raises(Conflict, match="cannot be forced" if hard else "must be forced"):
                self.run(remove_image(self.engine, image_id, force=force))
            return
        self.run(remove_image(self.engine, image_id, force=force))
        for name in self.names_of(image_id):
            del self.names[name]
        self.drop_image(image_id)

    @rule(only_dangling=st.booleans())
    def prune(self, only_dangling: bool) -> None:
        chosen = ImageFilter(dangling=only_dangling)
        self.run(prune_images(self.engine, chosen))
        used = {user.image for user in self.engine.users}
        for image_id in set(self.images) - used:
            names = self.names_of(image_id)
            if not only_dangling or not any("@" not in name for name in names):
                for name in names:
                    del self.names[name]
                self.drop_image(image_id)

    def names_of(self, image_id: str) -> list[str]:
        return [name for name, held in self.names.items() if held == image_id]

    def has_one_name(self, image_id: str) -> bool:
        names = self.names_of(image_id)
        tags = [name for name in names if "@" not in name]
        repositories = {name.partition("@")[0] for name in names if "@" in name}
        if len(names) <= 1:
            return True
        return len(tags) <= 1 and len(repositories | {name.partition(":")[0] for name in tags}) == 1

    def drop_name(self, name: str) -> None:
        """The digests of a repository go with its last tag."""
        image_id = self.names.pop(name)
        repository = name.partition(":")[0]
        if "@" not in name and not any(each.startswith(f"{repository}:") for each in self.names_of(image_id)):
            for each in self.names_of(image_id):
                if each.startswith(f"{repository}@"):
                    del self.names[each]

    def drop_image(self, image_id: str) -> None:
        stack = self.images.pop(image_id)
        if any(user.image == image_id for user in self.engine.users):
            self.kept[image_id] = stack

    @invariant()
    def names_are_those_of_the_model(self) -> None:
        images = self.engine.store.images.all()
        assert {image.id for image in images} == set(self.images)
        assert {name.familiar: image.id for image in images for name in image.references} == self.names

    @invariant()
    def the_disk_holds_what_is_needed(self) -> None:
        everything = {**self.images, **self.kept}
        prefixes = {stack[:length] for stack in everything.values() for length in range(1, len(stack) + 1)}
        found = contents(self.engine.layout)
        assert len(found["layers"]) == len(found["links"]) == len(prefixes)
        assert len(found["blobs"]) == len(everything) + len(
            {letter for stack in everything.values() for letter in stack}
        )
        assert check(self.engine.layout) == []


def test_the_store_holds_what_its_images_need_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without syncing: nothing here loses power, and hundreds of steps would wait for the disk."""
    for name in ("sync_file", "sync_folder", "sync_filesystem"):
        monkeypatch.setattr(files, name, lambda *_: None)
    few = settings(
        max_examples=30,
        stateful_step_count=20,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(StoreModel, settings=few)
