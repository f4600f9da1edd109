"""A machine joins by the pasted line, over TLS with a self-made certificate, and stays through what befalls it.

The real web and gateway as processes; the machine is a network namespace with an engine of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from controlplane.supervisor.tls import ensure_certificate
from hosts.tls import fingerprint
from tests.support.engines import Dockerd, Native
from tests.support.home import ROOT, Home
from tests.support.images import busybox
from tests.support.netns import NetworkNamespace
from tests.support.redis import RedisServer
from tests.support.unixhttp import request
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.redis_server]


class ControlPlane:
    """Web and gateway on a home of their own, with TLS."""

    def __init__(self, address: str) -> None:
        self.home = Home(address=address)
        self.redis = RedisServer(self.home.path / "redis.sock")
        certificate, key = self.home.path / "cert.pem", self.home.path / "key.pem"
        ensure_certificate(certificate, key, address)
        self.pin = fingerprint(certificate).removeprefix("sha256:")
        tls = {"GANTRY_TLS_CERT": str(certificate), "GANTRY_TLS_KEY": str(key)}
        self.home.settings.update(REDIS_URL=self.redis.url, **tls)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.redis.start()
        self.home.manage("migrate", "--verbosity=0")
        host, port = self.home.address, str(self.home.port)
        files = ["--ssl-certfile", str(self.home.path / "cert.pem"), "--ssl-keyfile", str(self.home.path / "key.pem")]
        self.web = ["-m", "uvicorn", "controlplane.asgi:application", "--host", host, "--port", port, *files]
        self.start("web", *self.web)
        self.start_gateway()
        status = self.home.path / "wheels" / "status.json"
        eventually(
            lambda: json.loads(status.read_text())["state"] != "collecting" if status.exists() else 0, timeout=180
        )
        if json.loads(status.read_text())["state"] != "ready":
            pytest.skip(f"the agent's packages cannot be fetched here: {status.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.redis.kill()
        self.home.__exit__()

    def start(self, name: str, *arguments: str) -> None:
        with (self.home.path / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.home.environment(), stdout=log, stderr=log
            )

    def start_gateway(self) -> None:
        self.start("gateway", "manage.py", "gateway")

    def python(self, code: str) -> Any:
        """Run code with the models at hand; what it prints last, as JSON."""
        return json.loads(self.home.django(code).splitlines()[-1])

    def add_host(self, name: str) -> tuple[int, str]:
        """Add a host as the page does; its id and the line to paste."""
        pk, line = self.python(
            "import json\nfrom django.test import RequestFactory\nfrom hosts.models import *\n"
            "from hosts.enrolment import pasted_line\n"
            f"host=Host.objects.create(name='{name}')\n"
            f"address='{self.home.address}:{self.home.port}'\n"
            "request=RequestFactory().get('/', secure=True, headers={'host': address})\n"
            "print(json.dumps([host.pk, pasted_line(request, EnrolmentToken.issue(host)[1])]))"
        )
        return int(pk), str(line)

    def host(self, pk: int) -> dict[str, Any]:
        found: dict[str, Any] = self.python(
            "import json\nfrom hosts.models import Host\n"
            f"h=Host.objects.get(pk={pk})\n"
            "print(json.dumps({'up': h.tunnel_up, 'state': h.state, 'reason': h.state_reason, "
            "'version': h.agent_version, 'key': h.public_key}))"
        )
        return found


class Machine:
    """A second host: its network, its engine, where its agent is installed."""

    def __init__(self, plane: ControlPlane, there: NetworkNamespace, engine: Dockerd) -> None:
        self.plane, self.there, self.engine = plane, there, engine
        self.folder = plane.home.path / "machine"

    def paste(self, line: str) -> "subprocess.CompletedProcess[str]":
        """Paste the line into a root shell there."""
        options = f" --no-service --prefix {self.folder}/opt --state {self.folder}/state"
        shell = ["env", "-i", f"PATH={os.environ['PATH']}", "sh", "-c"]
        return subprocess.run(
            self.there.command(*shell, f"{line}{options} --engine unix://{self.engine.socket}"),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def agent(self) -> psutil.Process:
        """The agent that the script started."""
        return psutil.Process(json.loads((self.folder / "state" / "status.json").read_text())["pid"])


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    for reason in (NetworkNamespace.why_not(), Dockerd.why_not(), RedisServer.why_not()):
        if reason:
            pytest.skip(reason)
    if not shutil.which("setsid"):
        pytest.skip("not installed: setsid")
    with NetworkNamespace() as there, Dockerd(netns=there.name) as engine, ControlPlane(there.outside) as plane:
        yield Machine(plane, there, engine)


def answers(path: Path) -> bool:
    try:
        return request(path, "GET", "/_ping", timeout=5)[0] == 200
    except OSError:
        return False


@pytest.mark.timeout(600)  # the first here: it starts the control plane, too
def test_a_machine_joins_by_the_line_and_stays(machine: Machine) -> None:
    """One test, since each step needs the one before: join, kill, rotate, remove."""
    plane = machine.plane
    pk, line = plane.add_host("second")
    sockets = plane.home.path / "run" / "hosts"
    engine = sockets / f"{pk}.sock"

    wrong = machine.paste(line.replace(plane.pin, "0" * 64))
    assert "somebody answers in its place" in wrong.stderr
    assert not machine.folder.exists(), "nothing was run before the certificate was checked"

    began = time.monotonic()
    done = machine.paste(line)
    assert done.returncode == 0, done.stderr
    assert "Enrolled as second." in done.stdout
    eventually(lambda: answers(engine), timeout=20, what="its engine answers through the gateway")
    print(f"joined in {time.monotonic() - began:.1f} s")
    assert engine.stat().st_mode & 0o777 == 0o600
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert (machine.folder / "state" / "key.pem").stat().st_mode & 0o777 == 0o600
    eventually(lambda: plane.host(pk)["up"])
    assert plane.host(pk)["version"] == "0.1.0"

    again = machine.paste(line)
    assert again.returncode != 0
    assert "used already" in again.stderr
    assert answers(engine), "a refused second use harms nothing"

    plane.processes["gateway"].send_signal(signal.SIGKILL)
    plane.processes["gateway"].wait()
    assert engine.exists(), "a killed gateway leaves its socket files"
    plane.start_gateway()
    eventually(lambda: answers(engine), timeout=20, what="back after the gateway was killed")

    first_key = plane.host(pk)["key"]
    plane.python(
        "import json\nfrom django.utils import timezone\nfrom hosts.models import Host\n"
        f"Host.objects.filter(pk={pk}).update(rotation_requested_at=timezone.now())\nprint(json.dumps(1))"
    )
    eventually(lambda: plane.host(pk)["key"] != first_key, timeout=15, what="the key is rotated")
    eventually(lambda: answers(engine))

    agent = machine.agent()
    agent.suspend()
    eventually(lambda: not engine.exists(), timeout=20, what="a stopped agent's sockets go")
    eventually(lambda: plane.host(pk)["state"] == "unreachable")
    assert plane.host(pk)["reason"] == "The agent stopped answering."
    agent.resume()
    eventually(lambda: answers(engine), timeout=20, what="back after the agent went on")

    plane.python(
        "import json\nfrom hosts.models import Host\nfrom hosts.gateway_orders import tell\n"
        f"Host.objects.filter(pk={pk}).delete(); tell('removed', {pk}); print(json.dumps(1))"
    )
    eventually(lambda: not engine.exists(), timeout=5, what="a removed host is cut off")
    agent.kill()


def test_the_installed_agent_brings_the_native_engine(machine: Machine) -> None:
    """From the folder that the line made, with the packages of that folder alone."""
    if reason := Native.why_not():
        pytest.skip(reason)
    folder = machine.folder / "native"
    places = [f"--{name}={folder / name}" for name in ("root", "socket", "run")]
    program = str(machine.folder / "opt" / "bin" / "gantry-agent")
    command = machine.there.command("env", "-i", f"PATH={os.environ['PATH']}", program, "engine", *places)
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(folder / "socket"), timeout=30, what="the engine answers")
        image = busybox()
        assert request(folder / "socket", "POST", "/images/load", image.archive("busybox:joined"))[0] == 200
        assert request(folder / "socket", "GET", "/images/busybox:joined/json")[1]["Id"] == image.id
    finally:
        process.terminate()
        assert process.wait(15) == 0, (folder / "log").read_text()
    done = subprocess.run([program, "engine", "check", *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gateway_ends_in_order_and_takes_its_sockets_along(machine: Machine) -> None:
    plane = machine.plane
    plane.processes["gateway"].send_signal(signal.SIGTERM)
    assert plane.processes["gateway"].wait(10) == 0
    assert not list((plane.home.path / "run" / "hosts").glob("*.sock"))
    plane.start_gateway()
