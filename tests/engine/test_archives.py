"""docker cp, export, diff, commit on the native engine, and on Docker Engine beside it."""

import base64
import http.client
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import need
from tests.engine.tars import entry, folder, tar_of
from tests.support.engines import Dockerd, EngineProcess, Native, unique
from tests.support.images import TestImage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root]

IMAGE = "gantry/cp:1"
SETUP = """
mkdir -p /x/y; echo text > /x/y/f; ln -s /x/y /l; ln -s y/f /x/lf; mkdir -m 1777 /x/t; chmod 4755 /x/y/f
echo vol > /vol/v; rm -r /etc/group; touch /made; exec sleep 1000
"""


@pytest.fixture(scope="module", params=["native", "docker"])
def engine(request: pytest.FixtureRequest, busybox_archive: TestImage) -> Iterator[EngineProcess]:
    """Either engine, with the image."""
    kind: type[EngineProcess] = {"native": Native, "docker": Dockerd}[request.param]
    need(kind.why_not())
    with kind() as engine:
        engine.load(busybox_archive.archive(IMAGE))
        yield engine


@pytest.fixture(scope="module")
def running(engine: EngineProcess) -> str:
    """A container that has changed some files, and runs."""
    name = unique("cp")
    engine.cli("run", "-d", "--net=none", "-v", "/vol", "--name", name, IMAGE, "sh", "-c", SETUP)
    eventually(lambda: engine.request("HEAD", _place(name, "/made"))[0] == 200)
    return name


def _place(name: str, path: str, **query: str) -> str:
    more = "".join(f"&{key}={value}" for key, value in query.items())
    return f"/containers/{name}/archive?path={quote(path)}{more}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def ask(engine: EngineProcess, method: str, path: str, body: bytes = b"") -> tuple[int, Any, bytes]:
    """(status, what the stat header says, body)."""
    connection = _Connection(engine.socket)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/x-tar"})
        answer = connection.getresponse()
        told = answer.getheader("X-Docker-Container-Path-Stat")
        return answer.status, json.loads(base64.b64decode(told)) if told else None, answer.read()
    finally:
        connection.close()


def names(content: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


DIRECTORY, LINK, STICKY, SETUID = 1 << 31, 1 << 27, 1 << 20, 1 << 23


@pytest.mark.parametrize(
    ("path", "name", "mode", "target", "content"),
    [
        ("/x", "x", DIRECTORY | 0o755, "", ["x", "x/lf", "x/t", "x/y", "x/y/f"]),
        ("/x/", "x", DIRECTORY | 0o755, "", ["x", "x/lf", "x/t", "x/y", "x/y/f"]),
        ("/x/.", ".", DIRECTORY | 0o755, "", [".", "./lf", "./t", "./y", "./y/f"]),
        ("x/../x/t", "t", DIRECTORY | STICKY | 0o777, "", ["t"]),
        ("/l", "l", LINK | 0o777, "/x/y", ["l"]),
        ("/l/", "l", DIRECTORY | 0o755, "", ["l", "l/f"]),
        ("/l/f", "f", SETUID | 0o755, "", ["f"]),
        ("/x/lf", "lf", LINK | 0o777, "/x/y/f", ["lf"]),
        ("/vol", "vol", DIRECTORY | 0o755, "", ["vol", "vol/v"]),
    ],
)
def test_paths_mean_what_docker_means(
    engine: EngineProcess, running: str, path: str, name: str, mode: int, target: str, content: list[str]
) -> None:
    status, told, body = ask(engine, "GET", _place(running, path))
    assert status == 200
    assert (told["name"], told["mode"], told["linkTarget"]) == (name, mode, target)
    assert sorted(names(body)) == content
    status, again, _ = ask(engine, "HEAD", _place(running, path))
    assert (status, again) == (200, told)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("HEAD", "/nowhere", 404), ("GET", "", 400), ("PUT", "", 400), ("PUT", "/nowhere", 404)],
)
def test_it_says_what_is_wrong(engine: EngineProcess, running: str, method: str, path: str, status: int) -> None:
    assert ask(engine, method, _place(running, path), tar_of([entry("f")]))[0] == status


def test_files_go_in_and_come_out_running_and_stopped(engine: EngineProcess, tmp_path: Path) -> None:
    name = unique("cp")
    engine.cli("create", "--net=none", "-v", "/vol", "--name", name, IMAGE, "sleep", "1000")
    source = tmp_path / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("content")
    os.chown(source / "sub/file", 1234, 5678)
    (source / "link").symlink_to("sub/file")
    for number in range(2):
        engine.cli("cp", "-a", str(source), f"{name}:/in{number}")
        engine.cli("cp", f"{source}/sub/file", f"{name}:/vol/file{number}")
        out = tmp_path / f"out{number}"
        engine.cli("cp", "-a", f"{name}:/in{number}", str(out))
        assert (out / "sub/file").read_text() == "content"
        with tarfile.open(fileobj=io.BytesIO(ask(engine, "GET", _place(name, f"/in{number}/sub/file"))[2])) as archive:
            assert archive.getmember("file").uid == 1234
        assert os.readlink(out / "link") == "sub/file"
        engine.cli("cp", "-L", f"{name}:/in{number}/link", str(tmp_path / "followed"))
        assert (tmp_path / "followed").read_text() == "content"
        if number == 0:
            engine.cli("start", name)
            assert engine.cli("exec", name, "cat", "/in0/sub/file", "/vol/file0") == "contentcontent"
    assert engine.cli("exec", name, "cat", "/in1/sub/file", "/vol/file1") == "contentcontent"
    engine.cli("rm", "-f", "-v", name)


def test_a_folder_is_not_replaced_where_that_is_not_wanted(engine: EngineProcess, running: str) -> None:
    for members in ([entry("x")], [folder("made")]):
        status, _, body = ask(engine, "PUT", _place(running, "/", noOverwriteDirNonDir="1"), tar_of(members))
        assert status in (400, 500)  # Docker calls its own refusal a failure
        assert b"cannot overwrite" in body
    status, _, _ = ask(engine, "PUT", _place(running, "/"), tar_of([entry("made", b"new")]))
    assert status == 200
    assert ask(engine, "HEAD", _place(running, "/made"))[1]["size"] == 3


def test_read_only_places_are_refused(engine: EngineProcess, tmp_path: Path) -> None:
    name = unique("cp")
    engine.cli("create", "--read-only", "-v", "/vol", "-v", f"{tmp_path}:/ro:ro", "--name", name, IMAGE, "true")
    content = tar_of([entry("f", b"x")])
    assert ask(engine, "PUT", _place(name, "/"), content)[0] in (403, 500)
    assert ask(engine, "PUT", _place(name, "/ro"), content)[0] in (403, 500)
    assert ask(engine, "PUT", _place(name, "/vol"), content)[0] == 200
    assert names(ask(engine, "GET", _place(name, "/vol"))[2]) == ["vol", "vol/f"]
    assert not (tmp_path / "f").exists()
    engine.cli("rm", "-v", name)


def test_diff_tells_what_changed(engine: EngineProcess) -> None:
    name = unique("diff")
    engine.cli("run", "--net=none", "--name", name, IMAGE, "sh", "-c", "mkdir /n; echo > /n/f; rm /bin/cat; ln -s n /s")
    found = engine.expect("GET", f"/containers/{name}/changes")
    told = sorted((each["Path"], each["Kind"]) for each in found)
    assert told == [("/bin", 0), ("/bin/cat", 2), ("/n", 1), ("/n/f", 1), ("/s", 1)]
    engine.cli("rm", name)


def test_export_is_the_containers_own_tree(engine: EngineProcess, running: str, tmp_path: Path) -> None:
    engine.cli("export", "-o", str(tmp_path / "tree.tar"), running)
    found = names((tmp_path / "tree.tar").read_bytes())
    assert {"x/y/f", "l", "bin/sh", "vol"} <= set(found)
    assert "vol/v" not in found
    assert not [name for name in found if name.startswith(("proc/", "sys/"))]


def test_commit_makes_an_image_that_runs(engine: EngineProcess, running: str) -> None:
    engine.cli(
        "commit", "-a", "me", "-m", "why", "-c", 'CMD ["cat", "/x/y/f"]', "-c", "ENV A=b", running, "gantry/made:1"
    )
    assert engine.cli("run", "--rm", "--net=none", "gantry/made:1").strip() == "text"
    made = engine.expect("GET", "/images/gantry/made:1/json")
    assert (made["Author"], made["Comment"], made["Config"]["Cmd"]) == ("me", "why", ["cat", "/x/y/f"])
    assert sorted(made["Config"]["Env"]) == ["A=b", "PATH=/bin"]
    base = engine.expect("GET", f"/images/{IMAGE}/json")
    assert made["Parent"] == base["Id"]
    assert made["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    top = engine.expect("GET", "/images/gantry/made:1/history")[0]
    assert (top["Comment"], top["Tags"]) == ("why", ["gantry/made:1"])
    assert engine.expect("GET", f"/containers/{running}/json")["State"]["Status"] == "running"


@pytest.mark.parametrize("verb", ["unpause", "kill"])
def test_a_commit_gives_its_image_though_the_container_does_not_stay_paused(engine: EngineProcess, verb: str) -> None:
    need("" if engine.kind == "native" else "docker: it answers in its own way")
    name = unique("commit")
    script = "dd if=/dev/urandom of=/big bs=1M count=200 2>&1; touch /done; exec sleep 1000"
    engine.cli("run", "-d", "--net=none", "--name", name, IMAGE, "sh", "-c", script)
    eventually(lambda: engine.request("HEAD", _place(name, "/done"))[0] == 200)
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(engine.request, "POST", "/commit", container=name, repo=f"gantry/{name}")
        eventually(lambda: engine.expect("GET", f"/containers/{name}/json")["State"]["Paused"])
        engine.expect("POST", f"/containers/{name}/{verb}")
        assert not work.done()
        status, answer = work.result()
    assert (status, set(answer)) == (201, {"Id"})
    assert engine.expect("GET", f"/containers/{name}/json")["State"]["Running"] is (verb == "unpause")
    engine.cli("rm", "-f", name)
    engine.cli("rmi", f"gantry/{name}")


def test_what_happens_is_told(engine: EngineProcess, tmp_path: Path) -> None:
    name = unique("told")
    engine.cli("run", "-d", "--net=none", "--name", name, IMAGE, "sleep", "1000")
    ask(engine, "GET", _place(name, "/bin"))
    ask(engine, "PUT", _place(name, "/etc"), tar_of([entry("f")]))
    engine.cli("export", "-o", str(tmp_path / "tree"), name)
    engine.cli("commit", name, "gantry/told:1")
    until = str(int(time.time()) + 1)
    told = engine.cli(
        "events", "--since", "1m", "--until", until, "--filter", f"container={name}", "--format", "{{json .}}"
    )
    actions = [json.loads(line)["Action"] for line in told.splitlines()]
    assert actions[-6:] == ["archive-path", "extract-to-dir", "export", "pause", "commit", "unpause"]
    engine.cli("rm", "-f", name)
