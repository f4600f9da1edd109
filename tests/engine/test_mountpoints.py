"""What is mounted, and the working folder, where an image has links or nothing: on the native engine as on Docker.

Where the two differ, a test says so and why:
- Docker makes the working folder when the container is created, the native engine when it first starts.
- Docker replaces an image's links at /dev, /proc, /sys and the network's files by folders and files of its own in a
  layer over the image. The native engine follows those at the files, and refuses the others (test_threats_runtime.py).
- A mount that a link leads below /proc is refused by both; Docker follows /proc/self/root as its own process sees it.
"""

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.engines import Dockerd, EngineProcess, Native, unique
from tests.support.images import TestImage, busybox, make_tar

pytestmark = [pytest.mark.root]


@pytest.fixture(scope="module", params=["native", "docker"])
def engine(request: pytest.FixtureRequest) -> Iterator[EngineProcess]:
    """Either engine, with something to mount."""
    kind: type[EngineProcess] = {"native": Native, "docker": Dockerd}[request.param]
    need(kind.why_not())
    with kind() as engine:
        (engine.folder / "source").mkdir()
        (engine.folder / "source" / "mark").write_text("from the host\n")
        (engine.folder / "source.txt").write_text("from the host\n")
        yield engine


@dataclass
class Case:
    """busybox with one more layer, and what is mounted in it."""

    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    host: dict[str, Any] = field(default_factory=dict)

    def image(self) -> TestImage:
        base = busybox(WorkingDir=self.workdir, User=self.user)
        layer = make_tar(self.files, links=self.links, folders=self.folders)
        return TestImage((*base.layers, layer), base.config)


class Refused(Exception):
    """By create or start, with what answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message.lower()


class Ran:
    """A container that has ended: what it printed, and what is new in its root."""

    def __init__(self, said: str, upper: Path) -> None:
        self.said = said.splitlines()
        self.made = {f"/{path.relative_to(upper)}": _shown(path) for path in upper.rglob("*")}

    def new(self, *paths: str) -> list[str]:
        """Kind, mode and owner of each."""
        return [self.made[path] for path in paths]


def _shown(path: Path) -> str:
    found = path.lstat()
    return f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"


FOLDER, FILE = "drwxr-xr-x 0:0", "-rwxr-xr-x 0:0"


@contextlib.contextmanager
def created(engine: EngineProcess, case: Case, script: str = "true") -> Iterator[str]:
    """A container of the case, by name; it and its image are removed."""
    name, reference = unique(), f"place:{unique()}"
    engine.load(case.image().archive(reference))
    host = {"NetworkMode": "none", **_filled(engine, case.host)}
    body = {"Image": reference, "Cmd": ["sh", "-c", script], "HostConfig": host}
    try:
        _ask(engine, "/containers/create", body, name=name)
        yield name
    finally:
        engine.request("DELETE", f"/containers/{name}", force="true", v="true")
        engine.request("DELETE", f"/images/{reference}")


def _filled(engine: EngineProcess, host: dict[str, Any]) -> dict[str, Any]:
    names = {"SOURCE": f"{engine.folder}/source", "FILE": f"{engine.folder}/source.txt", "VOLUME": unique("place")}
    return {**host, "Binds": [each.format(**names) for each in host.get("Binds", ())]}


def _ask(engine: EngineProcess, path: str, body: Any = None, **query: Any) -> None:
    status, answer = engine.request("POST", path, body, **query)
    if status >= 400:
        raise Refused(status, answer["message"])


def run(engine: EngineProcess, case: Case, script: str = "true") -> Ran:
    """Raises Refused."""
    with created(engine, case, script) as name:
        _ask(engine, f"/containers/{name}/start")
        engine.expect("POST", f"/containers/{name}/wait")
        return Ran(engine.cli("logs", name), upper_of(engine, name))


def upper_of(engine: EngineProcess, name: str) -> Path:
    """The folder of what a container changed."""
    found = engine.expect("GET", f"/containers/{name}/json")
    if isinstance(engine, Native):
        return engine.root / "containers" / found["Id"] / "upper"
    return Path(found["GraphDriver"]["Data"]["UpperDir"])


DANGLING = {
    "absolute": ({"data": "/srv/real"}, "/srv/real"),
    "relative": ({"data": "srv/real"}, "/srv/real"),
    "out-of-the-root": ({"data": "../../../srv/real"}, "/srv/real"),
    "chain": ({"data": "one/real", "one": "/two", "two": "tmp/../srv"}, "/srv/real"),
    "below-folders": ({"a/b/up": "../srv", "data": "/a/b/up/real"}, "/a/srv/real"),
}
MOUNTS: dict[str, tuple[dict[str, Any], str]] = {
    "bind": ({"Binds": ["{SOURCE}:/data"]}, "cat /data/mark"),
    "file": ({"Binds": ["{FILE}:/data"]}, "cat /data"),
    "volume": ({"Binds": ["{VOLUME}:/data"]}, "echo from the host > /data/x; cat /data/x"),
    "tmpfs": ({"Tmpfs": {"/data": ""}}, "echo from the host > /data/x; cat /data/x"),
}


@pytest.mark.parametrize("way", DANGLING)
@pytest.mark.parametrize("kind", MOUNTS)
def test_where_a_link_dangles_its_target_is_made_inside(engine: EngineProcess, kind: str, way: str) -> None:
    links, real = DANGLING[way]
    host, script = MOUNTS[kind]
    ran = run(engine, Case(links=links, host=host), f"{script}; grep -c ' {real} ' /proc/mounts")
    assert ran.said == ["from the host", "1"]
    assert ran.new(os.path.dirname(real), real) == [FOLDER, FILE if kind == "file" else FOLDER]


def test_below_a_link_that_dangles_folders_are_made(engine: EngineProcess) -> None:
    case = Case(links={"data": "/srv/real"}, host={"Binds": ["{SOURCE}:/data/deep/one", "{FILE}:/data/two"]})
    ran = run(engine, case, "cat /srv/real/deep/one/mark /srv/real/two")
    assert ran.said == ["from the host"] * 2
    assert ran.new("/srv/real/deep/one", "/srv/real/two") == [FOLDER, FILE]


def test_without_a_link_what_is_missing_is_made_alike(engine: EngineProcess) -> None:
    ran = run(engine, Case(host={"Binds": ["{SOURCE}:/a/b", "{FILE}:/c/d", "{VOLUME}:/e"]}), "cat /a/b/mark /c/d")
    assert ran.said == ["from the host"] * 2
    assert ran.new("/a", "/a/b", "/c", "/c/d", "/e") == [FOLDER, FOLDER, FOLDER, FILE, FOLDER]


def test_a_link_that_leads_somewhere_makes_nothing(engine: EngineProcess) -> None:
    case = Case({"data": "../srv/real"}, {"srv/real/own": b"x"}, {"srv/real": 0o700}, host=MOUNTS["bind"][0])
    ran = run(engine, case, "cat /srv/real/mark")
    assert ran.said == ["from the host"]
    assert not [path for path in ran.made if path.startswith("/srv")]


def test_a_read_only_root_has_them_too(engine: EngineProcess) -> None:
    host = {"ReadonlyRootfs": True, **MOUNTS["bind"][0]}
    case = Case(links={"data": "/srv/real", "w": "/srv/work"}, workdir="/w/x", host=host)
    ran = run(engine, case, "cat /data/mark; pwd -P; touch /srv/new 2>&1 | grep -o 'Read-only file system'")
    assert ran.said == ["from the host", "/srv/work/x", "Read-only file system"]
    assert ran.new("/srv/real", "/srv/work", "/srv/work/x") == [FOLDER] * 3


def test_it_starts_again_and_again(engine: EngineProcess) -> None:
    case = Case(links={"data": "/srv/real", "w": "a/b"}, workdir="/w/x", host=MOUNTS["volume"][0])
    with created(engine, case, "date >> /data/log; pwd -P") as name:
        for _ in range(3):
            _ask(engine, f"/containers/{name}/start")
            engine.expect("POST", f"/containers/{name}/wait")
        assert engine.cli("logs", name).splitlines() == ["/a/b/x"] * 3
        assert not list((upper_of(engine, name) / "srv/real").iterdir())


def test_the_init_comes_through_a_link(engine: EngineProcess) -> None:
    ran = run(engine, Case(links={"sbin": "srv/sbin"}, host={"Init": True}), "cat /proc/1/comm; ls /sbin")
    assert ran.said == ["docker-init", "docker-init"]
    assert ran.new("/srv", "/srv/sbin", "/srv/sbin/docker-init") == [FOLDER, FOLDER, FILE]


@pytest.mark.parametrize("tmpfs", [{}, {"/run": ""}])
def test_the_networks_files_are_seen_through_links(engine: EngineProcess, tmpfs: dict[str, str]) -> None:
    """As images with systemd have them; with a tmpfs the target is made there, at each start."""
    links = {"etc/hosts": "/run/a/hosts", "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"}
    ran = run(engine, Case(links=links, host={"NetworkMode": "bridge", "Tmpfs": tmpfs}), NETWORK)
    assert ran.said == ["1", "1", "1"]


NETWORK = (
    "grep -c ^127.0.0.1 /etc/hosts; grep -q ^nameserver /etc/resolv.conf && echo 1; grep -c $HOSTNAME /etc/hostname"
)


@pytest.mark.parametrize("source", ["{SOURCE}", "{VOLUME}"])
def test_the_networks_files_are_seen_in_a_volume(engine: EngineProcess, source: str) -> None:
    ran = run(engine, Case(host={"NetworkMode": "bridge", "Binds": [f"{source}:/etc"]}), NETWORK)
    assert ran.said == ["1", "1", "1"]
    if source == "{SOURCE}":
        for name in ("hosts", "hostname", "resolv.conf"):
            made = engine.folder / "source" / name
            assert (_shown(made), made.read_text()) == (FILE, "")
            made.unlink()


@pytest.mark.parametrize("target", ["/v/sub/deep", "/data/deep"])
def test_inside_a_volume_it_is_made_there(engine: EngineProcess, target: str) -> None:
    case = Case(links={"data": "/v/sub"}, host={"Binds": ["{VOLUME}:/v", f"{{SOURCE}}:{target}"]})
    ran = run(engine, case, "cat /v/sub/deep/mark; stat -c '%A %u:%g' /v/sub")
    assert ran.said == ["from the host", FOLDER]
    assert not [path for path in ran.made if path.startswith("/v/")]


def test_a_link_in_a_volume_is_the_containers_not_the_hosts(engine: EngineProcess) -> None:
    outside = engine.folder / "outside"
    outside.mkdir()
    volume = unique("place")
    made = Case(links={"v/link": f"{'../' * 12}{outside}"}, host={"Binds": [f"{volume}:/v"]})
    try:
        run(engine, made)
        ran = run(engine, Case(host={"Binds": [f"{volume}:/v", "{SOURCE}:/v/link/deep"]}), f"cat {outside}/deep/mark")
        assert ran.said == ["from the host"]
        assert ran.new(f"{outside}/deep") == [FOLDER]
        assert not list(outside.iterdir())
    finally:
        outside.rmdir()
        engine.request("DELETE", f"/volumes/{volume}")


def test_inside_a_filesystem_of_the_containers_own_it_is_made_there(engine: EngineProcess) -> None:
    case = Case(links={"data": "/dev/shm/deep"}, host=MOUNTS["bind"][0])
    assert run(engine, case, "cat /dev/shm/deep/mark").said == ["from the host"]


@pytest.mark.parametrize("there", [True, False])
def test_a_volume_gets_what_the_image_has_behind_the_link(engine: EngineProcess, there: bool) -> None:
    files = {"srv/real/own": b"of the image\n"} if there else {}
    case = Case(
        {"data": "/srv/real"}, files, {"srv": 0o755, "srv/real": 0o750} if there else {}, host=MOUNTS["volume"][0]
    )
    ran = run(engine, case, "cat /data/own; stat -c %A /data/.; touch /srv/real/new && ls -A /data")
    expected = ["of the image", "drwxr-x---", "new", "own"] if there else ["drwxr-xr-x", "new"]
    assert [line for line in ran.said if "No such file" not in line] == expected


def test_files_are_copied_into_a_volume_before_the_first_start(engine: EngineProcess) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("given")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"here"))
    with created(engine, Case(links={"data": "/srv/real"}, host=MOUNTS["volume"][0]), "cat /data/given") as name:
        engine.cli("cp", "-", f"{name}:/data", input=content.getvalue())
        _ask(engine, f"/containers/{name}/start")
        engine.expect("POST", f"/containers/{name}/wait")
        assert engine.cli("logs", name) == "here"


WORKDIRS = {
    "missing": ({}, "/new/folder", ["/new", "/new/folder"]),
    "through-a-link": ({"w": "/srv/real"}, "/w/x", ["/srv", "/srv/real", "/srv/real/x"]),
    "a-link": ({"w": "srv/real"}, "/w", ["/srv", "/srv/real"]),
    "out-of-the-root": ({"w": "../../../canary"}, "/w/x", ["/canary", "/canary/x"]),
    "chain": ({"w": "a/b", "a": "c"}, "/w/x", ["/c", "/c/b", "/c/b/x"]),
}


@pytest.mark.parametrize("user", ["", "nobody"])
@pytest.mark.parametrize("way", WORKDIRS)
def test_a_working_folder_is_made_inside(engine: EngineProcess, way: str, user: str) -> None:
    links, workdir, made = WORKDIRS[way]
    ran = run(engine, Case(links=links, workdir=workdir, user=user), "pwd -P; stat -c '%A %u:%g' .")
    assert ran.said == [made[-1], FOLDER]
    assert ran.new(*made) == [FOLDER] * len(made)


@pytest.mark.parametrize("workdir", ["/v/x", "/w/x"])
def test_a_working_folder_in_a_volume_is_made_there(engine: EngineProcess, workdir: str) -> None:
    case = Case(links={"w": "/v"}, workdir=workdir, host={"Binds": ["{VOLUME}:/v"]})
    assert run(engine, case, "pwd -P; ls -A /v; stat -c '%A %u:%g' .").said == ["/v/x", "x", FOLDER]


LOOP = {"data": "/other", "other": "data"}
REFUSALS = {
    "a loop": (Case(links=LOOP, host=MOUNTS["bind"][0]), 500, "too many levels of symbolic links"),
    "a loop at a file": (Case(links=LOOP, host=MOUNTS["file"][0]), 500, "too many levels of symbolic links"),
    "a loop on the way": (Case(links=LOOP, host={"Binds": ["{SOURCE}:/data/x"]}), 500, "too many levels of symbolic"),
    "a file on the way": (Case({"data": "/f/x"}, {"f": b""}, host=MOUNTS["bind"][0]), 400, "onto a file"),
    "a file in a plain way": (Case(files={"f": b""}, host={"Binds": ["{SOURCE}:/f/x"]}), 400, "onto a file"),
    "a folder onto a file": (Case({"data": "f"}, {"f": b""}, host=MOUNTS["bind"][0]), 400, "onto a file"),
    "a file onto a folder": (Case({"data": "f"}, {}, {"f": 0o755}, host=MOUNTS["file"][0]), 400, "onto a file"),
    "the root": (Case(links={"data": "/"}, host=MOUNTS["bind"][0]), 400, ""),
    "inside /proc": (Case(links={"data": "/proc/sys"}, host=MOUNTS["bind"][0]), 500, "inside /proc"),
    "plainly inside /proc": (Case(host={"Binds": ["{SOURCE}:/proc/sys"]}), 500, "inside /proc"),
    "/proc": (Case(links={"data": "/proc"}, host=MOUNTS["bind"][0]), 500, "not of type proc"),
    "a volume that is read-only": (
        Case(host={"Binds": ["{VOLUME}:/v:ro", "{SOURCE}:/v/sub"]}),
        500,
        "read-only file system",
    ),
    "a link to a volume that is read-only": (
        # Two deep: Docker mounts what is as deep as another in an order of chance, one time in eight the link first.
        Case(links={"w/data": "/v/sub"}, host={"Binds": ["{VOLUME}:/v:ro", "{SOURCE}:/w/data"]}),
        500,
        "read-only file system",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_mounted_on_is_told(engine: EngineProcess, what: str) -> None:
    case, status, words = REFUSALS[what]
    with pytest.raises(Refused) as refused:
        run(engine, case)
    assert refused.value.status == status, refused.value
    assert words in refused.value.message


def test_a_file_in_proc_that_may_be_faked_is(engine: EngineProcess) -> None:
    case = Case(links={"data": "/proc/uptime"}, host=MOUNTS["file"][0])
    assert run(engine, case, "cat /proc/uptime").said == ["from the host"]


@pytest.mark.parametrize(
    ("case", "status", "words"),
    [
        (Case(links={"w": "x", "x": "w"}, workdir="/w/x"), 500, "too many l"),
        # Docker finds it out while it creates the container.
        (Case(links={"w": "f"}, files={"f": b""}, workdir="/w"), 400, "cannot mkdir: /w is not a directory"),
        (Case(files={"f": b""}, workdir="/f/x"), 400, "not a directory"),
        (Case(links={"w": "/proc/self/fd"}, workdir="/w/7"), 400, ""),
    ],
)
def test_a_working_folder_that_cannot_be_is_told(engine: EngineProcess, case: Case, status: int, words: str) -> None:
    with pytest.raises(Refused) as refused:
        run(engine, case)
    expected = 500 if engine.kind == "docker" and "directory" in words else status
    assert refused.value.status == expected, refused.value
    assert words in refused.value.message
