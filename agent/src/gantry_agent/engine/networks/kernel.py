"""Everything of networks that blocks, as one object for the one worker thread: interfaces, rules, names."""

import logging
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.errors import EngineError, Internal
from gantry_agent.engine.layout import Layout

from .conntrack import forget_flows
from .dns import Entry, Names
from .files import Contents
from .firewall import Firewall
from .model import Network
from .ports import Port
from .wiring import Join, Wiring

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """What a container is called on one network."""

    network: Network
    container_id: str
    entry: Entry


class Kernel:
    """Interfaces, rules and names, changed together. For one thread only."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.netns
        self._wiring = Wiring()
        self._firewall = Firewall(layout.root)
        self._names = Names(layout.run / "dns")
        self._networks: list[Network] = []
        self._ports: set[Port] = set()
        self._is_written = False

    def close(self) -> None:
        self._wiring.close()
        self._firewall.close()

    def restore(
        self,
        networks: Sequence[Network],
        ports: Iterable[Port],
        kept: Collection[str],
        outers: Collection[str],
        names: dict[str, dict[str, Entry]],
    ) -> None:
        """Bring the kernel to what is so: `kept` are the namespaces by container id, `outers` the hosts' ends.

        Without anything running no rule is made, and an old table goes: it could send somebody's packets nowhere.
        """
        self._networks = [network for network in networks if network.interface]
        self._ports = set(ports)
        self._wiring.learn(network.interface for network in self._networks)
        swept = self._wiring.sweep(self._folder, kept, outers)
        if swept:
            log.info("removed %d namespaces and interfaces that a killed engine had left", swept)
        try:
            if kept:
                self._write()
                for network in self._networks:
                    if self._wiring.has(network):
                        self._firewall.allow_beside_others(network.interface)
            else:
                self.clear()
        except EngineError as exc:
            log.error("the firewall's rules are not in place: %s", exc.message)
        self._names.restore(names, {network.id: network for network in self._networks})

    def clear(self) -> None:
        """Nobody runs: take bridges and rules away. They come back with the next container (35 ms, once)."""
        for network in self._networks:
            if self._wiring.has(network):
                self._firewall.forget_beside_others(network.interface)
                self._wiring.remove_bridge(network)
        self._firewall.remove()
        self._is_written = False

    def guard(self) -> None:
        """Put back rules that somebody flushed, or that another firewall started after us holds back."""
        if not self._is_written:
            return
        if not self._firewall.is_there():
            log.warning("the table %s had been flushed; it is written anew", self._firewall.table)
            self._write()
        for network in self._networks:
            if self._wiring.has(network):
                self._firewall.allow_beside_others(network.interface)

    # Networks

    def add_network(self, network: Network) -> None:
        """Make a network's bridge; nothing is left when it fails."""
        if not self._is_written:
            self._write()
        self._networks.append(network)
        try:
            self._firewall.add_network(network)
            self._bridge(network)
        except BaseException:
            self.remove_network(network)
            raise

    def remove_network(self, network: Network) -> None:
        """Remove its bridge and its rules."""
        self._networks = [each for each in self._networks if each.id != network.id]
        self._wiring.remove_bridge(network)
        self._firewall.forget_beside_others(network.interface)
        if self._is_written:
            self._write()

    def subnets(self) -> list[tuple[str, int]]:
        return self._wiring.subnets()

    # Containers

    def attach(
        self, path: Path, contents: Contents, joins: Sequence[Join], ports: Sequence[Port], names: Sequence[Named]
    ) -> None:
        """A namespace with its files, interfaces, ports and names. After a failure `detach` is the caller's to call."""
        contents.write()
        if joins and not self._is_written:
            self._write()
        for join in joins:
            self._bridge(join.network)
        self._wiring.build(path, joins)
        self.publish((), ports)
        self.set_names(names)

    def detach(
        self, container_id: str, path: Path, outers: Sequence[str], ports: Sequence[Port], network_ids: Sequence[str]
    ) -> None:
        """Undo `attach`: every step is tried, the first failure is raised at the end."""
        failures: list[EngineError] = []
        steps = (
            lambda: self.publish(ports, ()),
            lambda: self._names.remove(network_ids, container_id),
            lambda: self._wiring.remove(path, outers),
        )
        for step in steps:
            try:
                step()
            except EngineError as exc:
                failures.append(exc)
        if failures:
            raise failures[0]

    def join(self, path: Path, join: Join, names: Sequence[Named]) -> None:
        """One more network for a running container."""
        if not self._is_written:
            self._write()
        self._bridge(join.network)
        self._wiring.join(path, join)
        self.set_names(names)

    def leave(self, path: Path, outer: str, gateway: str, network: Network, container_id: str) -> None:
        """One network less for a running container."""
        self._names.remove([network.id], container_id)
        self._wiring.leave(path, outer, gateway)

    def publish(self, old: Sequence[Port], new: Sequence[Port]) -> None:
        """Replace what is published of a container."""
        self._ports = (self._ports - set(old)) | set(new)
        if not old and not new:
            return
        try:
            self._firewall.replace(old, new)
        except Internal:
            # Somebody flushed the rules ("nft flush ruleset" of a reload): all of them are needed again.
            self._write()
        if moved := {port.host_port for port in (*old, *new) if port.protocol == "udp"}:
            forget_flows(moved, {socket.inet_aton(address) for address, _ in self._wiring.subnets()})

    def set_names(self, names: Iterable[Named]) -> None:
        for named in names:
            self._names.add(named.network, named.container_id, named.entry)

    def remove_lingering(self, outers: Iterable[str]) -> None:
        """Remove interfaces that their namespace's end has not taken along: some process is still in it."""
        self._wiring.remove_outers(outers)

    def _bridge(self, network: Network) -> None:
        if self._wiring.bridge(network):
            self._firewall.allow_beside_others(network.interface)

    def _write(self) -> None:
        self._firewall.rewrite(self._networks, self._ports)
        self._is_written = True
