"""Volumes: what is kept, who uses it, what an empty one gets from the image, and what a container may ask for."""

import asyncio
import contextlib
import errno
import os
import signal
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.containers.model import Container, Status
from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, EngineError, InvalidArgument, NotFound, Unsupported
from gantry_agent.engine.events import Events
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.volumes import SCHEMA, Volumes, copyup, manager, tree_size
from gantry_agent.engine.volumes.copyup import _copy_file, copy_up
from gantry_agent.engine.volumes.options import mount_volume, unmount_volume

from tests.support.waiting import eventually_async

needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root")]


class Place:
    """Volumes below one folder, and a root for containers."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout.at(folder / "engine", folder / "run")
        self.layout.make()
        self.image = folder / "image"
        self.image.mkdir()
        self.events = Events()
        self.database = Database(self.layout.database, SCHEMA)
        self.volumes = self.new()
        self.views = 0

    def new(self) -> Volumes:
        return Volumes(self.layout, self.database, self.events)

    @contextlib.asynccontextmanager
    async def view(self) -> AsyncIterator[Path]:
        self.views += 1
        yield self.image

    async def container(self, number: int = 1, volumes: tuple[str, ...] = (), **host: Any) -> Container:
        """A container that is being created."""
        container = Container(
            id=f"{number:02x}" * 32,
            name=f"c{number}",
            image_id="",
            image="",
            created_at=0,
            config={"Volumes": {each: {} for each in volumes}},
            host_config=host,
        )
        await self.volumes.prepare(container, self.view)
        return container


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    await made.volumes.open(())
    yield made
    made.database.close()


async def test_a_volume_survives_and_keeps_what_it_was_made_with(place: Place) -> None:
    made = await place.volumes.create("data", {"team": "a"})
    (place.volumes.path("data") / "file").write_text("kept")
    assert await place.volumes.create("data") is made
    anonymous = await place.volumes.create()
    place.volumes = place.new()
    await place.volumes.open(())
    assert {each.name for each in place.volumes.all()} == {"data", anonymous.name}
    assert place.volumes.get("data").labels == {"team": "a"}
    assert place.volumes.get(anonymous.name).is_anonymous
    assert (place.volumes.path("data") / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["a", "-x", "a/b", "../x", "a b", "x" * 300, ".hidden"])
async def test_names_that_are_no_names(place: Place, name: str) -> None:
    with pytest.raises(InvalidArgument, match="includes invalid characters"):
        await place.volumes.create(name)
    assert os.listdir(place.layout.volumes) == []


async def test_one_in_use_is_not_removed(place: Place) -> None:
    container = await place.container(Binds=["data:/data", "/tmp:/host"], volumes=("/cache",))
    (name,) = [mount.name for mount in container.mounts if mount.is_anonymous]
    for volume in ("data", name):
        with pytest.raises(Conflict, match=rf"remove {volume}: volume is in use - \[{container.id}\]"):
            await place.volumes.remove(volume)
    await place.volumes.release(container, remove_anonymous=True)
    assert [each.name for each in place.volumes.all()] == ["data"]
    await place.volumes.remove("data")
    with pytest.raises(NotFound, match="no such volume"):
        await place.volumes.remove("data")
    await place.volumes.remove("data", force=True)
    assert os.listdir(place.layout.volumes) == []
    assert os.listdir(place.layout.tmp) == []
    actions = [event.action for event in place.events.since(0) if event.actor == "data"]
    assert actions == ["create", "destroy"]


async def test_what_a_killed_engine_left_is_swept(place: Place) -> None:
    await place.volumes.create("kept")
    await place.volumes.create("half-removed")
    os.rename(place.layout.volumes / "half-removed", place.layout.tmp / "away")
    (place.layout.volumes / "begun" / "_data").mkdir(parents=True)
    place.volumes = place.new()
    await place.volumes.open(())
    assert os.listdir(place.layout.volumes) == ["kept"]
    assert [each.name for each in place.volumes.all()] == ["kept"]


async def test_content_is_never_removed_because_the_database_is_lost(place: Place) -> None:
    await place.volumes.create("precious")
    (place.volumes.path("precious") / "file").write_text("kept")
    (place.layout.volumes / "lost+found").mkdir()
    await place.database.write(lambda connection: connection.execute("DELETE FROM volumes"))
    for _ in range(2):
        place.volumes = place.new()
        await place.volumes.open(())
        assert [each.name for each in place.volumes.all()] == ["precious"]
        assert (place.volumes.path("precious") / "file").read_text() == "kept"
    assert (place.layout.volumes / "lost+found").is_dir()


async def test_a_prune_does_not_take_what_a_container_is_about_to_get(place: Place) -> None:
    """The mounts of a container are in use from the moment each is there, not only once it is made."""
    release = asyncio.Event()

    @contextlib.asynccontextmanager
    async def slow() -> AsyncIterator[Path]:
        await release.wait()
        yield place.image

    container = Container("ab" * 32, "c1", "", "", 0, {"Volumes": {"/a": {}}}, {"Binds": ["named:/b"]})
    making = asyncio.create_task(place.volumes.prepare(container, slow))
    await eventually_async(lambda: len(place.volumes.all()) == 2 and place.volumes.users("named"))
    for volume in place.volumes.all():
        with pytest.raises(Conflict):
            await place.volumes.remove(volume.name)
    release.set()
    assert len(await making) == 2


async def test_a_container_that_cannot_be_made_leaves_no_volume(place: Place) -> None:
    mount = {"Type": "bind", "Source": "/nowhere", "Target": "/x"}
    with pytest.raises(InvalidArgument, match="bind source path does not exist: /nowhere"):
        await place.container(Binds=["new:/data"], Mounts=[mount], volumes=("/cache",))
    assert place.volumes.all() == []


async def test_mounts_in_every_spelling(place: Place, tmp_path: Path) -> None:
    missing = tmp_path / "made" / "for it"
    container = await place.container(
        Binds=[f"{missing}:/bind:ro,rslave", "named:/named:nocopy"],
        Mounts=[
            {"Type": "tmpfs", "Target": "/tmp2", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o700}},
            {"Type": "volume", "Target": "/other/deep", "VolumeOptions": {"Labels": {"a": "b"}}},
            {"Type": "bind", "Source": "/usr", "Target": "/other", "ReadOnly": True},
        ],
        Tmpfs={"/run": "rw,size=64m,exec"},
        volumes=("/named", "/image/"),
    )
    assert missing.is_dir()
    found = {mount.target: mount for mount in container.mounts}
    assert set(found) == {"/bind", "/named", "/tmp2", "/other/deep", "/other", "/run", "/image"}
    assert (found["/bind"].kind, found["/bind"].writable, found["/bind"].propagation) == ("bind", False, "rslave")
    assert (found["/named"].name, found["/named"].no_copy) == ("named", True)
    assert found["/named"].source == str(place.volumes.path("named"))
    assert found["/tmp2"].options == ["nosuid", "nodev", "noexec", "size=1024", "mode=700"]
    assert found["/run"].options == ["nosuid", "nodev", "rw", "size=64m", "exec"]
    assert place.volumes.get(found["/other/deep"].name).labels["a"] == "b"
    assert found["/image"].is_anonymous
    assert [mount.target for mount in container.mounts].index("/other") < [
        mount.target for mount in container.mounts
    ].index("/other/deep")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Binds": ["/a:/x", "/b:/x"]}, "Duplicate mount point: /x"),
        ({"Binds": ["/a:/x"], "Tmpfs": {"/x": ""}}, "Duplicate mount point: /x"),
        ({"Binds": ["/a:/"]}, "destination can't be '/'"),
        ({"Binds": ["/a:/x/.."]}, "destination can't be '/'"),
        ({"Binds": ["/a:x"]}, "mount path must be absolute"),
        ({"Binds": ["./a:/x"]}, "host path must be absolute"),
        ({"Binds": ["/a:/x:rx"]}, "invalid mode: rx"),
        ({"Binds": ["/a:/x:ro,rw"]}, "contradicts"),
        ({"Binds": ["a:b:c:d"]}, "invalid volume specification"),
        ({"Binds": ["name:/x:rshared"]}, "propagation is for host paths"),
        ({"Binds": ["../x:/x"]}, "host path must be absolute"),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
        ({"Mounts": [{"Type": "volume", "Source": "/etc", "Target": "/x"}]}, "a host path is a bind"),
        ({"Mounts": [{"Type": "tmpfs", "Source": "a", "Target": "/x"}]}, "field Source must not be specified"),
        ({"Mounts": [{"Type": "floppy", "Target": "/x"}]}, "mount type unknown"),
        ({"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/x", "VolumeOptions": {"NoCopy": True}}]}, "must not"),
        ({"Tmpfs": {"/x": "size=1,loop"}}, "invalid tmpfs option"),
        ({"VolumesFrom": ["nobody"]}, "No such container: nobody"),
    ],
)
async def test_what_is_refused(place: Place, host: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        await place.container(**host)
    assert place.volumes.all() == []


async def test_what_this_engine_has_not_is_named(place: Place) -> None:
    subpath = {"Type": "volume", "Source": "v1", "Target": "/x", "VolumeOptions": {"Subpath": "a"}}
    with pytest.raises(Unsupported, match="Subpath"):
        await place.container(Mounts=[subpath])
    with pytest.raises(NotFound, match='plugin "nfs" not found'):
        await place.volumes.create("name", driver="nfs")
    with pytest.raises(InvalidArgument, match='invalid option: "sise"'):
        await place.volumes.create("name", options={"sise": "1"})
    with pytest.raises(InvalidArgument, match='missing required option: "device"'):
        await place.volumes.create("name", options={"type": "nfs"})


async def test_volumes_from_another_container(place: Place) -> None:
    first = await place.container(1, Binds=["data:/data", "/usr:/usr2:ro"], volumes=("/cache",))
    second = await place.container(2, VolumesFrom=["c1:ro"], Binds=["mine:/data"])
    found = {mount.target: (mount.name or mount.source, mount.writable) for mount in second.mounts}
    anonymous = next(mount.name for mount in first.mounts if mount.target == "/cache")
    assert found == {"/data": ("mine", True), "/usr2": ("/usr", False), "/cache": (anonymous, False)}
    await place.volumes.release(first, remove_anonymous=True)
    assert anonymous in [each.name for each in place.volumes.all()]  # the other still has it


def _die_at(last: str, source: int, goal: int, name: str, found: os.stat_result) -> None:
    if name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    _copy_file(source, goal, name, found)


def _full_at(last: str, source: int, goal: int, name: str, found: os.stat_result) -> None:
    if name == last:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _copy_file(source, goal, name, found)


def _mounts_on(path: Path) -> int:
    return sum(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


class TestCopyUp:
    pytestmark = needs_root

    async def test_an_empty_volume_gets_what_the_image_has(self, place: Place) -> None:
        data = place.image / "data"
        (data / "sub").mkdir(parents=True)
        (data / "file").write_text("content")
        os.chown(data / "file", 33, 44)
        (data / "file").chmod(0o4750)
        os.setxattr(data / "file", "user.note", b"x")
        os.link(data / "file", data / "sub" / "same")
        os.symlink("/etc/passwd", data / "link")
        os.mkfifo(data / "pipe")
        os.mknod(data / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.utime(data / "sub", ns=(10**18, 10**18))
        os.chown(data, 55, 66)
        data.chmod(0o1777)
        await place.container(Binds=["data:/data"])
        copy = place.volumes.path("data")
        found = (copy / "file").stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (33, 44, 0o4750)
        assert os.getxattr(copy / "file", "user.note") == b"x"
        assert (copy / "sub" / "same").stat().st_ino == found.st_ino
        assert os.readlink(copy / "link") == "/etc/passwd"
        assert stat.S_ISFIFO((copy / "pipe").stat().st_mode)
        assert (copy / "null").stat().st_rdev == os.makedev(1, 3)
        assert (copy / "sub").stat().st_mtime_ns == 10**18
        assert (copy.stat().st_uid, copy.stat().st_gid, stat.S_IMODE(copy.stat().st_mode)) == (55, 66, 0o1777)

    async def test_a_full_one_a_nocopy_one_and_a_bind_get_nothing(self, place: Place, tmp_path: Path) -> None:
        (place.image / "data").mkdir()
        (place.image / "data" / "file").write_text("image")
        await place.volumes.create("full")
        (place.volumes.path("full") / "own").write_text("own")
        await place.container(1, Binds=["full:/data"])
        await place.container(2, Binds=["bare:/data:nocopy"])
        await place.container(3, Binds=[f"{tmp_path}/bound:/data"])
        assert place.views == 0
        assert os.listdir(place.volumes.path("full")) == ["own"]
        assert os.listdir(place.volumes.path("bare")) == []
        await place.container(4, Binds=["late:/not/in/image"])
        assert os.listdir(place.volumes.path("late")) == []

    @pytest.mark.timeout(60)
    async def test_an_engine_killed_while_it_copies_leaves_no_half_copy(self, place: Place) -> None:
        data = place.image / "data"
        data.mkdir()
        for name in ("a", "z"):
            (data / name).write_text(name)
        await place.volumes.create("data")
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                copyup._copy_file = lambda *given: _die_at("z", *given)
                asyncio.run(place.container(1, Binds=["data:/data"]))
            os._exit(1)
        assert os.WIFSIGNALED((await asyncio.to_thread(os.waitpid, child, 0))[1])
        place.volumes = place.new()
        await place.volumes.open(())
        await place.container(2, Binds=["data:/data"])
        assert sorted(os.listdir(place.volumes.path("data"))) == ["a", "z"]

    async def test_a_copy_that_fails_says_why_and_leaves_nothing(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when another container has the volume meanwhile: it stays then, empty."""
        (place.image / "data").mkdir()
        (place.image / "data" / "a").write_text("a")
        (place.image / "data" / "z").write_text("z")
        await place.container(1, Binds=["old:/elsewhere"])
        monkeypatch.setattr(copyup, "_copy_file", lambda *given: _full_at("z", *given))
        for name in ("new", "old"):
            with pytest.raises(EngineError, match=r"cannot copy /data of the image to its volume: .*No space left"):
                await place.container(2, Binds=[f"{name}:/data"])
        assert [each.name for each in place.volumes.all()] == ["old"]
        assert os.listdir(place.volumes.path("old")) == []
        assert os.listdir(place.layout.tmp) == []

    async def test_containers_made_at_once_wait_for_the_whole_copy(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place.image / "data").mkdir()
        for name in ("a", "m", "z"):
            (place.image / "data" / name).write_text(name)
        arrived, going_on = threading.Event(), threading.Event()

        def slow(source: int, goal: int, name: str, found: os.stat_result) -> None:
            if name == "m":
                arrived.set()
                assert going_on.wait(30)
            _copy_file(source, goal, name, found)

        monkeypatch.setattr(copyup, "_copy_file", slow)
        first = asyncio.create_task(place.container(1, Binds=["data:/data"]))
        await asyncio.to_thread(arrived.wait, 30)
        second = asyncio.create_task(place.container(2, Binds=["data:/data"]))
        await eventually_async(lambda: len(place.volumes.users("data")) == 2)
        done, _ = await asyncio.wait([second], timeout=0.3)
        assert not done
        assert os.listdir(place.volumes.path("data")) == []
        going_on.set()
        await asyncio.gather(first, second)
        assert sorted(os.listdir(place.volumes.path("data"))) == ["a", "m", "z"]

    async def test_a_volume_that_runs_with_a_container_keeps_its_folder(self, place: Place) -> None:
        (place.image / "data").mkdir()
        (place.image / "data" / "file").write_text("image")
        first = await place.container(1, Binds=["data:/elsewhere"])
        await place.volumes.mount(first)
        bound = os.open(place.volumes.path("data"), os.O_PATH)
        await place.container(2, Binds=["data:/data"])
        assert os.listdir(f"/proc/self/fd/{bound}") == ["file"]
        os.close(bound)

    async def test_links_in_the_image_do_not_lead_out(self, place: Place, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_text("host")
        os.symlink(secret, place.image / "data")
        os.symlink("../../../../../../.." + str(secret), place.image / "up")
        (place.image / "real").mkdir()
        (place.image / "real" / "file").write_text("image")
        os.symlink("/real", place.image / "inner")
        container = await place.container(Binds=["one:/data", "two:/up", "three:/inner"])
        assert len(container.mounts) == 3
        assert os.listdir(place.volumes.path("one")) == []
        assert os.listdir(place.volumes.path("two")) == []
        assert os.listdir(place.volumes.path("three")) == ["file"]

    def test_a_volume_that_changes_meanwhile_never_leads_out(self, tmp_path: Path) -> None:
        """Another container has the volume and swaps folders for links while the image is copied."""
        source, goal, canary = tmp_path / "image", tmp_path / "volume", tmp_path / "canary"
        canary.mkdir()
        for number in range(20):
            (source / "data" / "a" / f"d{number}").mkdir(parents=True)
            (source / "data" / "a" / f"d{number}" / "file").write_text("from the image")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    os.rename(goal / "a", goal / "moved")
                    os.symlink(canary, goal / "a")
                with contextlib.suppress(OSError):
                    os.unlink(goal / "a")
                    os.rename(goal / "moved", goal / "a")

        other = threading.Thread(target=swap)
        goal.mkdir()
        other.start()
        try:
            for _ in range(100):
                with contextlib.suppress(EngineError):
                    copy_up(source, "/data", goal)
                os.system(f"rm -rf {goal}/*")
        finally:
            stop.set()
            other.join()
        assert os.listdir(canary) == []


class TestOptions:
    pytestmark = needs_root

    async def test_a_volume_with_options_is_mounted_while_it_is_used(self, place: Place) -> None:
        await place.volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"})
        first = await place.container(1, Binds=["ram:/data"])
        second = await place.container(2, Binds=["ram:/data"])
        path = place.volumes.path("ram")
        for container in (first, second):
            await place.volumes.mount(container)
            container.state.status = Status.RUNNING
        assert os.path.ismount(path)
        assert path.stat().st_uid == 1000
        place.volumes = place.new()
        await place.volumes.open([first, second])
        await place.volumes.unmount(first)
        assert os.path.ismount(path)
        await place.volumes.unmount(second)
        assert not os.path.ismount(path)
        await place.volumes.mount(first)
        first.state.status = Status.EXITED
        place.volumes = place.new()
        await place.volumes.open([first])
        assert not os.path.ismount(path)

    async def test_containers_that_start_and_stop_at_once_share_one_mount(self, place: Place) -> None:
        await place.volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs"})
        path = place.volumes.path("ram")
        containers = [await place.container(number, Binds=["ram:/data"]) for number in (1, 2, 3)]
        first, *others = containers
        await asyncio.gather(*(place.volumes.mount(each) for each in containers))
        assert _mounts_on(path) == 1
        await asyncio.gather(*(place.volumes.unmount(each) for each in others))
        assert _mounts_on(path) == 1
        await asyncio.gather(place.volumes.unmount(first), *(place.volumes.mount(each) for each in others))
        assert _mounts_on(path) == 1
        await asyncio.gather(*(place.volumes.unmount(each) for each in others))
        assert _mounts_on(path) == 0

    async def test_a_mount_is_made_once_for_all_who_start_at_once(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await place.volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs"})
        containers = [await place.container(number, Binds=["ram:/data"]) for number in (1, 2, 3)]
        mounted: list[Path] = []
        monkeypatch.setattr(manager, "mount_volume", lambda path, options: mounted.append(path))
        await asyncio.gather(*(place.volumes.mount(each) for each in containers))
        assert mounted == [place.volumes.path("ram")]

    async def test_a_start_waits_for_an_unmount_under_way(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        await place.volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs"})
        first, second = [await place.container(number, Binds=["ram:/data"]) for number in (1, 2)]
        await place.volumes.mount(first)
        arrived, going_on = threading.Event(), threading.Event()

        def slow(path: Path) -> None:
            arrived.set()
            assert going_on.wait(30)
            unmount_volume(path)

        monkeypatch.setattr(manager, "unmount_volume", slow)
        stopping = asyncio.create_task(place.volumes.unmount(first))
        await asyncio.to_thread(arrived.wait, 30)
        starting = asyncio.create_task(place.volumes.mount(second))
        done, _ = await asyncio.wait([starting], timeout=0.3)
        assert not done
        going_on.set()
        await asyncio.gather(stopping, starting)
        assert os.path.ismount(place.volumes.path("ram"))
        await place.volumes.unmount(second)

    async def test_a_start_cancelled_while_it_mounts_leaves_nothing_mounted(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await place.volumes.create("ram", options={"type": "tmpfs", "device": "tmpfs"})
        container = await place.container(Binds=["ram:/data"])
        arrived, going_on = threading.Event(), threading.Event()

        def slow(path: Path, options: dict[str, str]) -> None:
            arrived.set()
            assert going_on.wait(30)
            mount_volume(path, options)

        monkeypatch.setattr(manager, "mount_volume", slow)
        starting = asyncio.create_task(place.volumes.mount(container))
        await asyncio.to_thread(arrived.wait, 30)
        starting.cancel()
        stopping = asyncio.create_task(place.volumes.unmount(container))
        going_on.set()
        await asyncio.wait([starting, stopping])
        assert starting.cancelled()
        assert not os.path.ismount(place.volumes.path("ram"))

    async def test_what_cannot_be_mounted_is_told(self, place: Place) -> None:
        await place.volumes.create("bad", options={"type": "nosuchfs", "device": "-o", "o": "x"})
        container = await place.container(Binds=["bad:/data"])
        with pytest.raises(EngineError, match="failed to mount local volume"):
            await place.volumes.mount(container)

    async def test_what_is_mounted_is_never_deleted_with_the_volume(self, place: Place, tmp_path: Path) -> None:
        """`type=none,o=bind,device=/path`: removing the volume must not remove the path's content."""
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").write_text("keep")
        await place.volumes.create("bound", options={"type": "none", "o": "bind", "device": str(precious)})
        container = await place.container(Binds=["bound:/data"])
        await place.volumes.mount(container)
        assert (place.volumes.path("bound") / "file").exists()
        container.mounts, mounts = [], container.mounts
        place.volumes = place.new()  # an engine that was killed while it was mounted
        await place.volumes.open([])
        await place.volumes.remove("bound")
        assert mounts
        assert (precious / "file").read_text() == "keep"


def test_sizes_count_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "d").write_bytes(b"x" * 500)
    os.symlink("/", tmp_path / "c" / "out")
    assert tree_size(tmp_path) == 1501
