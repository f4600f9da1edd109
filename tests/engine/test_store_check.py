"""`gantry-agent engine check`: quiet on a whole store, and it names what is damaged."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.engine.stores import opened, put
from tests.support.images import TestImage, make_tar

pytestmark = pytest.mark.root

LAYER = make_tar(
    {"etc/name": b"value\n", "etc/.wh.gone": b"", "etc/.wh..wh..opq": b"", "twice": b"1"},
    links={"link": "etc", "dangling": "/nothing"},
    folders={"etc": 0o755, "empty": 0o700},
)
IMAGE = TestImage((LAYER, make_tar({"etc/.wh.name": b""})))


def check(root: Path) -> tuple[int, str]:
    """Run the command: exit status and what it prints."""
    program = Path(sys.executable).with_name("gantry-agent")
    done = subprocess.run([program, "engine", "check", "--root", root], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    """A store with one image."""
    need("" if os.geteuid() == 0 else "layers are unpacked by root")
    async with opened(tmp_path) as engine:
        await put(engine, IMAGE.archive("app:1"))
    return tmp_path / "root"


def layer_of(root: Path) -> Path:
    return next(path for path in root.glob("layers/*/diff") if (path / "twice").exists())


def test_a_whole_store_is_whole(root: Path) -> None:
    assert check(root) == (0, f"{root} is whole.\n")
    (root / "tmp" / "blob-1").write_bytes(b"")
    assert check(root) == (0, f"{root} is whole. The next start clears away 1 leftovers.\n")


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    status, said = check(tmp_path)
    assert status == 1
    assert "is not the root of an engine" in said


def cut(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (layer_of(root) / "twice").unlink(), "'twice' is missing"),
        (lambda root: cut(layer_of(root) / "etc/name"), "'etc/name' has 5 bytes, not 6"),
        (lambda root: replace(layer_of(root) / "link"), "'link' is of another kind: d instead of l"),
        (lambda root: (layer_of(root) / "etc/gone").unlink(), "'etc/gone' is missing"),
        (lambda root: (layer_of(root) / "empty").rmdir(), "'empty' is missing"),
        (lambda root: cut(max(root.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)), "is damaged"),
        (lambda root: next(root.glob("blobs/sha256/*")).unlink(), "has lost its"),
        (lambda root: next(root.glob("l/*")).unlink(), "has no short link"),
        (lambda root: layer_of(root).parent.rename(root / "tmp/away"), "is not unpacked"),
        (
            lambda root: (root / "engine.sqlite3").write_bytes(b"SQLite format 3\0" + bytes(4000)),
            "the database is damaged: ",
        ),
    ],
)
def test_damage_is_named(root: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(root)
    status, said = check(root)
    assert status == 1
    assert message in said
