"""An engine killed at each durable step of a commit opens again, is whole, and commits."""

from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.containers.commit import CommitOptions, commit
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.images.removal import remove_image
from gantry_agent.engine.oci import Reference

from tests.engine import crashing
from tests.engine.test_store_crash import is_empty, killed_everywhere
from tests.engine.test_store_crash import root as root  # the fixture: a store with FIRST as app:1
from tests.support.counts import count

pytestmark = [pytest.mark.root, pytest.mark.timeout(count(600, 1800))]
STORE = "tests.engine.test_store_crash"


async def do_commit(engine: Any, name: str) -> None:
    """Of a container of app:1 that has made a file; it does not run."""
    image = engine.store.images.get("app:1")
    container = Container("c" * 64, "committed", str(image.id), "app:1", 0, {"Cmd": ["true"]}, {})
    folder = engine.layout.container(container.id)
    for part in ("upper", "merged"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "upper" / "made").write_text("made\n")
    await commit(engine, container, CommitOptions(name=Reference.parse(name)))


async def do_clear(engine: Any) -> None:
    """Remove every image: one whose commit was killed before it had its name has none."""
    engine.store.used_by = lambda _: []
    for image in sorted(engine.store.images.all(), key=lambda each: -each.added_at):  # children first
        await remove_image(engine, str(image.id), force=True)
    await engine.store.collect()


def test_a_commit_killed_anywhere_is_done_again(root: Path) -> None:
    def again(copy: Path) -> None:
        crashing.run(copy, f"{__name__}:do_commit", "app:new")
        crashing.run(copy, f"{STORE}:do_look", {"app:1": "first", "app:new": "made"})
        crashing.run(copy, f"{__name__}:do_clear")
        is_empty(copy)

    killed_everywhere(root, f"{__name__}:do_commit", ("app:new",), again)
