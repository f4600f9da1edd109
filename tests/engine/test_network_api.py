"""Networks and volumes as people use them: the docker command line on the native engine, in a network of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import Native
from tests.support.images import busybox
from tests.support.netns import NetworkNamespace
from tests.support.waiting import eventually

FETCH = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(sys.argv[1], timeout=20).read().decode())
"""
WHY_NOT = Native.why_not() or NetworkNamespace.why_not()
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")]


class Host:
    """A native engine on a host of its own."""

    def __init__(self, there: NetworkNamespace, engine: Native) -> None:
        self.there, self.engine = there, engine

    def docker(self, *words: str) -> str:
        return self.engine.cli(*words).strip()

    def refused(self, *words: str) -> str:
        """What the command line says when the engine refuses."""
        command = ["docker", "-H", f"unix://{self.engine.socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        return done.stderr

    def said(self, *words: str) -> str:
        """What a container that runs to its end prints, errors too."""
        container = self.docker("run", "-d", *words)
        self.docker("wait", container)
        command = ["docker", "-H", f"unix://{self.engine.socket}", "logs", container]
        output = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout.strip()
        self.docker("rm", "-v", container)
        return output

    def fetch(self, url: str, *, of_host: bool) -> str:
        command = [sys.executable, "-c", FETCH, url]
        command = self.there.command(*command) if of_host else command
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def seen(self, *command: str) -> str:
        """The output of a command on the engine's host."""
        return subprocess.run(self.there.command(*command), capture_output=True, text=True, check=True).stdout

    def kernel(self) -> dict[str, int]:
        """What of containers is in the kernel."""
        links, rules = self.seen("ip", "-br", "link"), self.seen("nft", "list", "ruleset")
        return {
            "links": sum(line.startswith("gv") for line in links.splitlines()),
            "bridges": sum(line.startswith("gb-") for line in links.splitlines()),
            "published": rules.count("tcp . "),
            "namespaces": len(list((self.engine.run_folder / "netns").iterdir())),
            "mounts": Path("/proc/self/mounts").read_text().count(f"{self.engine.run_folder}/netns/"),
        }


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with NetworkNamespace() as there, Native(netns=there.name) as engine:
        engine.load(busybox().archive("busybox:latest"))
        yield Host(there, engine)


@pytest.fixture
def web(host: Host) -> Iterator[str]:
    host.docker("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    yield "web"
    host.docker("rm", "-f", "web")


def test_a_published_port_answers_the_host_and_its_neighbours(host: Host, web: str) -> None:
    hostname = host.docker("inspect", web, "--format", "{{.Config.Hostname}}")
    assert host.docker("port", web) == "80/tcp -> 0.0.0.0:8080"
    assert "0.0.0.0:8080->80/tcp" in host.docker("ps")
    eventually(lambda: host.fetch("http://127.0.0.1:8080/hostname", of_host=True) == hostname)
    assert host.fetch(f"http://{host.there.inside}:8080/hostname", of_host=False) == hostname
    assert "port is already allocated" in host.refused("run", "--rm", "-p", "8080:80", "busybox", "true")


def test_containers_outlive_the_engine_with_their_ports(host: Host, web: str) -> None:
    hostname = host.docker("inspect", web, "--format", "{{.Config.Hostname}}")
    url = f"http://{host.there.inside}:8080/hostname"
    eventually(lambda: host.fetch(url, of_host=False) == hostname)
    before = host.docker("inspect", web, "--format", "{{json .NetworkSettings}}")
    host.engine.kill()
    assert host.fetch(url, of_host=False) == hostname
    host.engine.start()
    assert host.fetch(url, of_host=False) == hostname
    assert host.docker("inspect", web, "--format", "{{json .NetworkSettings}}") == before
    assert "port is already allocated" in host.refused("run", "--rm", "-p", "8080:80", "busybox", "true")


def test_a_user_network_with_names(host: Host, web: str) -> None:
    host.docker("network", "create", "--label", "team=a", "--subnet", "10.99.0.0/24", "app")
    database = host.docker(
        "run", "-d", "--network", "app", "--ip", "10.99.0.77", "--network-alias", "db", "busybox", "top"
    )
    # For a moment after a container has joined, aardvark-dns reads its names anew and answers nobody.
    eventually(lambda: "10.99.0.77" in host.said("--network", "app", "busybox", "nslookup", "db"))
    ping = ("--network", "app", "busybox", "ping", "-c1", "-W5", "db")
    eventually(lambda: "1 packets received" in host.said(*ping))
    host.docker("network", "connect", "--alias", "www", "app", web)
    assert "httpd" not in host.said("--network", "app", "busybox", "wget", "-qO-", "http://www/hostname")
    members = json.loads(host.docker("network", "inspect", "app"))[0]["Containers"]
    assert {each["Name"] for each in members.values()} >= {"web"}
    assert members[database]["IPv4Address"] == "10.99.0.77/24"
    assert "has active endpoints" in host.refused("network", "rm", "app")
    assert "already exists" in host.refused("network", "create", "app")
    assert "Pool overlaps" in host.refused("network", "create", "--subnet", "10.99.0.0/16", "other")
    assert host.docker("network", "ls", "--filter", "label=team=a", "--format", "{{.Name}}") == "app"
    host.docker("network", "disconnect", "app", web)
    host.docker("rm", "-f", database)
    host.docker("network", "rm", "app")
    assert "network app not found" in host.refused("run", "--rm", "--network", "app", "busybox", "true")


def test_builtin_networks_stay(host: Host) -> None:
    assert host.docker("network", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines() == [
        "bridge bridge",
        "host host",
        "none null",
    ]
    assert "pre-defined network and cannot be removed" in host.refused("network", "rm", "bridge")
    assert "not permitted on predefined" in host.refused("network", "create", "host")
    assert 'plugin "overlay" not found' in host.refused("network", "create", "-d", "overlay", "x")


def test_the_modes_of_a_network(host: Host, web: str) -> None:
    address = host.docker("inspect", web, "--format", "{{.NetworkSettings.IPAddress}}")
    assert address in host.said("--network", "container:web", "busybox", "ip", "address")
    assert "eth0" not in host.said("--network", "none", "busybox", "ip", "address")
    assert host.there.inside in host.said("--network", "host", "busybox", "ip", "address")
    refusal = host.refused("run", "--rm", "--network", "container:nobody", "busybox", "true")
    assert "cannot join network of a non running container: nobody" in refusal


def test_the_files_of_a_network(host: Host) -> None:
    options = [
        "--add-host",
        "one:192.0.2.1",
        "--add-host",
        "me:host-gateway",
        "--hostname",
        "name",
        "--dns",
        "192.0.2.53",
    ]
    options += ["--dns-search", "example.org", "--dns-option", "timeout:1"]
    said = host.said(*options, "busybox", "sh", "-c", "cat /etc/hosts /etc/resolv.conf; hostname")
    lines = [line.split() for line in said.splitlines()]
    gateway = json.loads(host.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    for line in (
        ["127.0.0.1", "localhost"],
        ["192.0.2.1", "one"],
        [gateway, "me"],
        ["nameserver", "192.0.2.53"],
        ["search", "example.org"],
        ["options", "timeout:1"],
        ["name"],
    ):
        assert line in lines
    assert any(line[1:] == ["name"] for line in lines)


def test_a_volume_from_the_image_to_the_next_container(host: Host) -> None:
    assert "passwd" in host.said("-v", "data:/etc", "busybox", "ls", "/etc")
    host.said("-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/new")
    assert host.said("-v", "data:/data:ro", "busybox", "cat", "/data/new") == "kept"
    assert "Read-only" in host.said("-v", "data:/data:ro", "busybox", "touch", "/data/other")
    keeper = host.docker("run", "-d", "-v", "data:/data", "-v", "/anonymous", "busybox", "true")
    assert f"volume is in use - [{keeper}]" in host.refused("volume", "rm", "data")
    assert len(host.docker("volume", "ls", "-q").splitlines()) == 2
    usage = json.loads(host.docker("system", "df", "-v", "--format", "{{json .Volumes}}"))
    assert {each["Links"] for each in usage} == {"1"}
    host.docker("rm", "-v", keeper)
    assert host.docker("volume", "ls", "-q") == "data"
    prune = "/v{}/volumes/prune"
    assert host.engine.expect("POST", prune.format("1.42"))["VolumesDeleted"] is None, "it has a name"
    assert host.engine.expect("POST", prune.format("1.41"))["VolumesDeleted"] == ["data"], "older clients mean all"
    assert "no such volume" in host.refused("volume", "inspect", "data").lower()


def test_binds_and_tmpfs(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    mount = f"type=bind,src={tmp_path},dst=/host,readonly"
    assert host.said("--mount", mount, "busybox", "cat", "/host/file") == "from the host"
    host.said("-v", f"{tmp_path}/new:/host", "busybox", "touch", "/host/made")
    assert (tmp_path / "new" / "made").exists()
    said = host.said("--tmpfs", "/ram:size=1m", "--mount", "type=tmpfs,dst=/other", "busybox", "cat", "/proc/mounts")
    assert "tmpfs /ram tmpfs" in said
    assert "size=1024k" in said
    assert "tmpfs /other tmpfs" in said
    assert "bind source path does not exist" in host.refused("run", "--mount", "type=bind,src=/nope,dst=/x", "busybox")


def test_nothing_is_left(host: Host) -> None:
    """Last of the file: everything above is gone from the kernel."""
    for _ in range(3):
        host.docker("network", "create", "app")
        host.docker("run", "-d", "--name", "one", "--network", "app", "-p", "8088:80", "busybox", "top")
        host.docker("run", "-d", "--name", "two", "-P", "busybox", "top")
        host.docker("rm", "-f", "one", "two")
        host.docker("network", "rm", "app")
    nothing = {"links": 0, "bridges": 0, "published": 0, "namespaces": 0, "mounts": 0}
    eventually(lambda: host.kernel() == nothing, what="the kernel holds nothing of containers")
