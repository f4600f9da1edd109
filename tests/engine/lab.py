"""Networks of the native engine without containers: their namespaces, with programs of the test inside.

The whole test enters a network namespace of its own (tests/support/netns.py), so nothing of this machine changes;
the machine itself plays the neighbour that containers are published to.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gantry_agent.engine.config import Config
from gantry_agent.engine.containers.model import Container, Status
from gantry_agent.engine.database import Database
from gantry_agent.engine.events import Events
from gantry_agent.engine.layout import Layout
from gantry_agent.engine.networks import SCHEMA, Networks, namespaces
from gantry_agent.engine.networks.dns import Names

from tests.support.netns import NetworkNamespace

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
OUTSIDE = f"/proc/{os.getpid()}/fd/{os.open('/proc/self/ns/net', os.O_RDONLY)}"
"""This machine's own namespace, wherever the test is."""

SERVER = """
import socket, sys
kind, port, word = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
if kind == "udp":
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        data, peer = server.recvfrom(100)
        server.sendto(word + b" " + peer[0].encode(), peer)
server = socket.create_server(("0.0.0.0", port))
print("ready", flush=True)
while True:
    client, peer = server.accept()
    with client:
        client.sendall(word + b" " + peer[0].encode())
"""
CLIENT = """
import socket, sys
kind, address, port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
if kind == "udp":
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(seconds)
    client.sendto(b"?", (address, port))
    print(client.recv(100).decode())
else:
    with socket.create_connection((address, port), seconds) as client:
        print(client.recv(100).decode())
"""


@contextlib.contextmanager
def inside(path: str) -> Iterator[None]:
    """This thread, and the threads it starts, in the network namespace at ``path``."""
    before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(there)
        os.close(before)


class Lab:
    """An engine's networks below one folder; `networks` may be replaced, as a new engine replaces a killed one."""

    def __init__(self, folder: Path, there: NetworkNamespace) -> None:
        self.there = there
        self.layout = Layout.at(folder / "root", folder / "run")
        self.layout.make()
        pools = ({"base": "10.96.0.0/16", "size": 24},)
        self.config = Config(bridge="gnF0", bip="10.95.0.1/24", default_address_pools=pools)
        self.events = Events()
        self.database = Database(self.layout.database, SCHEMA)
        self.networks = self.new()
        self._programs: list[subprocess.Popen[str]] = []
        self._count = 0

    def new(self) -> Networks:
        """Another engine's networks on the same folders."""
        return Networks(self.layout, self.config, self.database, self.events)

    def container(self, mode: str = "bridge", endpoints: dict[str, Any] | None = None, **host: Any) -> Container:
        """A container in Docker's words: ``PortBindings={"80/tcp": [{"HostPort": "8080"}]}``."""
        self._count += 1
        config = {"Hostname": f"h{self._count}", "ExposedPorts": host.pop("ExposedPorts", {})}
        container = Container(
            id=f"{self._count:02x}" * 32,
            name=f"c{self._count}",
            image_id="",
            image="",
            created_at=0,
            config=config,
            host_config={"NetworkMode": mode, **host},
        )
        self.networks.prepare(container, {"EndpointsConfig": endpoints or {}})
        return container

    async def start(self, mode: str = "bridge", endpoints: dict[str, Any] | None = None, **host: Any) -> Container:
        """A container that runs, as far as networks see."""
        container = self.container(mode, endpoints, **host)
        await self.networks.attach(container)
        container.state.status = Status.RUNNING
        return container

    def serve(self, container: Container, port: int, word: str = "hello", kind: str = "tcp") -> None:
        """A program in the container that answers `word` and who asked."""
        command = [sys.executable, "-c", SERVER, kind, str(port), word]
        program = subprocess.Popen(self._in(container, command), stdout=subprocess.PIPE, text=True)
        self._programs.append(program)
        assert program.stdout
        assert program.stdout.readline() == "ready\n"

    async def is_silent(self, address: str, port: int | str, *, of: Container | str = "") -> bool:
        """Whether nothing comes from there, for a second."""
        return await self.ask(address, port, of=of, seconds=1) == ""

    async def ask(
        self, address: str, port: int | str, *, of: Container | str = "", kind: str = "tcp", seconds: float = 10
    ) -> str:
        """What a server says to the host, to a container, or to the neighbour ("outside"); "" when nothing comes."""
        command = [sys.executable, "-c", CLIENT, kind, address, str(port), str(seconds)]
        if isinstance(of, Container):
            command = self._in(of, command)
        elif of == "outside":
            command = ["nsenter", f"--net={OUTSIDE}", *command]
        program = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-3)
        return (await program.communicate())[0].decode().strip()

    def run(self, *command: str, of: Container | None = None) -> str:
        """The output of a command, in the host's namespace or in a container's."""
        full = self._in(of, list(command)) if of else list(command)
        return subprocess.run(full, capture_output=True, text=True, check=True).stdout

    def left(self) -> dict[str, list[str]]:
        """Everything in the kernel that belongs to containers."""
        links = [line.split()[0].partition("@")[0] for line in self.run("ip", "-br", "link").splitlines()]
        rules = self.run("nft", "list", "ruleset")
        return {
            "links": [name for name in links if name.startswith("gv")],
            "namespaces": [path.name for path in self.layout.netns.iterdir()],
            "mounts": [
                line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.layout.run) in line
            ],
            "published": [line for line in rules.splitlines() if "tcp ." in line or "udp ." in line],
            "names": [path.name for path in (self.layout.run / "dns").iterdir() if path.name != "aardvark.pid"],
        }

    def end_programs(self) -> None:
        for program in self._programs:
            program.kill()
            program.communicate()
        self._programs.clear()

    async def close(self) -> None:
        """Remove everything."""
        self.end_programs()
        await self.networks.close()
        for path in self.layout.netns.iterdir():
            namespaces.remove(path)
        Names(self.layout.run / "dns").stop()
        self.database.close()

    def _in(self, container: Container, command: list[str]) -> list[str]:
        return ["nsenter", f"--net={self.layout.netns / container.id}", *command]


def port_of(container: Container, key: str) -> int:
    """The host port that a container's port got."""
    places = container.ports[key]
    assert places
    return int(places[0]["HostPort"])


def name_query(name: str) -> bytes:
    """A DNS question for an A record."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\0\x00\x01\x00\x01"


RESOLVE = """
import socket, sys
query = bytes.fromhex(sys.argv[2])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1)
for _ in range(5):  # as a resolver does: aardvark-dns 1.4 loses what arrives while it reads its files anew
    try:
        client.sendto(query, (sys.argv[1], 53))
        answer = client.recv(512)
        break
    except OSError:
        pass
count = int.from_bytes(answer[6:8], "big")
print([socket.inet_ntoa(answer[-4:])] if count == 1 else count)
"""


def resolve(lab: Lab, container: Container, name: str) -> str:
    """What the container's name server says: "['10.96.0.2']", or the number of answers."""
    server = lab.networks.files(container)["/etc/resolv.conf"].read_text().split()[1]
    return lab.run(sys.executable, "-c", RESOLVE, server, name_query(name).hex(), of=container).strip()


def is_free(port: int, kind: int = socket.SOCK_STREAM) -> bool:
    """Whether a port of the host can be had."""
    with socket.socket(socket.AF_INET, kind) as probe:
        with contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return True
        return False
