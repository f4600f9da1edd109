"""A store whose process is killed at each durable step opens again, is whole, and does what was asked for."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.images.layer_check import check_layers
from gantry_agent.engine.images.removal import remove_image
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.oci import Reference
from gantry_agent.engine.store.checks import check

from tests.conftest import need
from tests.engine import crashing
from tests.engine.stores import contents, put
from tests.support.counts import count
from tests.support.images import TestImage, make_tar

pytestmark = [pytest.mark.root, pytest.mark.timeout(count(600, 1800))]
HERE = __name__
MOST = 9  # points of one work in a usual run

SHARED = make_tar({"etc/shared": b"shared\n"}, folders={"etc": 0o755})
FIRST = TestImage((SHARED, make_tar({"first": b"1\n" * 4000})))
SECOND = TestImage((SHARED, make_tar({"second": b"2\n" * 4000, "etc/.wh.shared": b""})))


async def do_load(engine: Any, archive: bytes) -> None:
    await put(engine, archive)


async def do_tag(engine: Any, name: str, other: str) -> None:
    await engine.store.images.tag(engine.store.images.get(name).id, Reference.parse(other))


async def do_remove(engine: Any, *names: str) -> None:
    engine.store.used_by = lambda _: []
    for name in names:
        if any(name in image.repo_tags for image in engine.store.images.all()):
            await remove_image(engine, name)
    await engine.store.collect()


async def do_look(engine: Any, wanted: dict[str, str]) -> None:
    """Every listed image has its files; `wanted`: name → a file it must have, for those that must be there."""
    engine.store.used_by = lambda _: []
    await engine.store.collect()
    for image in engine.store.images.all():
        assert len(engine.store.images.stack(image.id)) == len(image.config.diff_ids)
        for link in engine.store.images.stack(image.id):
            assert any((engine.layout.links / link).iterdir())
        for layer in engine.store.images.descriptors(image.id):
            assert engine.store.blobs.has(layer.digest)
    for name, file in wanted.items():
        image = engine.store.images.get(name)
        assert any((engine.layout.links / link / file).exists() for link in engine.store.images.stack(image.id))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with the first image, which no crash may harm. Not below a folder that is swept."""
    need("" if os.geteuid() == 0 else "layers are unpacked by root")
    crashing.run(tmp_path / "before", f"{HERE}:do_load", FIRST.archive("app:1"))
    return tmp_path / "before"


def killed_everywhere(root: Path, work: str, arguments: tuple[Any, ...], after: Callable[[Path], None]) -> None:
    """Do the work on a copy of `root`, once for each point it is killed at; then what must hold afterwards."""
    steps = crashing.run(_copy(root), work, *arguments)
    assert steps
    died = 0
    for point in crashing.points(steps, MOST):
        copy = _copy(root)
        died += crashing.run(copy, work, *arguments, die_at=point) == 0
        layout = Layout.at(copy, copy.with_name("run"))
        assert check(layout) == [], point
        crashing.run(copy, f"{HERE}:do_look", {"app:1": "first"})
        assert contents(layout)["leftovers"] == set(), point
        assert check(layout) == [], point
        assert check_layers(layout) == [], point
        after(copy)
        assert check(layout) == [], point
    assert died


def _copy(root: Path) -> Path:
    copy = root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", root, copy], check=True)  # whiteouts are devices
    return copy


def is_empty(copy: Path) -> None:
    layout = Layout.at(copy, copy.with_name("run"))
    assert contents(layout) == {"blobs": set(), "layers": set(), "links": set(), "leftovers": set()}


def test_a_load_killed_anywhere_is_done_again(root: Path) -> None:
    archive = SECOND.archive("app:2")

    def again(copy: Path) -> None:
        crashing.run(copy, f"{HERE}:do_load", archive)
        crashing.run(copy, f"{HERE}:do_look", {"app:1": "first", "app:2": "second"})
        crashing.run(copy, f"{HERE}:do_remove", "app:1", "app:2")
        is_empty(copy)

    killed_everywhere(root, f"{HERE}:do_load", (archive,), again)


def test_a_removal_killed_anywhere_frees_everything_in_the_end(root: Path) -> None:
    crashing.run(root, f"{HERE}:do_load", SECOND.archive("app:2"))

    def again(copy: Path) -> None:
        crashing.run(copy, f"{HERE}:do_remove", "app:2")
        crashing.run(copy, f"{HERE}:do_look", {"app:1": "first"})
        crashing.run(copy, f"{HERE}:do_remove", "app:1")
        is_empty(copy)

    killed_everywhere(root, f"{HERE}:do_remove", ("app:2",), again)


def test_a_tag_killed_anywhere_is_there_or_not(root: Path) -> None:
    def again(copy: Path) -> None:
        crashing.run(copy, f"{HERE}:do_tag", "app:1", "app:new")
        crashing.run(copy, f"{HERE}:do_look", {"app:new": "first"})

    killed_everywhere(root, f"{HERE}:do_tag", ("app:1", "app:new"), again)
