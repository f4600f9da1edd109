"""A container's places in networks: what it wants, and the addresses and ports it holds while it runs.

Nothing here blocks; the kernel's side is in kernel.py. For the event loop only.
"""

import logging
import re
from typing import Any

from gantry_agent.engine.containers.model import Container, Endpoint
from gantry_agent.engine.errors import InvalidArgument

from .addresses import Addresses, mac_of
from .catalog import Catalog
from .model import BRIDGE, HOST, NONE, Network
from .ports import Port, Ports
from .ports import shown as shown_ports
from .ports import wanted as wanted_ports
from .wiring import Join, outer_name

log = logging.getLogger(__name__)
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Places:
    """Gives out places, and takes them back."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._addresses = Addresses()
        self.ports = Ports()

    def prepare(self, container: Container, networking_config: dict[str, Any]) -> None:
        """See `Networks.prepare`."""
        mode = container.network_mode
        given = networking_config.get("EndpointsConfig") or {}
        if not isinstance(given, dict) or not all(isinstance(each or {}, dict) for each in given.values()):
            raise InvalidArgument("NetworkingConfig.EndpointsConfig must be an object of objects")
        # The docker command line says "default" for the default bridge.
        asked = {BRIDGE if name == "default" else name: each for name, each in given.items()}
        container.endpoints = {}
        if mode.startswith("container:"):
            return
        own = {name for name in asked if name == mode or self._same(name, mode)}
        mac = str(container.config.get("MacAddress") or "")
        first = next((asked.pop(name) for name in list(own)), None)
        self.add(container, mode, first or {}, mac)
        for name, settings in asked.items():
            if mode in (HOST, NONE):
                raise InvalidArgument(f"a container in network mode {mode} cannot be in other networks")
            self.add(container, name, settings or {}, "")

    def add(self, container: Container, name: str, settings: dict[str, Any], mac: str) -> None:
        """A place in a network, wanted but not taken. Raises InvalidArgument."""
        network = self._catalog.find(name)
        key = network.name if network else name
        ipam = settings.get("IPAMConfig") or {}
        wanted = str(ipam.get("IPv4Address") or "")
        aliases = [str(each) for each in settings.get("Aliases") or ()]
        if ipam.get("IPv6Address") or ipam.get("LinkLocalIPs"):
            raise InvalidArgument("IPv6 and link-local addresses are not supported by this engine")
        if key in (BRIDGE, HOST, NONE):
            if wanted:
                raise InvalidArgument("user specified IP address is supported on user defined networks only")
            if settings.get("Aliases"):
                raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
        elif wanted and network and not network.has_given_subnet:
            raise InvalidArgument(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
        container.endpoints[key] = Endpoint(
            network_id=network.id if network else "",
            aliases=aliases,
            wanted_ip=wanted,
            wanted_mac=_mac(str(settings.get("MacAddress") or mac)),
            links=[str(each) for each in settings.get("Links") or ()],
            driver_options=dict(settings.get("DriverOpts") or {}),
        )

    def of(self, container: Container) -> list[tuple[Network, Endpoint]]:
        found = ((self._catalog.find(name), endpoint) for name, endpoint in container.endpoints.items())
        return [(network, endpoint) for network, endpoint in found if network]

    def main(self, container: Container) -> tuple[Network, Endpoint] | None:
        """The network that leads outwards and where ports are published: the first that is not internal."""
        places = self.of(container)
        return next(((net, end) for net, end in places if net.driver == "bridge" and not net.internal and end.ip), None)

    def take(self, container: Container) -> list[Join]:
        """Addresses and ports for every network of a container. Raises NotFound, Unavailable, Internal."""
        if not container.endpoints:
            self.add(container, container.network_mode, {}, str(container.config.get("MacAddress") or ""))
        joins = []
        for name, endpoint in container.endpoints.items():
            network = self._catalog.get(name)
            endpoint.network_id = network.id
            if network.driver == "bridge":
                joins.append(self.take_one(container, network, endpoint))
        if main := self.main(container):
            wishes = wanted_ports(container, main[0].default_host_ip)
            container.ports = shown_ports(container, self.ports.take(container, wishes, main[1].ip))
        return joins

    def take_one(self, container: Container, network: Network, endpoint: Endpoint) -> Join:
        endpoint.network_id = network.id
        endpoint.ip = self._addresses.take(network, endpoint.wanted_ip)
        endpoint.prefix, endpoint.gateway = network.prefix, "" if network.internal else network.gateway
        endpoint.mac = endpoint.wanted_mac or mac_of(endpoint.ip)
        endpoint.interface = outer_name()
        main = self.main(container)
        taken = {each.inner for _, each in self.of(container)}
        endpoint.inner = next(name for name in (f"eth{number}" for number in range(1000)) if name not in taken)
        leads = main is not None and main[1] is endpoint
        return Join(
            network, endpoint.interface, endpoint.inner, endpoint.ip, endpoint.mac, network.gateway if leads else ""
        )

    def give_back(self, container: Container) -> list[Port]:
        """Let go of addresses and ports; which ports they were."""
        for network, endpoint in self.of(container):
            self.give_back_one(network, endpoint)
        container.ports = {}
        return self.ports.release(container.id)

    def give_back_one(self, network: Network, endpoint: Endpoint) -> None:
        """Let go of the address of one place."""
        if endpoint.ip:
            self._addresses.release(network, endpoint.ip)
        endpoint.ip = endpoint.gateway = endpoint.mac = endpoint.interface = endpoint.inner = ""
        endpoint.prefix = 0

    def forget(self, network: Network) -> None:
        """The network is gone."""
        self._addresses.forget(network)

    def move_ports(self, container: Container) -> tuple[list[Port], list[Port]]:
        """After a change of its networks: hold a running container's ports for the address that leads outwards now.

        What was published and what is to be. Raises Internal when a port cannot be had.
        """
        main = self.main(container)
        old = self.ports.of(container.id)
        if main and (old[0].container_ip == main[1].ip if old else container.ports):
            return old, old
        self.ports.release(container.id)
        shown, container.ports = container.ports, {}
        if main and old:
            container.ports = shown
            self.ports.take_back(container, main[1].ip)
        elif main:
            wishes = wanted_ports(container, main[0].default_host_ip)
            container.ports = shown_ports(container, self.ports.take(container, wishes, main[1].ip))
        return old, self.ports.of(container.id)

    def take_back(self, container: Container) -> None:
        """What a running container has had before this engine opened."""
        for network, endpoint in self.of(container):
            if endpoint.ip:
                self._addresses.mark(network, endpoint.ip)
        if main := self.main(container):
            for problem in self.ports.take_back(container, main[1].ip):
                log.warning("%s; the container keeps it in the firewall", problem)

    def _same(self, name: str, mode: str) -> bool:
        """Whether two words mean the same network."""
        found = self._catalog.find(name)
        return found is not None and found is self._catalog.find(mode)


def _mac(text: str) -> str:
    """A hardware address, normalised; "" for none. Raises InvalidArgument."""
    normal = text.lower().replace("-", ":")
    if normal and not MAC.fullmatch(normal):
        raise InvalidArgument(f"invalid MAC address: {text!r}")
    return normal
