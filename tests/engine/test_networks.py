"""Networks on the kernel: who reaches whom, what is published where, and what is left afterwards."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gantry_agent.engine.errors import Conflict, Forbidden, Internal, NotFound, Unavailable
from gantry_agent.engine.networks import nftables
from gantry_agent.engine.networks.dns import Names
from gantry_agent.engine.networks.firewall import Firewall, table_name
from gantry_agent.engine.networks.kernel import Kernel
from gantry_agent.engine.networks.netlink import Netlink

from tests.engine.lab import OUTSIDE, Lab, inside, is_free, port_of, resolve
from tests.support.netns import NetworkNamespace
from tests.support.waiting import eventually, eventually_async

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(NetworkNamespace.why_not()), reason=NetworkNamespace.why_not() or "-"),
]
NOTHING = {"links": [], "namespaces": [], "mounts": [], "published": [], "names": []}


@pytest.fixture
def there() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as made, inside(f"/run/netns/{made.name}"):
        yield made


@pytest.fixture
async def lab(tmp_path: Path, there: NetworkNamespace) -> AsyncIterator[Lab]:
    made = Lab(tmp_path, there)
    await made.networks.open(())
    yield made
    await made.close()


def publish(port: int, key: str = "80/tcp", host_ip: str = "") -> dict[str, list[dict[str, str]]]:
    return {key: [{"HostIp": host_ip, "HostPort": str(port) if port else ""}]}


def caller(server: socket.socket) -> str:
    """Who has connected; "" when nobody has."""
    server.setblocking(False)
    try:
        client, (address, _) = server.accept()
    except BlockingIOError:
        return ""
    client.close()
    return str(address)


@contextlib.contextmanager
def route_to(subnet: str, lab: Lab) -> Iterator[None]:
    """A neighbour that sends packets for a network of containers to this host."""
    with inside(OUTSIDE):
        lab.run("ip", "route", "replace", subnet, "via", lab.there.inside)
    try:
        yield
    finally:
        with inside(OUTSIDE):
            lab.run("ip", "route", "del", subnet)


async def test_a_container_has_an_address_and_a_way_out(lab: Lab) -> None:
    container = await lab.start()
    endpoint = container.endpoints["bridge"]
    assert (endpoint.ip, endpoint.prefix, endpoint.gateway) == ("10.95.0.2", 24, "10.95.0.1")
    assert endpoint.mac == "02:42:0a:5f:00:02"
    assert "10.95.0.2/24" in lab.run("ip", "-br", "address", "show", "eth0", of=container)
    assert "default via 10.95.0.1 dev eth0" in lab.run("ip", "route", of=container)
    assert "127.0.0.1/8" in lab.run("ip", "-br", "address", "show", "lo", of=container)
    with socket.create_server((lab.there.inside, 0)) as server:
        assert await lab.is_silent(lab.there.inside, server.getsockname()[1], of=container)  # connected, and silent
        assert caller(server) == "10.95.0.2"


async def test_outwards_it_has_the_hosts_address(lab: Lab, tmp_path: Path) -> None:
    """The neighbour is this machine: it sees the host of the test, not the container."""
    container = await lab.start()
    with inside(OUTSIDE):
        server = socket.create_server((lab.there.outside, 0))
    with server:
        assert await lab.is_silent(lab.there.outside, server.getsockname()[1], of=container)
        assert caller(server) == lab.there.inside


async def test_a_published_port_answers_everywhere(lab: Lab) -> None:
    container = await lab.start(PortBindings=publish(8080))
    other = await lab.start()
    assert container.ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    lab.serve(container, 80)
    assert await lab.ask("127.0.0.1", 8080) == "hello 10.95.0.1"
    assert (await lab.ask(lab.there.inside, 8080)).startswith("hello")
    assert (await lab.ask("10.95.0.1", 8080, of=other)).startswith("hello")
    assert (await lab.ask(lab.there.inside, 8080, of=container)).startswith("hello")  # its own
    assert await lab.ask(lab.there.inside, 8080, of="outside") == f"hello {lab.there.outside}"


async def test_a_port_on_one_address_answers_there_only(lab: Lab) -> None:
    container = await lab.start(PortBindings=publish(8080, host_ip="127.0.0.1"))
    lab.serve(container, 80)
    assert (await lab.ask("127.0.0.1", 8080)).startswith("hello")
    assert await lab.is_silent(lab.there.inside, 8080, of="outside")
    assert await lab.is_silent("10.95.0.1", 8080)
    again = await lab.start(PortBindings=publish(8080, host_ip=lab.there.inside))
    lab.serve(again, 80, "other")
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("other")


async def test_udp_is_published_beside_tcp(lab: Lab) -> None:
    container = await lab.start(PortBindings={**publish(5353, "53/udp"), **publish(5353, "53/tcp")})
    lab.serve(container, 53, "datagram", "udp")
    lab.serve(container, 53, "stream")
    for of in ("", "outside"):
        assert (await lab.ask(lab.there.inside, 5353, of=of, kind="udp")).startswith("datagram")
        assert (await lab.ask(lab.there.inside, 5353, of=of)).startswith("stream")
    assert (await lab.ask("127.0.0.1", 5353, kind="udp")).startswith("datagram")


async def test_a_restarted_udp_server_is_found_by_who_asked_before(lab: Lab) -> None:
    """A flow that the kernel remembers must not lead to the old address."""
    container = await lab.start(PortBindings=publish(5353, "53/udp"))
    lab.serve(container, 53, "first", "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((lab.there.inside, 5353))
        client.send(b"?")
        assert client.recv(100).startswith(b"first")
        lab.end_programs()
        await lab.networks.detach(container)
        await lab.networks.attach(container)
        lab.serve(container, 53, "second", "udp")
        client.send(b"?")
        assert client.recv(100).startswith(b"second")


async def test_a_taken_port_is_refused_in_dockers_words(lab: Lab) -> None:
    await lab.start(PortBindings=publish(8080))
    second = lab.container(PortBindings={**publish(8081, "81/tcp"), **publish(8080)})
    with pytest.raises(Internal, match=r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated"):
        await lab.networks.attach(second)
    with socket.create_server(("0.0.0.0", 8082)):
        third = lab.container(PortBindings=publish(8082))
        with pytest.raises(Internal, match=r"listen tcp4 0\.0\.0\.0:8082: bind: address already in use"):
            await lab.networks.attach(third)
    assert is_free(8081)
    assert second.endpoints["bridge"].ip == ""
    assert len(lab.left()["namespaces"]) == 1


async def test_ranges_and_ephemeral_ports_find_a_free_one(lab: Lab) -> None:
    ranged = {"80/tcp": [{"HostPort": "9000-9002"}]}
    got = [port_of(await lab.start(PortBindings=ranged), "80/tcp") for _ in range(3)]
    assert got == [9000, 9001, 9002]
    with pytest.raises(Internal, match="port is already allocated"):
        await lab.start(PortBindings=ranged)
    everything = await lab.start(PublishAllPorts=True, ExposedPorts={"80/tcp": {}, "53/udp": {}})
    assert set(everything.ports) == {"80/tcp", "53/udp"}
    assert port_of(everything, "80/tcp") >= 49153
    assert not is_free(port_of(everything, "80/tcp"))


async def test_networks_are_kept_apart(lab: Lab) -> None:
    await lab.networks.create({"Name": "one"})
    await lab.networks.create({"Name": "two"})
    first = await lab.start("one", PortBindings=publish(8080))
    friend, stranger, default = await lab.start("one"), await lab.start("two"), await lab.start()
    lab.serve(first, 80)
    address = first.endpoints["one"].ip
    assert (await lab.ask(address, 80, of=friend)).startswith("hello")
    assert await lab.is_silent(address, 80, of=stranger)
    assert await lab.is_silent(address, 80, of=default)
    assert (await lab.ask(lab.there.inside, 8080, of=stranger)).startswith("hello")  # what is published is for all


async def test_a_neighbour_cannot_route_to_a_container(lab: Lab) -> None:
    container = await lab.start()
    lab.serve(container, 80)
    with route_to("10.95.0.0/24", lab):
        assert await lab.is_silent(container.endpoints["bridge"].ip, 80, of="outside")


async def test_a_container_cannot_reach_the_hosts_loopback(lab: Lab) -> None:
    """CVE-2020-8558: bridges route to 127.0.0.1 for published ports, and for nothing else."""
    container = await lab.start()
    with socket.create_server(("127.0.0.1", 0)) as secret:
        with inside(str(lab.layout.netns / container.id)):  # what a container with CAP_NET_ADMIN can do
            Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
        lab.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo", of=container)
        lab.run("ip", "route", "add", "127.0.0.1/32", "via", "10.95.0.1", "dev", "eth0", of=container)
        assert await lab.is_silent("127.0.0.1", secret.getsockname()[1], of=container)
        assert caller(secret) == ""


async def test_an_internal_network_has_no_way_out(lab: Lab) -> None:
    await lab.networks.create({"Name": "inner", "Internal": True})
    first, second = await lab.start("inner", PortBindings=publish(8080)), await lab.start("inner")
    lab.serve(first, 80)
    assert first.ports == {}
    assert "default" not in lab.run("ip", "route", of=second)
    assert (await lab.ask(first.endpoints["inner"].ip, 80, of=second)).startswith("hello")
    with inside(OUTSIDE):
        server = socket.create_server((lab.there.outside, 0))
    network = lab.networks.catalog.get("inner")
    with server, route_to(network.subnet, lab):
        lab.run("ip", "route", "add", "default", "via", network.gateway, of=second)
        assert await lab.is_silent(lab.there.outside, server.getsockname()[1], of=second)
        assert caller(server) == ""


async def test_containers_of_a_network_without_talk_do_not_reach_each_other(lab: Lab) -> None:
    options = {"com.docker.network.bridge.enable_icc": "false"}
    await lab.networks.create({"Name": "quiet", "Options": options})
    first, second = await lab.start("quiet"), await lab.start("quiet")
    lab.serve(first, 80)
    assert await lab.is_silent(first.endpoints["quiet"].ip, 80, of=second)
    assert (await lab.ask(first.endpoints["quiet"].ip, 80)).startswith("hello")


async def test_host_none_and_anothers_network(lab: Lab) -> None:
    assert await lab.networks.attach(lab.container("host")) is None
    lonely = await lab.start("none")
    assert "eth0" not in lab.run("ip", "-br", "link", of=lonely)
    owner = await lab.start()
    guest = lab.container(f"container:{owner.id}")
    assert await lab.networks.attach(guest) == lab.layout.netns / owner.id
    assert lab.networks.files(guest) == lab.networks.files(owner)
    await lab.networks.detach(owner)
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        await lab.networks.attach(lab.container(f"container:{owner.id}"))
    with pytest.raises(NotFound, match="network nowhere not found"):
        await lab.networks.attach(lab.container("nowhere"))


async def test_a_running_container_is_connected_and_disconnected(lab: Lab) -> None:
    for name in ("one", "two"):
        await lab.networks.create({"Name": name})
    container, friend = await lab.start("one", PortBindings=publish(8080)), await lab.start("two")
    lab.serve(container, 80)
    two = lab.networks.catalog.get("two")
    await lab.networks.connect(two, container, {"Aliases": ["db"]})
    assert container.endpoints["two"].inner == "eth1"
    assert (await lab.ask(container.endpoints["two"].ip, 80, of=friend)).startswith("hello")
    with pytest.raises(Forbidden, match="already exists in network two"):
        await lab.networks.connect(two, container, {})
    await lab.networks.disconnect(lab.networks.catalog.get("one"), container)
    assert f"default via {two.gateway} dev eth1" in lab.run("ip", "route", of=container)
    assert "eth0" not in lab.run("ip", "-br", "link", of=container)
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")  # published at the other address
    with pytest.raises(Forbidden, match="is not connected to network one"):
        await lab.networks.disconnect(lab.networks.catalog.get("one"), container)


async def test_names_and_aliases_are_answered_within_a_network(lab: Lab) -> None:
    if not lab.networks.has_names:
        pytest.skip("aardvark-dns is not installed")
    await lab.networks.create({"Name": "one"})
    await lab.networks.create({"Name": "two"})
    first = await lab.start("one", {"one": {"Aliases": ["db"]}}, Dns=["192.0.2.53"])
    second, stranger = await lab.start("one"), await lab.start("two")
    for name in (first.name, "db", first.id[:12]):
        assert resolve(lab, second, name) == f"['{first.endpoints['one'].ip}']"
        assert "[" not in resolve(lab, stranger, name)
    first.name = "renamed"
    await lab.networks.renamed(first)
    eventually(lambda: resolve(lab, second, "renamed") == f"['{first.endpoints['one'].ip}']")
    await lab.networks.connect(lab.networks.catalog.get("two"), first, {"Aliases": ["late"]})
    eventually(lambda: resolve(lab, stranger, "late") == f"['{first.endpoints['two'].ip}']")
    await lab.networks.detach(first)
    eventually(lambda: "[" not in resolve(lab, second, "db"))


async def test_nothing_is_left_behind(lab: Lab) -> None:
    await lab.networks.create({"Name": "web"})
    for number in range(10):
        first = await lab.start(PortBindings=publish(9000 + number))
        second = await lab.start("web", PortBindings=publish(9100 + number, "53/udp"))
        guest = await lab.start(f"container:{first.id}")
        for each in (first, second, guest, guest):
            await lab.networks.detach(each)
    await eventually_async(lambda: lab.left() == NOTHING, what="links, namespaces, rules and names are gone")
    await lab.networks.remove("web")
    assert "gb-" not in lab.run("ip", "-br", "link")
    await lab.networks.close()
    assert lab.run("nft", "list", "ruleset").strip() == ""
    assert "gnF0" not in lab.run("ip", "-br", "link")
    lab.networks = lab.new()
    await lab.networks.open(())
    assert all(is_free(port) for port in (9000, 9009, 9100))


@pytest.mark.parametrize(
    "step",
    [
        (Netlink, "add_veth"),
        (Netlink, "add_address"),
        (Netlink, "set_default_route"),
        (Firewall, "replace"),
        (Names, "add"),
    ],
    ids=lambda step: step[1],
)
async def test_a_step_that_fails_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    await lab.networks.create({"Name": "web"})
    container = lab.container("web", PortBindings=publish(8080))

    def fail(*_: object) -> None:
        raise Unavailable("the kernel says no")

    monkeypatch.setattr(*step, fail)
    with pytest.raises(Unavailable, match="the kernel says no"):
        await lab.networks.attach(container)
    monkeypatch.undo()
    await eventually_async(lambda: lab.left() == NOTHING, what="nothing is left")
    assert is_free(8080)
    assert container.endpoints["web"].ip == ""
    await lab.networks.attach(container)  # and the next try succeeds


async def test_a_start_that_is_cancelled_leaves_nothing(lab: Lab) -> None:
    await lab.networks.create({"Name": "web"})
    container = lab.container("web", PortBindings=publish(8080))
    for pause in range(5):
        starting = asyncio.create_task(lab.networks.attach(container))
        for _ in range(pause):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            await lab.networks.detach(container)
        await eventually_async(lambda: lab.left() == NOTHING, what="nothing is left")
        assert is_free(8080)


@pytest.mark.parametrize("step", ["add_network", "remove_network"])
async def test_a_network_whose_bridge_fails(lab: Lab, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("the kernel says no")

    async def both() -> None:
        await lab.networks.create({"Name": "web"})
        await lab.networks.remove("web")

    monkeypatch.setattr(Kernel, step, fail)
    with pytest.raises(Unavailable):
        await both()
    monkeypatch.undo()
    if step == "remove_network":
        await lab.start("web")  # it is there as before
        for container, _ in lab.networks.members(lab.networks.catalog.get("web")):
            await lab.networks.detach(container)
        await lab.networks.remove("web")
    await both()
    assert "gb-" not in lab.run("ip", "-br", "link")


async def test_a_network_that_is_being_joined_is_in_use(lab: Lab) -> None:
    await lab.networks.create({"Name": "web"})
    starting = asyncio.create_task(lab.networks.attach(lab.container("web")))
    await asyncio.sleep(0)
    with pytest.raises(Forbidden, match="has active endpoints"):
        await lab.networks.remove("web")
    await starting


async def test_a_killed_engine_is_taken_over(lab: Lab) -> None:
    """Its running containers keep everything; what belongs to nobody goes."""
    await lab.networks.create({"Name": "web"})
    kept = await lab.start("web", PortBindings=publish(8080))
    lost = await lab.start(PortBindings=publish(8081))
    lab.serve(kept, 80)
    await lab.networks.close()  # as a kill does: nothing of a container is touched
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")
    lab.networks = lab.new()
    await lab.networks.open([kept])
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")
    assert not is_free(8080)
    assert is_free(8081)
    assert lab.left()["namespaces"] == [kept.id]
    assert await lab.is_silent("127.0.0.1", 8081)
    await eventually_async(lambda: len(lab.left()["links"]) == 1, what="the lost container's link is gone")
    assert [each.name for each, _ in lab.networks.members(lab.networks.catalog.get("web"))] == [kept.name]
    other = await lab.start("web")
    assert other.endpoints["web"].ip not in ("", kept.endpoints["web"].ip)
    assert lost.id not in lab.left()["namespaces"]


async def test_flushed_rules_come_back(lab: Lab) -> None:
    first = await lab.start(PortBindings=publish(8080))
    lab.serve(first, 80)
    lab.run("nft", "flush", "ruleset")
    await lab.start(PortBindings=publish(8081))
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")


async def test_without_the_library_the_command_does_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "LIBRARY", "libnowhere.so")
    await lab.networks.close()
    lab.networks = lab.new()
    await lab.networks.open(())
    container = await lab.start(PortBindings=publish(8080))
    lab.serve(container, 80)
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")
    await lab.networks.detach(container)
    assert lab.left()["published"] == []


async def test_another_firewall_that_drops_what_it_does_not_know(lab: Lab) -> None:
    """Docker sets the FORWARD policy to DROP when it starts; ufw ships so."""
    lab.run("iptables", "-P", "FORWARD", "DROP")
    container = await lab.start(PortBindings=publish(8080))
    lab.serve(container, 80)
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")
    await lab.networks.create({"Name": "web"})
    await lab.networks.remove("web")
    assert "gb-" not in lab.run("iptables", "-S", "FORWARD")


async def test_a_firewall_that_starts_later_is_told(lab: Lab) -> None:
    container = await lab.start(PortBindings=publish(8080))
    lab.serve(container, 80)
    lab.run("iptables", "-P", "FORWARD", "DROP")
    assert await lab.is_silent(lab.there.inside, 8080, of="outside")
    lab.run("nft", "delete", "table", "ip", table_name(lab.layout.root))
    await lab.networks.guard()
    assert (await lab.ask(lab.there.inside, 8080, of="outside")).startswith("hello")


async def test_events_say_who_came_and_went(lab: Lab) -> None:
    container = await lab.start()
    await lab.networks.detach(container)
    told = [(event.kind, event.action, event.attributes["container"]) for event in lab.events.since(0)]
    assert told == [("network", "connect", container.id), ("network", "disconnect", container.id)]
