"""What images and neighbours have done to break out of a container, tried on the native engine.

Each image here lies about its root: links where mounts go, a working directory of somebody else's, a user list
that points outside. The canary is a folder of the host that no container is given: nothing may read it, change it
or mount over it. Rows of the threat list: leaked descriptors and working directories (CVE-2024-21626,
CVE-2019-5736), mounts through links (CVE-2021-30465, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881), working
directories made through links (CVE-2026-55686).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.counts import count
from tests.support.engines import EngineProcess, Native, unique
from tests.support.images import TestImage, busybox, make_tar
from tests.support.scratch import discard, make_scratch
from tests.support.waiting import eventually

SECRET = "what-no-container-may-read"
RACES = count(40, 1000)
"""How many starts beside a neighbour that renames."""
ALONE = {"HostConfig": {"NetworkMode": "none"}}

pytestmark = [pytest.mark.root, pytest.mark.timeout(max(300, RACES))]


class Canary:
    """A folder of the host; `check` says whether anything there has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "canary"
        (self.folder / "sub").mkdir(parents=True)
        for name in ("secret", "hosts", "null", "console", "sub/secret"):
            (self.folder / name).write_text(f"{SECRET}\n")
        (self.folder / "passwd").write_text("ghost:x:7777:7777::/:/bin/sh\n")
        self.before = self.state()

    def state(self) -> str:
        """A digest of every name, kind, owner, mode and content, and of the mounts at or below."""
        total = hashlib.sha256()
        for path in [self.folder, *sorted(self.folder.rglob("*"))]:
            status = path.lstat()
            total.update(f"{path} {status.st_mode} {status.st_uid} {status.st_gid} {status.st_mtime_ns}".encode())
            total.update(path.read_bytes() if path.is_file() else b"")
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        total.update("".join(line for line in mounts if str(self.folder) in line).encode())
        return total.hexdigest()

    def check(self) -> None:
        assert self.state() == self.before, sorted(self.folder.rglob("*"))


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    need(Native.why_not())
    with Native() as engine:
        engine.load(busybox().archive("busybox:threats"))
        yield engine


@pytest.fixture
def canary() -> Iterator[Canary]:
    folder = make_scratch()
    folder.chmod(0o755)
    try:
        canary = Canary(folder)
        yield canary
        canary.check()
    finally:
        discard(folder)


def load(
    engine: EngineProcess, *, links: dict[str, str] | None = None, twin: Canary | None = None, **config: Any
) -> str:
    """busybox with one more layer, in which `links` replace what was there; its reference.

    `twin`: the image has a folder of the canary's own path, so that what follows a link inside its root arrives.
    """
    reference = f"threat:{unique()}"
    base = busybox(**config)
    parts = twin.folder.parts[1:] if twin else ()
    layer = make_tar({}, links=links or {}, folders={"/".join(parts[: n + 1]): 0o777 for n in range(len(parts))})
    engine.load(TestImage((*base.layers, layer), base.config).archive(reference))
    return reference


def attempt(engine: EngineProcess, image: str, *command: str, **body: Any) -> str | None:
    """Run a container to its end; what it printed, None when it was refused. It is removed."""
    name = unique()
    request = {"Image": image, "Cmd": list(command), **ALONE, **body}
    status, answer = engine.request("POST", "/containers/create", request, name=name)
    if status >= 400:
        assert status in (400, 403, 404, 409), (status, answer)
        return None
    try:
        status, answer = engine.request("POST", f"/containers/{name}/start")
        assert status in (204, 400, 403, 409, 500), answer
        if status != 204:
            return None
        engine.expect("POST", f"/containers/{name}/wait")
        return engine.cli("logs", name)
    finally:
        engine.request("DELETE", f"/containers/{name}", force="true", v="true")


@pytest.fixture
def sleeper(engine: EngineProcess) -> Iterator[tuple[str, int]]:
    """A container that goes on: its name, and the pid of its first process here."""
    name = unique()
    engine.run("busybox:threats", "sleep", "1000", name=name, **ALONE)
    yield name, engine.expect("GET", f"/containers/{name}/json")["State"]["Pid"]
    engine.request("DELETE", f"/containers/{name}", force="true")


def descriptors(pid: int) -> dict[str, str]:
    folder = Path(f"/proc/{pid}/fd")
    return {path.name: os.readlink(path) for path in folder.iterdir()}


def test_a_container_has_three_descriptors_and_its_own_folder(sleeper: tuple[str, int]) -> None:
    _, pid = sleeper
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert set(descriptors(pid)) == {"0", "1", "2"}, descriptors(pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


@pytest.mark.parametrize("tty", [False, True])
def test_an_exec_has_three_descriptors(engine: EngineProcess, sleeper: tuple[str, int], tty: bool) -> None:
    name, _ = sleeper
    order = {"Cmd": ["sleep", "1000"], "Tty": tty, "AttachStdout": False}
    made = engine.expect("POST", f"/containers/{name}/exec", order)["Id"]
    engine.expect("POST", f"/exec/{made}/start", {"Detach": True, "Tty": tty})
    pid = eventually(lambda: engine.expect("GET", f"/exec/{made}/json")["Pid"])
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert set(descriptors(pid)) == {"0", "1", "2"}, descriptors(pid)


def reader(canary: Canary) -> str:
    """A script that looks for the canary from wherever it stands."""
    ways = " ".join(f"{'../' * depth}.{canary.folder}/secret" for depth in (0, 1, 2, 4, 8))
    return f"cat {ways} 2>/dev/null; pwd -P; true"


@pytest.mark.parametrize("prefix", ["/proc/self/fd", "/proc/self/task/1/fd", "/proc/1/fd"])
def test_a_working_directory_that_is_a_descriptor_leads_nowhere(
    engine: EngineProcess, canary: Canary, prefix: str
) -> None:
    numbers = range(3, 33) if prefix == "/proc/self/fd" else range(3, 12)
    for number in numbers:
        said = attempt(engine, "busybox:threats", "sh", "-c", reader(canary), WorkingDir=f"{prefix}/{number}")
        assert said is None or SECRET not in said, f"{prefix}/{number}"


def test_an_image_whose_working_directory_is_a_descriptor_leads_nowhere(engine: EngineProcess, canary: Canary) -> None:
    for number in (3, 7, 8, 9):
        image = load(engine, WorkingDir=f"/proc/self/fd/{number}/../../..")
        said = attempt(engine, image, "sh", "-c", reader(canary))
        assert said is None or SECRET not in said


def test_an_exec_in_a_working_directory_that_is_a_descriptor_leads_nowhere(
    engine: EngineProcess, canary: Canary, sleeper: tuple[str, int]
) -> None:
    name, _ = sleeper
    for number in range(3, 33):
        said = engine.cli("exec", "-w", f"/proc/self/fd/{number}", name, "sh", "-c", reader(canary), check=False)
        assert SECRET not in said


@pytest.mark.parametrize("place", ["proc", "dev", "sys", "tmp"])
@pytest.mark.parametrize("upwards", [False, True])
def test_a_mount_point_that_is_a_link_leads_nowhere(
    engine: EngineProcess, canary: Canary, place: str, upwards: bool
) -> None:
    target = f"{'../' * 12}{canary.folder}" if upwards else str(canary.folder)
    image = load(engine, links={place: target})
    said = attempt(engine, image, "cat", f"/{place}/secret", f"{canary.folder}/secret")
    assert said is None or SECRET not in said


@pytest.mark.parametrize("place", ["proc", "dev", "sys"])
def test_a_filesystem_of_the_kernels_is_mounted_at_no_link(engine: EngineProcess, canary: Canary, place: str) -> None:
    """Also where the link leads to something in the image: crun would make its devices at that path of the host."""
    image = load(engine, links={place: str(canary.folder)}, twin=canary)
    assert attempt(engine, image, "true") is None


@pytest.mark.parametrize("name", ["null", "console", "ptmx", "pts", "shm", "mqueue", "fd", "stdin"])
def test_a_device_that_is_a_link_leads_nowhere(engine: EngineProcess, canary: Canary, name: str) -> None:
    image = load(engine, links={f"dev/{name}": f"{'../' * 12}{canary.folder}/{name}"})
    said = attempt(engine, image, "sh", "-c", f"echo x > /dev/{name}; cat {canary.folder}/secret", Tty=True)
    assert said is None or SECRET not in said


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname", "mtab"])
def test_a_file_the_engine_writes_that_is_a_link_leads_nowhere(
    engine: EngineProcess, canary: Canary, name: str
) -> None:
    image = load(engine, links={f"etc/{name}": f"{'../' * 12}{canary.folder}/hosts"})
    said = attempt(engine, image, "sh", "-c", f"cat /etc/{name}; echo mine > /etc/{name}; true", HostConfig={})
    assert said is None or SECRET not in said


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("kind", ["bind", "volume", "tmpfs"])
def test_a_volume_whose_place_is_a_link_is_mounted_inside(
    engine: EngineProcess, canary: Canary, kind: str, inside: bool
) -> None:
    image = load(engine, links={"data": f"{'../' * 12}{canary.folder}"}, twin=canary if inside else None)
    source = canary.folder.parent / "given"
    source.mkdir()
    mount = {"Type": kind, "Target": "/data", **({"Source": str(source)} if kind == "bind" else {})}
    host = {"NetworkMode": "none", "Mounts": [mount]}
    said = attempt(engine, image, "sh", "-c", "cat /data/secret; touch /data/new; echo on", HostConfig=host)
    assert said, "refused"
    assert SECRET not in said
    assert said.endswith("on\n"), said


def test_a_volume_is_not_filled_through_a_link(engine: EngineProcess, canary: Canary) -> None:
    image = load(engine, links={"data": f"{'../' * 12}{canary.folder}"})
    volume = unique()
    host = {"NetworkMode": "none", "Binds": [f"{volume}:/data"]}
    try:
        said = attempt(engine, image, "cat", "/data/secret", "/data/sub/secret", HostConfig=host)
        assert said is None or SECRET not in said
    finally:
        engine.request("DELETE", f"/volumes/{volume}", force="true")


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("workdir", ["/w/x", "/w", "/w/y/z"])
@pytest.mark.parametrize("user", ["", "nobody"])
def test_a_working_directory_through_a_link_is_made_inside(
    engine: EngineProcess, canary: Canary, workdir: str, user: str, inside: bool
) -> None:
    links = {"w": f"../../..{canary.folder}"}
    image = load(engine, links=links, twin=canary if inside else None, WorkingDir=workdir, User=user)
    said = attempt(engine, image, "sh", "-c", "cat secret; pwd -P")
    assert said, "refused"
    assert SECRET not in said
    assert said.endswith(f"{canary.folder}{workdir.removeprefix('/w')}\n"), said
    canary.check()


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_users_are_looked_up_inside(engine: EngineProcess, canary: Canary, name: str) -> None:
    image = load(engine, links={f"etc/{name}": f"{'../' * 12}{canary.folder}/passwd"})
    user = "ghost" if name == "passwd" else "root:ghost"
    assert attempt(engine, image, "id", User=user) is None


def test_a_user_list_that_never_ends_holds_up_nothing(engine: EngineProcess) -> None:
    """/dev/zero, and a link to itself: the engine reads neither for ever, and answers others meanwhile."""
    for target in ("/dev/zero", "passwd", "/proc/self/fd/0"):
        image = load(engine, links={"etc/passwd": target})
        began = time.monotonic()
        attempt(engine, image, "id", User="ghost")
        assert time.monotonic() - began < 60, target
        assert engine.request("GET", "/_ping", timeout=20)[0] == 200


MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats")


def test_masked_paths_are_empty_and_read_only_ones_are_read_only(engine: EngineProcess) -> None:
    script = (
        f"for f in {' '.join(MASKED)}; do [ -e $f ] && head -c 1 $f | wc -c; done; ls -A /proc/scsi /sys/firmware;"
        " for f in /proc/sysrq-trigger /proc/irq/x /proc/sys/kernel/core_pattern /sys/kernel/x;"
        " do (echo x > $f) 2>/dev/null && echo written $f; done; true"
    )
    said = attempt(engine, "busybox:threats", "sh", "-c", script)
    assert said is not None
    assert set(said.split()) <= {"0", "/proc/scsi:", "/sys/firmware:"}, said


def test_mounts_beside_a_neighbour_that_renames_stay_inside(engine: EngineProcess, canary: Canary) -> None:
    """CVE-2021-30465: the neighbour swaps a folder of the shared volume for a link while the next container's
    mounts are made below it."""
    shared, neighbour = unique("shared"), unique("swapper")
    swap = (
        "mkdir -p /v/a/deep /v/b; ln -s / /v/link;"
        " while :; do mv /v/a /v/c; mv /v/link /v/a; mv /v/a /v/link; mv /v/c /v/a; done"
    )
    host = {"NetworkMode": "none", "Binds": [f"{shared}:/v"]}
    engine.run("busybox:threats", "sh", "-c", swap, name=neighbour, HostConfig=host)
    given = canary.folder.parent / "given"
    given.mkdir()
    (given / "mark").write_text("given\n")
    place = f"/v/a{canary.folder}"
    host = {"NetworkMode": "none", "Binds": [f"{shared}:/v", f"{given}:{place}:ro"], "MaskedPaths": ["/v/a/deep"]}
    try:
        for _ in range(RACES):
            script = f"cat {canary.folder}/secret {place}/secret"
            said = attempt(engine, "busybox:threats", "sh", "-c", script, HostConfig=host, WorkingDir="/v/a/deep/w")
            assert said is None or SECRET not in said
            canary.check()
    finally:
        engine.request("DELETE", f"/containers/{neighbour}", force="true")
        engine.request("DELETE", f"/volumes/{shared}", force="true")
