"""Where things are mounted in a root: links walked inside it, what is missing made there, and nowhere else."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gantry_agent.engine.layers.places import MAX_STEPS, Cover, Places


class Root:
    """A root, a volume and a folder that neither leads to."""

    def __init__(self, folder: Path) -> None:
        self.path, self.volume, self.canary = folder / "root", folder / "volume", folder / "canary"
        for each in (self.path, self.volume, self.canary):
            each.mkdir()
        (self.path / "file").touch()

    def link(self, name: str, target: str) -> None:
        (self.path / name).symlink_to(target)

    def names(self) -> set[str]:
        return {str(path.relative_to(self.path)) for path in self.path.rglob("*") if not path.is_symlink()} - {"file"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path)
    yield made
    assert list(made.canary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary", "root", "volume"]


@pytest.mark.parametrize(
    ("links", "path", "place"),
    [
        ({}, "/a/b", "/a/b"),
        ({}, "/", "/"),
        ({"l": "/a/b"}, "/l", "/a/b"),
        ({"l": "a/./b/"}, "/l/c", "/a/b/c"),
        ({"l": "../../a"}, "/l/c", "/a/c"),
        ({"l": "missing/../a"}, "/l", "/a"),
        ({"l": "/m", "m": "n/x", "n": "../a"}, "/l", "/a/x"),
        ({"l": ".."}, "/l", "/"),
        ({"l": "/proc/self/cwd"}, "/l", "/proc/self/cwd"),
    ],
)
def test_a_path_is_walked_inside_and_made(root: Root, links: dict[str, str], path: str, place: str) -> None:
    for name, target in links.items():
        root.link(name, target)
    for _ in range(2):
        with Places(root.path) as places:
            assert places.make(path) == place
        parts = place.strip("/").split("/")
        assert root.names() == {"/".join(parts[:end]) for end in range(1, len(parts) + 1)} - {""}


def test_links_of_the_hosts_own_paths_lead_inside(root: Root) -> None:
    for number, target in enumerate((str(root.canary), f"../canary/{root.canary}", "../canary")):
        root.link(f"l{number}", target)
        with Places(root.path) as places:
            places.make(f"/l{number}/x")


@pytest.mark.parametrize(
    ("links", "path", "code"),
    [
        ({"l": "m", "m": "l"}, "/l", errno.ELOOP),
        ({"l": "l/x"}, "/l", errno.ELOOP),
        ({"l": "/file/x"}, "/l", errno.ENOTDIR),
        ({}, "/file/x", errno.ENOTDIR),
        ({}, "/x" * (MAX_STEPS + 1), errno.ENAMETOOLONG),
        ({f"l{number}": f"l{number + 1}/" + "a/../" * 200 for number in range(39)}, "/l0", errno.ENAMETOOLONG),
    ],
)
def test_what_has_no_end_or_no_folder_is_refused(root: Root, links: dict[str, str], path: str, code: int) -> None:
    for name, target in links.items():
        root.link(name, target)
    before = len(os.listdir("/proc/self/fd"))
    with Places(root.path) as places, pytest.raises(OSError) as refused:  # noqa: PT011 - its number is looked at
        places.make(path)
    assert refused.value.errno == code
    assert root.names() == set()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_is_made_for_a_file(root: Root) -> None:
    root.link("l", "/etc/hosts")
    with Places(root.path) as places:
        assert places.make("/l", like="/etc/hostname") == "/etc/hosts"
    assert (root.path / "etc/hosts").read_bytes() == b""


def test_what_is_mounted_is_what_is_seen(root: Root) -> None:
    (root.volume / "up").symlink_to("../../etc")
    (root.volume / "in").symlink_to("/v/deep")
    with Places(root.path) as places:
        places.cover(places.make("/v"), Cover(str(root.volume)))
        assert places.make("/v/in/x") == "/v/deep/x"
        assert places.make("/v/up/x") == "/etc/x"
    assert (root.volume / "deep/x").is_dir()
    assert root.names() == {"v", "etc", "etc/x"}


def test_nothing_is_made_where_it_is_read_only_or_unseen(root: Root) -> None:
    root.link("l", "/t/../t/a")
    with Places(root.path) as places:
        places.cover(places.make("/v"), Cover(str(root.volume), writable=False))
        with pytest.raises(OSError, match="Read-only file system"):
            places.make("/v/x")
        places.cover(places.make("/t"), Cover())
        assert places.make("/t/x") == "/t/x"
        assert places.make("/l/x") == "/t/a/x"
        places.cover("/t/x", Cover(str(root.volume)))
        assert places.make("/t/x/y") == "/t/x/y"
    assert root.names() == {"v", "t"}
    assert os.listdir(root.volume) == ["y"]


def test_a_later_mount_hides_an_earlier_one_below_it(root: Root) -> None:
    with Places(root.path) as places:
        places.cover(places.make("/v/inner"), Cover(str(root.volume), writable=False))
        places.cover("/v", Cover(str(root.volume)))
        assert places.make("/v/inner/x") == "/v/inner/x"
    assert (root.volume / "inner/x").is_dir()


def test_a_neighbour_who_renames_gains_nothing(root: Root) -> None:
    """Folders of the shared volume become links, to the host's paths among others, while places are made below."""
    (root.volume / "a/deep").mkdir(parents=True)
    (root.volume / "up").symlink_to("../" * 12 + str(root.canary))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, other in (("a", "away"), ("up", "a"), ("a", "up"), ("away", "a")):
                with contextlib.suppress(OSError):
                    os.rename(root.volume / one, root.volume / other)

    neighbour = threading.Thread(target=swap)
    neighbour.start()
    try:
        for number in range(2000):
            with Places(root.path) as places, contextlib.suppress(OSError):
                places.cover(places.make("/v"), Cover(str(root.volume)))
                places.make(f"/v/a/deep/{number}/x", like="/dev/null" if number % 2 else "")
    finally:
        stop.set()
        neighbour.join()
