"""A script's whole way through the real web process: a folder's tar in pieces, its build on a real engine by a real
worker, what it says as it comes; a shell that was recorded, fetched."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.recordings.casts import read
from tests.support.engines import EngineProcess, unique
from tests.support.home import ROOT
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]

WORKER = ["-W", "ignore", "-m", "celery", "--quiet", "-A", "controlplane", "worker", "--pool", "threads"]
TOKEN = """
from datetime import timedelta
from django.utils import timezone
from controlplane.access import tokens
from controlplane.access.models import User
user = User.objects.get(username={name!r})
print(tokens.issue(user, user, tokens.Wanted("ci", timezone.now() + timedelta(hours=1)))[1])
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def stage(docker_engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> Iterator[Stage]:
    """With a worker beside the rest."""
    busybox_loaded(docker_engine)
    with Stage(docker_engine) as stage:
        process = subprocess.Popen([sys.executable, *WORKER], cwd=ROOT, env=stage.home.environment())
        try:
            yield stage
        finally:
            process.terminate()
            process.wait(30)


class Script:
    """What sends a token with each request, and wants an answer that is good."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.url = f"{stage.url}/api/v1"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {stage.django(TOKEN.format(name=name)).splitlines()[-1]}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = self.session.request(method, self.url + path, timeout=60, **options)
        assert answer.ok, answer.text
        return answer

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def script(stage: Stage) -> Iterator[Script]:
    script = Script(stage, "admin")
    yield script
    script.close()
    stage.django("from controlplane.access.models import Token; Token.objects.all().delete()")


def context(base: str, ballast: bytes) -> bytes:
    packed = io.BytesIO()
    dockerfile = f"FROM {base}\nCOPY ballast /ballast\nRUN wc -c < /ballast && echo it-was-built\n"
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (("docker/Dockerfile", dockerfile.encode()), ("ballast", ballast)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def send(script: Script, content: bytes, size: int) -> str:
    """As a script does that may be killed anywhere: it asks how far it is, and goes on there."""
    ident = str(script.ask("POST", "/build-uploads", json={"name": "a folder"}).json()["id"])
    at = 0
    while at < len(content):
        options: Any = {"params": {"offset": at}, "headers": {"Content-Type": "application/octet-stream"}}
        script.ask("PUT", f"/build-uploads/{ident}", data=content[at : at + size], **options)
        at = script.ask("GET", f"/build-uploads/{ident}").json()["received"]
    script.ask("POST", f"/build-uploads/{ident}/finish", json={"size": len(content)})
    return ident


def test_a_folder_is_sent_built_and_followed(
    stage: Stage, script: Script, docker_engine: EngineProcess, busybox_image: str
) -> None:
    ballast = os.urandom(5 * MIB)
    ident = send(script, context(busybox_image, ballast), 2 * MIB)
    tag = f"gantry/{unique()}:1"
    body = {"kind": "upload", "upload": ident, "dockerfile_path": "docker/Dockerfile", "host": 1, "tags": [tag]}
    started = script.ask("POST", "/builds", json=body, headers={"Idempotency-Key": tag})
    assert started.status_code == 202
    pk = started.json()["id"]
    with script.ask("GET", f"/builds/{pk}/output", params={"follow": "true"}, stream=True) as output:
        lines = [json.loads(line) for line in output.iter_lines()]
    assert lines[-1] == {"type": "end", "reason": "the operation ended", "state": "succeeded"}, lines
    said = "".join(line["text"] for line in lines[:-1])
    assert str(len(ballast)) in said
    assert "it-was-built" in said
    build = script.ask("GET", f"/builds/{pk}").json()
    assert build["tags"] == [tag]
    found = docker_engine.expect("GET", f"/images/{tag}/json")
    assert found["Id"].removeprefix("sha256:") == build["image_id"].removeprefix("sha256:")
    docker_engine.request("DELETE", f"/images/{tag}", force="true")


def test_many_pieces_cost_the_web_process_no_more_memory(stage: Stage, script: Script) -> None:
    """128 MiB in the largest pieces there are: a process that kept them would have grown by them, each time.

    Some growth is its allocator's, which gives a thread new memory while another's is not given back yet.
    """
    piece, grown = bytes(8 * MIB), []
    for _ in range(4):
        before = stage.web.memory
        send(script, piece * 16, len(piece))
        grown.append(stage.web.memory - before)
    assert min(grown) < 48 * MIB, grown


def test_a_larger_body_is_refused_as_a_whole(script: Script) -> None:
    ident = script.ask("POST", "/build-uploads", json={"name": "x"}).json()["id"]
    address = f"{script.url}/build-uploads/{ident}?offset=0"
    headers = {"Content-Type": "application/octet-stream"}
    answer = script.session.put(address, data=bytes(8 * MIB + 1), headers=headers, timeout=30)
    assert answer.status_code == 413
    assert script.ask("GET", f"/build-uploads/{ident}").json()["received"] == 0


def test_a_shell_that_was_recorded_is_fetched_and_removed(
    stage: Stage, script: Script, docker_engine: EngineProcess, busybox_image: str
) -> None:
    name = unique("rec")
    engine_id = docker_engine.run(busybox_image, "top", name=name)
    container = stage.add_container(engine_id, name)
    with Shell(stage, container) as shell:
        shell.until("# ")
        shell.type("echo $((6*7))-shown; exit\n")
        shell.until("42-shown")
        shell.until_told("exit")

    def over() -> Any:
        rows = script.ask("GET", "/recordings", params={"container": engine_id}).json()["items"]
        return rows and rows[0]["state"] != "live" and rows[0]

    row = eventually(over, what="the recording is closed")
    assert (row["container"], row["actor"], row["state"]) == (name, "admin", "exited")
    cast = script.ask("GET", f"/recordings/{row['id']}/cast")
    assert "42-shown" in read(cast.content).output
    script.ask("DELETE", f"/recordings/{row['id']}")
    assert script.session.get(f"{script.url}/recordings/{row['id']}", timeout=30).status_code == 404
    assert not list((stage.home.path / "recordings").glob("*/*.cast"))
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


def test_a_log_is_downloaded_from_the_engine(
    stage: Stage, script: Script, docker_engine: EngineProcess, busybox_image: str
) -> None:
    name = unique("log")
    engine_id = docker_engine.run(busybox_image, "sh", "-c", "for i in $(seq 1 3000); do echo line $i; done", name=name)
    container = stage.add_container(engine_id, name)
    docker_engine.expect("POST", f"/containers/{engine_id}/wait")
    answer = script.ask("GET", f"/containers/{container}/logs/download")
    assert answer.text.splitlines() == [f"line {n}" for n in range(1, 3001)]
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")
    gone = script.session.get(f"{script.url}/containers/{container}/logs/download", timeout=30)
    assert (gone.status_code, gone.headers["Content-Type"]) == (404, "application/problem+json")
