"""What is packed is what was there: apply(diff(a, b), a) = b for any trees a and b, through real overlay mounts."""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gantry_agent.engine.layers import overlay
from gantry_agent.engine.layers.changes import changes
from gantry_agent.engine.layers.pack import layers_view, pack_diff, pack_tree
from gantry_agent.engine.layers.sizes import size_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.engine.tars import tree, unpack

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting layers needs root"),
]

NAMES = st.sampled_from(["a", "b", "c", "n" * 150, "\u00fc x", ".hidden"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
STEPS = st.one_of(
    st.tuples(st.just("write"), PATHS, st.binary(max_size=40)),
    st.tuples(st.just("mkdir"), PATHS, st.sampled_from([0o755, 0o700, 0o2775, 0o1777])),
    st.tuples(st.just("remove"), PATHS, st.none()),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "/etc/passwd", "../" * 30, "l" * 200])),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("rename"), PATHS, PATHS),
    st.tuples(st.just("chmod"), PATHS, st.sampled_from([0o600, 0o4755, 0o644])),
    st.tuples(st.just("chown"), PATHS, st.sampled_from([0, 1000, 3_000_000])),
    st.tuples(st.just("xattr"), PATHS, st.binary(max_size=20)),
    st.tuples(st.just("fifo"), PATHS, st.none()),
)
Step = tuple[str, str, object]


def _play(top: Path, steps: list[Step]) -> None:
    """Do what can be done of it, as a container might."""
    for action, name, value in steps:
        path = top / name
        try:
            _do(action, path, value, top)
        except OSError:
            continue


def _do(action: str, path: Path, value: object, top: Path) -> None:
    if action in ("chmod", "xattr", "write") and os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        return  # through a link it would leave the tree, and a pipe would wait for its other end
    if action == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(value, bytes)
        path.write_bytes(value)
    elif action == "mkdir":
        path.mkdir(parents=True, exist_ok=True)
        assert isinstance(value, int)
        path.chmod(value)
    elif action == "remove":
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    elif action == "symlink":
        path.symlink_to(str(value))
    elif action == "link":
        os.link(top / str(value), path, follow_symlinks=False)
    elif action == "rename":
        shutil.move(path, top / str(value))
    elif action == "chmod" and isinstance(value, int):
        path.chmod(value)
    elif action == "chown" and isinstance(value, int):
        os.chown(path, value, value, follow_symlinks=False)
    elif action == "xattr" and isinstance(value, bytes):
        os.setxattr(path, "user.note", value)
    elif action == "fifo":
        os.mkfifo(path)


@contextmanager
def _places() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix=f"gt{os.getpid()}-", dir="/tmp"))
    try:
        for name in ("l", "low", "c"):
            (place / name).mkdir()
        yield place
    finally:
        shutil.rmtree(place)


async def _joined(chunks: object) -> bytes:
    return b"".join([chunk async for chunk in chunks])  # type: ignore[attr-defined]


async def _check(before: list[Step], after: list[Step]) -> None:
    with _places() as place:
        _play(place / "low", before)
        merged = place / "c/merged"
        lowers = layers_view([str(place / "low")], place / "l", merged)
        await overlay.mount([str(place / "low")], place / "l", place / "c/upper", place / "c/work", merged)
        try:
            first = tree(merged)
            _play(merged, after)
            second = tree(merged)
            told = await changes(place / "c/upper", lowers)
            layer = await _joined(pack_diff(place / "c/upper", lowers))
            assert layer == await _joined(pack_diff(place / "c/upper", lowers)), "the same bytes each time"
            whole = await _joined(pack_tree({"kind": "folder", "path": str(merged)}))
        finally:
            await overlay.unmount(merged)
        await unpack(layer, place / "new")
        await unpack(whole, place / "whole")
        assert _without_root(tree(place / "whole")) == _without_root(second)
        links = [str(place / "new"), str(place / "low")]
        await overlay.mount(links, place / "l", place / "d/upper", place / "d/work", place / "d/merged")
        try:
            assert tree(place / "d/merged") == second
        finally:
            await overlay.unmount(place / "d/merged")
        _check_told(told, first, second)
        assert await size_of(place / "low") == _size(place / "low")


def _without_root(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: facts for name, facts in found.items() if name != "."}


def _check_told(
    told: list[tuple[int, str]], first: dict[str, tuple[object, ...]], second: dict[str, tuple[object, ...]]
) -> None:
    kinds = {path.lstrip("/"): kind for kind, path in told}
    assert {name for name, kind in kinds.items() if kind == 1} == second.keys() - first.keys()
    gone = first.keys() - second.keys()
    assert {name for name, kind in kinds.items() if kind == 2} <= gone
    for name in gone:
        above = [name[:at] for at in range(len(name) + 1) if at == len(name) or name[at] == "/"]
        assert any(kinds.get(each) == 2 or _was_replaced(each, first, second) for each in above), name
    changed = {name for name in first.keys() & second.keys() if _plain(first[name]) != _plain(second[name])}
    assert changed <= {name for name, kind in kinds.items() if kind == 0}


def _was_replaced(name: str, first: dict[str, tuple[object, ...]], second: dict[str, tuple[object, ...]]) -> bool:
    """A folder that is something else now takes what was in it away without a word."""
    return name in first and name in second and first[name][0] == stat.S_IFDIR != second[name][0]


def _plain(facts: tuple[object, ...]) -> tuple[object, ...]:
    """Without the name that a hard link is told by."""
    return facts[:6] + facts[7:]


def _size(top: Path) -> int:
    seen = {}
    for where, _, files in os.walk(top):
        for name in files:
            status = os.lstat(os.path.join(where, name))
            if stat.S_ISREG(status.st_mode):
                seen[status.st_ino] = status.st_size
    return sum(seen.values())


@example([], [("symlink", "a", "a"), ("link", "c", "a")])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=12), st.lists(STEPS, max_size=14))
def test_a_layer_made_of_changes_makes_them_again(before: list[Step], after: list[Step]) -> None:
    asyncio.run(_check(before, after))
