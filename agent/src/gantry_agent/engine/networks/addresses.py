"""Which addresses are given out, and which subnets: in memory, made anew from the running containers at open."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from gantry_agent.engine.errors import Forbidden, InvalidArgument, Unavailable

from .model import Network


class Addresses:
    """The addresses of every network that are in use."""

    def __init__(self) -> None:
        self._used: dict[str, set[str]] = {}
        self._last: dict[str, int] = {}

    def take(self, network: Network, asked: str = "") -> str:
        """An address of `network`, or the one asked for. Raises Unavailable when there is none left, or it is used.

        Goes on after the last one given: an address just freed is remembered by its neighbours' ARP tables.
        """
        used = self._used.setdefault(network.id, set())
        address = self._asked(network, asked) if asked else self._free(network)
        used.add(address)
        return address

    def mark(self, network: Network, address: str) -> None:
        """This address is in use already: a container has kept it while the engine was away."""
        self._used.setdefault(network.id, set()).add(address)

    def release(self, network: Network, address: str) -> None:
        self._used.get(network.id, set()).discard(address)

    def forget(self, network: Network) -> None:
        """The network is gone."""
        self._used.pop(network.id, None)
        self._last.pop(network.id, None)

    def _asked(self, network: Network, asked: str) -> str:
        try:
            address = ipaddress.IPv4Address(asked)
        except ValueError as exc:
            raise InvalidArgument(f"invalid IPv4 address: {asked}") from exc
        if address not in ipaddress.IPv4Network(network.subnet):
            raise InvalidArgument(f"no configured subnet contains IP address {asked}")
        if self._is_used(network, str(address)):
            raise Forbidden("Address already in use")
        return str(address)

    def _free(self, network: Network) -> str:
        space = network.range
        whole = ipaddress.IPv4Network(network.subnet)
        first, count = int(space.network_address), space.num_addresses
        edges = (int(whole.network_address), int(whole.broadcast_address)) if whole.prefixlen < 31 else ()
        start = self._last.get(network.id, first)
        for step in range(1, count + 1):
            number = first + (start - first + step) % count
            address = str(ipaddress.IPv4Address(number))
            edge = number in edges
            if not edge and not self._is_used(network, address):
                self._last[network.id] = number
                return address
        raise Unavailable(f"no available IPv4 addresses on this network's address pools: {network.name} ({network.id})")

    def _is_used(self, network: Network, address: str) -> bool:
        taken = self._used.get(network.id, set())
        return address in taken or address == network.gateway or address in network.reserved.values()


def mac_of(address: str) -> str:
    """The hardware address Docker derives from an IPv4 address: a container that returns is known to its neighbours."""
    return "02:42:" + ipaddress.IPv4Address(address).packed.hex(":")


def free_subnet(pools: Iterable[Mapping[str, Any]], taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """The first subnet of the configured pools that overlaps nothing. Raises Unavailable, InvalidArgument."""
    taken = list(taken)
    for pool in pools:
        try:
            base, size = ipaddress.IPv4Network(pool["base"]), int(pool["size"])
            candidates = base.subnets(new_prefix=size)
        except (KeyError, ValueError, TypeError) as exc:
            raise InvalidArgument(
                f"default-address-pools: {dict(pool)!r} is not {{base, size}} of IPv4: {exc}"
            ) from exc
        for subnet in candidates:
            if not any(subnet.overlaps(other) for other in taken):
                return subnet
    raise Unavailable("could not find an available, non-overlapping IPv4 address pool among the defaults to assign")
