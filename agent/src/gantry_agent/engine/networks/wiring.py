"""The kernel's side of networks: bridges, namespaces, pairs of interfaces. All of it blocks: one worker thread.

A pair's outer end carries our prefix and is a port of our bridge from its first moment; its name is in the container's
endpoint. So an engine that opens can tell what belongs to a running container from what a killed one left behind.
"""

import contextlib
import logging
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.errors import Conflict, Internal

from . import namespaces
from .addresses import mac_of
from .model import Network
from .netlink import Link, Netlink

log = logging.getLogger(__name__)
SETTINGS = Path("/proc/sys/net")
PREFIX = "gv"


@dataclass(frozen=True)
class Join:
    """One interface of a container. `gateway` is set on the one that leads outwards."""

    network: Network
    outer: str
    inner: str
    address: str
    mac: str
    gateway: str = ""


def outer_name() -> str:
    """A new name for the host's end of a pair. Never the last one again: the kernel may still be freeing that."""
    return PREFIX + secrets.token_hex(6)


class Wiring:
    """Makes and removes interfaces. For one thread only."""

    def __init__(self) -> None:
        self._host = Netlink()
        self._bridges: dict[str, int] = {}

    def close(self) -> None:
        self._host.close()

    def bridge(self, network: Network) -> bool:
        """Have the network's bridge up; whether it had to be made. Raises Conflict for another's interface."""
        if network.interface in self._bridges and self._host.link(network.interface):
            return False
        found = self._host.link(network.interface)
        if found and found.kind != "bridge":
            raise Conflict(f"the interface {network.interface} exists and is no bridge")
        if not found:
            self._host.add_bridge(network.interface, mac_of(network.gateway))
            found = self._host.link(network.interface)
        assert found is not None
        self._host.add_address(found.index, network.gateway, network.prefix)
        self._host.set_up(found.index)
        _set(f"ipv4/conf/{network.interface}/route_localnet", "1")  # published ports answer on 127.0.0.1
        _set("ipv4/ip_forward", "1")
        self._bridges[network.interface] = found.index
        return True

    def remove_bridge(self, network: Network) -> None:
        """Remove the network's bridge. One that was there before this engine stays: it has not the address we give."""
        link = self._host.link(network.interface)
        if link and link.kind == "bridge" and link.mac == mac_of(network.gateway):
            self._host.remove(network.interface)
        self._bridges.pop(network.interface, None)

    def build(self, path: Path, joins: Sequence[Join]) -> None:
        """A namespace at `path` with these interfaces; nothing is left when it fails."""
        if path.exists():
            namespaces.remove(path)
        with namespaces.make(path) as inside:
            try:
                for join in joins:
                    self._join(path, inside, join)
            except BaseException:
                self.remove(path, [join.outer for join in joins])
                raise

    def join(self, path: Path, join: Join) -> None:
        """One more interface for a running container."""
        with namespaces.enter(path) as inside:
            self._join(path, inside, join)

    def leave(self, path: Path, outer: str, gateway: str) -> None:
        """Take an interface away; `gateway` is where packets go from now on, "" for nowhere."""
        self._host.remove(outer)
        if gateway:
            with namespaces.enter(path) as inside:
                inside.set_default_route(gateway)

    def remove(self, path: Path, outers: Iterable[str]) -> None:
        """Let go of a namespace. Another container may still be in it (container:ID), so its interfaces go first."""
        self.remove_outers(outers)
        namespaces.remove(path)

    def remove_outers(self, outers: Iterable[str]) -> None:
        """Remove the hosts' ends of pairs; those that are gone are no error."""
        for outer in outers:
            with contextlib.suppress(Internal):
                self._host.remove(outer)

    def sweep(self, folder: Path, namespaces_kept: Collection[str], outers_kept: Collection[str]) -> int:
        """Remove what a killed engine left: namespaces in `folder`, pairs in our bridges. How many."""
        swept = 0
        for path in folder.iterdir():
            if path.name not in namespaces_kept:
                namespaces.remove(path)
                swept += 1
        for link in self._host.links():
            is_ours = link.kind == "veth" and link.name.startswith(PREFIX) and link.master in self._bridges.values()
            if is_ours and link.name not in outers_kept:
                self._host.remove(link.name)
                swept += 1
        return swept

    def has(self, network: Network) -> bool:
        """Whether its bridge is known to exist."""
        return network.interface in self._bridges

    def learn(self, names: Iterable[str]) -> None:
        """Find out which of these bridges exist, without making any."""
        for name in names:
            if (link := self._host.link(name)) and link.kind == "bridge":
                self._bridges[name] = link.index

    def subnets(self) -> list[tuple[str, int]]:
        """(address, prefix length) of every interface of this host: a new network must not overlap one."""
        return [(address, prefix) for _, address, prefix in self._host.addresses()]

    def _join(self, path: Path, inside: Netlink, join: Join) -> None:
        master = self._bridges[join.network.interface]
        with path.open("rb") as file:
            self._host.add_veth(join.outer, master, join.inner, join.mac, file.fileno(), join.network.mtu)
        self._set_port(join)
        link = _inside(inside, join.inner)
        inside.add_address(link.index, join.address, join.network.prefix)
        inside.set_up(link.index)
        if join.gateway:
            inside.set_default_route(join.gateway)

    def _set_port(self, join: Join) -> None:
        reflect = _get("bridge/bridge-nf-call-iptables") == "1"
        if join.network.allows_talk and not reflect:
            return
        if link := self._host.link(join.outer):
            # Where bridged packets pass the firewall, a container reaches its own published port only so.
            self._host.set_port(link.index, isolated=not join.network.allows_talk, hairpin=reflect)


def _inside(inside: Netlink, name: str) -> Link:
    if link := inside.link(name):
        return link
    raise Internal(f"the interface {name} is not in the container's network namespace")


def _set(name: str, value: str) -> None:
    """Set a kernel setting unless it is so: writing it may be forbidden where it is set for us."""
    path = SETTINGS / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as exc:
        log.warning("cannot set %s to %s: %s", path, value, exc.strerror)


def _get(name: str) -> str:
    try:
        return (SETTINGS / name).read_text().strip()
    except OSError:
        return ""
