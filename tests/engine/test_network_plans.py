"""Addresses, subnets, ports and name servers, as they are chosen: nothing here touches the kernel."""

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gantry_agent.engine.config import Config
from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, EngineError, Forbidden, InvalidArgument, Unavailable, Unsupported
from gantry_agent.engine.networks import SCHEMA, Network
from gantry_agent.engine.networks.addresses import Addresses, free_subnet, mac_of
from gantry_agent.engine.networks.catalog import Catalog
from gantry_agent.engine.networks.files import Contents, Resolver, hosts_text, paths, resolver_of
from gantry_agent.engine.networks.ports import exposed, wanted
from hypothesis import given
from hypothesis import strategies as st


def container(**host: Any) -> Container:
    config = {"Hostname": "name", "ExposedPorts": host.pop("ExposedPorts", {})}
    return Container("ab" * 32, "c1", "", "", 0, config, host)


def place(config: dict[str, str]) -> dict[str, Any]:
    """A request for a network with this subnet."""
    return {"Name": "x", "IPAM": {"Config": [config]}}


# Addresses


@given(st.integers(24, 30), st.lists(st.booleans(), max_size=300), st.booleans())
def test_no_address_is_given_twice_nor_one_that_is_none(prefix: int, steps: list[bool], has_range: bool) -> None:
    """True takes one, False gives the oldest back."""
    subnet = ipaddress.IPv4Network(f"10.5.0.0/{prefix}")
    network = Network("id", "n", subnet=str(subnet), gateway="10.5.0.1", reserved={"router": "10.5.0.2"})
    if has_range:
        network.ip_range = f"10.5.0.0/{min(prefix + 1, 32)}"
    addresses, held = Addresses(), list[str]()
    space = set(map(str, network.range)) - {str(subnet[0]), str(subnet[-1]), "10.5.0.1", "10.5.0.2"}
    for takes in steps:
        if not takes:
            if held:
                addresses.release(network, held.pop(0))
            continue
        if len(held) == len(space):
            with pytest.raises(Unavailable):
                addresses.take(network)
            continue
        address = addresses.take(network)
        assert address in space - set(held)
        held.append(address)


def test_a_freed_address_is_not_given_at_once() -> None:
    network = Network("id", "n", subnet="10.5.0.0/24", gateway="10.5.0.1")
    addresses = Addresses()
    first = addresses.take(network)
    addresses.release(network, first)
    assert addresses.take(network) != first


def test_an_address_that_is_asked_for() -> None:
    network = Network("id", "n", subnet="10.5.0.0/24", gateway="10.5.0.1", ip_range="10.5.0.128/25")
    addresses = Addresses()
    assert addresses.take(network, "10.5.0.7") == "10.5.0.7"
    for asked, message in (
        ("10.5.0.7", "already in use"),
        ("10.5.0.1", "already in use"),
        ("10.6.0.1", "no configured"),
    ):
        with pytest.raises(EngineError, match=message):
            addresses.take(network, asked)
    assert mac_of("10.5.0.7") == "02:42:0a:05:00:07"


def test_subnets_overlap_nothing() -> None:
    pools = ({"base": "10.0.0.0/30", "size": 31}, {"base": "10.1.0.0/16", "size": 24})
    taken = [ipaddress.IPv4Network("10.0.0.0/24"), ipaddress.IPv4Network("10.1.0.64/26")]
    assert str(free_subnet(pools, taken)) == "10.1.1.0/24"
    with pytest.raises(Unavailable, match="non-overlapping"):
        free_subnet(pools, [ipaddress.IPv4Network("10.0.0.0/8")])
    with pytest.raises(InvalidArgument, match="default-address-pools"):
        free_subnet([{"base": "nonsense", "size": 24}], [])


# Networks


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    database = Database(tmp_path / "db", SCHEMA)
    made = Catalog(Config(), database)
    await made.open()
    yield made
    database.close()


async def test_networks_are_found_and_survive(catalog: Catalog, tmp_path: Path) -> None:
    made = catalog.plan({"Name": "web", "Labels": {"a": "b"}, "Internal": True}, [("10.89.0.1", 24)])
    await catalog.add(made)
    assert (made.subnet, made.gateway) == ("10.89.1.0/24", "10.89.1.1")  # the host has the first
    again = Catalog(Config(bip="10.77.0.1/16"), catalog._database)
    await again.open()
    assert again.get("web") == made
    assert again.get(made.id[:8]) == made
    assert again.get("default") is again.get("bridge")
    assert again.get("bridge").subnet == "10.77.0.0/16"
    assert again.get("bridge").id == catalog.get("bridge").id
    with pytest.raises(Conflict, match="already exists"):
        again.plan({"Name": "web"}, [])


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({"Name": ""}, InvalidArgument, "invalid network name"),
        ({"Name": "a\nb"}, InvalidArgument, "invalid network name"),
        ({"Name": "none"}, Forbidden, "predefined"),
        ({"Name": "x", "Driver": "host"}, Forbidden, "only one instance"),
        ({"Name": "x", "Driver": "macvlan"}, EngineError, 'plugin "macvlan" not found'),
        ({"Name": "x", "EnableIPv6": True}, Unsupported, "EnableIPv6"),
        ({"Name": "x", "Scope": "swarm"}, Unsupported, "swarm"),
        ({"Name": "x", "Labels": {"a": 1}}, InvalidArgument, "Labels"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.name": "../x"}}, InvalidArgument, "interface name"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.name": "gantry0"}}, Forbidden, "another network"),
        ({"Name": "x", "Options": {"com.docker.network.driver.mtu": "many"}}, InvalidArgument, "MTU"),
        (place({"Subnet": "10.88.3.0/24"}), Forbidden, "Pool overlaps"),
        (place({"Subnet": "nonsense"}), InvalidArgument, "invalid subnet"),
        (place({"Subnet": "10.9.0.0/31"}), InvalidArgument, "prefix length"),
        (place({"Subnet": "fd00::/64"}), Unsupported, "IPv6"),
        (
            place({"Subnet": "10.9.0.0/24", "Gateway": "10.8.0.1"}),
            InvalidArgument,
            "gateway",
        ),
        (
            place({"Subnet": "10.9.0.0/24", "IPRange": "10.8.0.0/25"}),
            InvalidArgument,
            "ip-range",
        ),
        ({"Name": "x", "IPAM": {"Driver": "dhcp"}}, InvalidArgument, "ipam driver"),
    ],
)
async def test_networks_that_are_refused(catalog: Catalog, body: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        catalog.plan(body, [])


# Ports


def test_ports_as_they_are_asked_for() -> None:
    asked = container(
        PortBindings={
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5000-5002"}],
            "443": None,
        },
        PublishAllPorts=True,
        ExposedPorts={"80/tcp": {}, "9/udp": {}, "7/sctp": {}, "rubbish": {}},
    )
    found = [(each.protocol, each.container_port, each.host_ip, each.host_ports) for each in wanted(asked, "0.0.0.0")]
    assert found == [
        ("tcp", 80, "0.0.0.0", range(8080, 8081)),
        ("udp", 53, "127.0.0.1", range(5000, 5003)),
        ("tcp", 443, "0.0.0.0", range(0)),
        ("udp", 9, "0.0.0.0", range(0)),
    ]
    assert exposed(asked) == ["9/udp", "80/tcp"]


@pytest.mark.parametrize(
    "bindings",
    [
        {"80/sctp": [{}]},
        {"0/tcp": [{}]},
        {"65536": [{}]},
        {"x": [{}]},
        {"80": [{"HostPort": "9-8"}]},
        {"80": [{"HostPort": "-1"}]},
        {"80": [{"HostPort": "65536"}]},
        {"80": [{"HostIp": "localhost"}]},
        {"80": [{"HostIp": "::1"}]},
    ],
)
def test_ports_that_are_none(bindings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        wanted(container(PortBindings=bindings), "0.0.0.0")


# Files


def test_resolv_conf_is_read_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = tmp_path / "resolv.conf"
    host.write_text("# made\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nsearch a.b c.d\noptions ndots:2 rotate\n")
    monkeypatch.setattr("gantry_agent.engine.networks.files.HOST_RESOLV", host)
    plain = resolver_of(container(), (), ())
    assert plain == Resolver(["192.0.2.1"], ["a.b", "c.d"], ["ndots:2", "rotate"])
    assert Resolver.parse(plain.text()) == plain
    assert resolver_of(container(), (), ["192.0.2.9"]).servers == ["192.0.2.9"]
    assert resolver_of(container(), (), (), is_host=True).servers == ["127.0.0.1", "192.0.2.1"]
    named = resolver_of(container(Dns=["192.0.2.5"], DnsSearch=["."]), ["10.89.0.1"], ())
    assert named == Resolver(["10.89.0.1"], [], ["rotate", "ndots:0"])  # aardvark-dns asks 192.0.2.5
    host.write_text("nameserver 127.0.0.1\n")
    assert resolver_of(container(), (), ()).servers == ["8.8.8.8", "8.8.4.4"]


def test_files_are_rewritten_in_place(tmp_path: Path) -> None:
    """They are bound into the container: a new file would not be seen."""
    asked = container(ExtraHosts=["one:192.0.2.1", "six:2001:db8::1", "me:host-gateway"])
    asked.config["Domainname"] = "example.org"
    hosts = hosts_text(asked, ["10.5.0.2"], "10.5.0.1", ["10.5.0.3\tdb"])
    assert hosts.splitlines()[-5:] == [
        "192.0.2.1\tone",
        "2001:db8::1\tsix",
        "10.5.0.1\tme",
        "10.5.0.3\tdb",
        "10.5.0.2\tname.example.org name",
    ]
    Contents(tmp_path, hosts, "long\n" * 100, "name\n").write()
    before = {path: path.stat().st_ino for path in paths(tmp_path).values()}
    Contents(tmp_path, "short\n", "short\n", "name\n").write()
    assert {path: path.stat().st_ino for path in before} == before
    assert [path.read_text() for path in before] == ["short\n", "short\n", "name\n"]
