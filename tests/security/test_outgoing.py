"""The control plane asks nobody on the network on anybody's behalf (SSRF).

A registry's name is handed to the host's engine, which does the pulling: what that engine may reach is its
host's affair, loopback and private registries included. What is tested here is that typing an address, of
whatever kind, makes the control plane itself connect nowhere.
"""

from __future__ import annotations

import ast
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from controlplane.operations.models import Operation
from tests.security.fleet import Fleet

ROOT = Path(__file__).parents[2]
NETWORKING = {"urllib.request", "http.client", "aiohttp", "httpx", "requests", "urllib3", "socket", "websockets"}
# Each with the reason why no text from outside becomes an address there.
KNOWN = {
    "controlplane/people/oidc/provider.py": "an identity provider, whose address the environment alone gives",
    "containers/terminals.py": "aiohttp on the host's agent socket (UnixConnector)",
    "containers/consumers/terminal.py": "types of the above",
    "containers/log_files.py": "a type of the engine's client",
    "controlplane/operations/syslog.py": "the syslog server that GANTRY_SYSLOG names: whoever starts Gantry chooses it",
    "images/builds/onbuild.py": "a type of the engine's client",
    "images/builds/addresses.py": "looks up a git server's name; what git may connect to is decided there",
    "hosts/engine/client.py": "aiohttp on the host's engine socket (UnixConnector), redirects not followed",
    "hosts/engine/hijack.py": "reads an answer's headers; a unix socket",
    "hosts/gateway/heartbeat.py": "the gateway's own accepted connections",
    "hosts/gateway/link.py": "the gateway's own accepted connections",
    "hosts/gateway/pipe.py": "the gateway's own accepted connections",
    "hosts/gateway/server.py": "listens",
    "hosts/gateway/sockets.py": "unix sockets it listens on",
    "hosts/management/commands/enrol_local.py": "the name of this machine",
    "hosts/wheels.py": "the agent's wheels: addresses and digests of our own lock file",
}
ADDRESSES = [
    "127.0.0.1:5000/a/b",
    "localhost:6379/a",
    "169.254.169.254/latest/meta-data",
    "[::1]:5000/a",
    "[fe80::1]:80/a",
    "10.0.0.1:8420/healthz",
    "metadata.google.internal/a",
    "0.0.0.0:5000/a",
    "2130706433:80/a",
    "file:///etc/passwd",
    "http://127.0.0.1:6379/",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ext::sh -c id",
    "user:pass@127.0.0.1/a",
    "/var/run/docker.sock",
]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_who_could_speak_to_the_network_is_a_short_list() -> None:
    found = set()
    for package in ("controlplane", "hosts", "images", "containers"):
        for path in (ROOT / package).rglob("*.py"):
            if any(name in NETWORKING or name.split(".")[0] in NETWORKING for name in imports(path)):
                found.add(str(path.relative_to(ROOT)))
    supervised = {name for name in found if name.startswith("controlplane/supervisor/")}
    assert found - supervised == set(KNOWN), "say in KNOWN why nobody chooses the address"


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address beyond this machine's unix sockets that anything here looks up or connects to."""
    seen: list[Any] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            seen.append(address)
            raise ConnectionRefusedError("a test forbids it")
        connect(self, address)

    def looked_up(host: Any, *_: Any, **__: Any) -> list[Any]:
        seen.append(host)
        raise socket.gaierror("a test forbids it")

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    return seen


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_typed_is_not_dialled(
    administrator: Client, fleet: Fleet, dialled: list[Any], address: str
) -> None:
    host = str(fleet.host.pk)
    pulled = administrator.post("/images/pull/", {"reference": address, "hosts": host})
    run = administrator.post("/containers/run/", {"image": address, "host": host})
    assert pulled.status_code == run.status_code
    assert pulled.status_code in (302, 422)
    assert dialled == []
    for operation in Operation.objects.filter(kind__in=["image.pull", "container.run"]):
        assert operation.host == fleet.host, "the host's engine is the one to pull"


@pytest.mark.parametrize("address", ADDRESSES[9:])
def test_what_is_no_reference_goes_to_no_engine(administrator: Client, fleet: Fleet, address: str) -> None:
    answer = administrator.post("/images/pull/", {"reference": address, "hosts": str(fleet.host.pk)})
    assert answer.status_code == 422
    assert not Operation.objects.filter(kind="image.pull").exists()
