"""Which networks there are: the three built in, and those people made. Rows in the database, objects in memory."""

import ipaddress
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gantry_agent.engine.config import Config
from gantry_agent.engine.database import Database
from gantry_agent.engine.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unsupported

from .addresses import free_subnet
from .model import BRIDGE, BUILTIN, HOST, NONE, SHORT, Network

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
BRIDGE_NAME = "com.docker.network.bridge.name"


class Catalog:
    """Every network, by id."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._networks: dict[str, Network] = {}

    async def open(self) -> None:
        """Read the rows; the built-in ones are made once, so that their ids stay."""
        for row in self._database.read("SELECT data FROM networks"):
            self._put(Network.from_json(json.loads(row["data"])))
        for name, driver in ((BRIDGE, "bridge"), (HOST, "host"), (NONE, "null")):
            if self.find(name) is None:
                await self._save(Network(id=secrets.token_hex(32), name=name, driver=driver, created_at=time.time_ns()))
        self._configure_default()

    def all(self) -> list[Network]:
        return list(self._networks.values())

    def find(self, name_or_id: str) -> Network | None:
        """By name, whole id, or the start of an id that only one network has. Raises InvalidArgument for several."""
        name_or_id = BRIDGE if name_or_id == "default" else name_or_id
        for network in self._networks.values():
            if name_or_id in (network.name, network.id):
                return network
        found = [each for each in self._networks.values() if name_or_id and each.id.startswith(name_or_id)]
        if len(found) > 1:
            raise InvalidArgument(f"network {name_or_id} is ambiguous ({len(found)} matches found based on ID prefix)")
        return found[0] if found else None

    def get(self, name_or_id: str) -> Network:
        """As `find`. Raises NotFound."""
        network = self.find(name_or_id)
        if network is None:
            raise NotFound(f"network {name_or_id} not found")
        return network

    def plan(self, body: dict[str, Any], taken: list[tuple[str, int]]) -> Network:
        """The network that a request asks for, not stored yet. `taken`: the host's own addresses and prefix lengths.

        Raises InvalidArgument, Conflict, Forbidden, Unsupported, Unavailable in Docker's words.
        """
        name = _name(body.get("Name"))
        if name in BUILTIN:
            raise Forbidden(f"operation is not permitted on predefined {name} network")
        if any(each.name == name for each in self._networks.values()):
            raise Conflict(f"network with name {name} already exists")
        _check_kind(body)
        network = Network(
            id=secrets.token_hex(32),
            name=name,
            created_at=time.time_ns(),
            internal=bool(body.get("Internal")),
            attachable=bool(body.get("Attachable")),
            labels=_texts(body, "Labels"),
            options=_texts(body, "Options"),
        )
        network.interface = network.options.get(BRIDGE_NAME) or f"gb-{network.id[:SHORT]}"
        if not INTERFACE.fullmatch(network.interface):
            raise InvalidArgument(f"invalid interface name: {network.interface!r}")
        if any(each.interface == network.interface for each in self._networks.values()):
            raise Forbidden(f"cannot create network {network.id}: the bridge {network.interface} is another network's")
        mtu = network.options.get("com.docker.network.driver.mtu", "0")
        if not (mtu.isdecimal() and int(mtu) <= 65535):
            raise InvalidArgument(f"invalid MTU: {mtu!r}")
        self._place(network, body.get("IPAM") or {}, taken)
        return network

    async def add(self, network: Network) -> None:
        """Keep a planned network."""
        await self._save(network)

    @asynccontextmanager
    async def removing(self, network: Network) -> AsyncIterator[None]:
        """Nobody finds the network while inside; after that it is forgotten, or there again when it went wrong."""
        del self._networks[network.id]
        try:
            yield
            await self._database.write(
                lambda connection: connection.execute("DELETE FROM networks WHERE id=?", [network.id])
            )
        except BaseException:
            self._put(network)
            raise

    def _configure_default(self) -> None:
        """The default bridge is as the configuration has it now."""
        network = self.get(BRIDGE)
        try:
            address = ipaddress.IPv4Interface(self._config.bip)
        except ValueError as exc:
            raise InvalidArgument(f"bip must be an IPv4 address with its prefix length: {exc}") from exc
        network.interface = self._config.bridge
        network.subnet, network.gateway = str(address.network), str(address.ip)
        network.options = {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            BRIDGE_NAME: network.interface,
            "com.docker.network.driver.mtu": "1500",
        }

    def _place(self, network: Network, ipam: dict[str, Any], taken: list[tuple[str, int]]) -> None:
        """Give it its subnet, gateway and range."""
        if not isinstance(ipam, dict) or ipam.get("Driver") not in (None, "", "default"):
            raise InvalidArgument(f"invalid ipam driver: {ipam!r}: this engine has the default one")
        network.ipam_options = _texts(ipam, "Options")
        places = [each for each in ipam.get("Config") or [] if each]
        if any(not isinstance(each, dict) for each in places):
            raise InvalidArgument("IPAM.Config must be a list of objects")
        if len(places) > 1:
            raise Unsupported("a network has one IPv4 subnet on this engine")
        place = places[0] if places else {}
        ours = [ipaddress.IPv4Network(each.subnet) for each in self._networks.values() if each.subnet]
        if place.get("Subnet"):
            subnet = _subnet(place["Subnet"])
            if any(subnet.overlaps(other) for other in ours):
                raise Forbidden("Pool overlaps with other one on this address space")
            network.has_given_subnet = True
        else:
            hosts = [ipaddress.IPv4Interface(f"{address}/{prefix}").network for address, prefix in taken]
            subnet = free_subnet(self._config.default_address_pools, [*ours, *hosts])
        network.subnet = str(subnet)
        first = subnet.network_address if subnet.prefixlen >= 31 else subnet.network_address + 1
        network.gateway = _address(place.get("Gateway") or str(first), subnet, "gateway")
        if place.get("IPRange"):
            inner = _subnet(place["IPRange"])
            if not inner.subnet_of(subnet):
                raise InvalidArgument(f"invalid ip-range {inner}: it is not within the subnet {subnet}")
            network.ip_range = str(inner)
        for name, address in _texts(place, "AuxiliaryAddresses").items():
            network.reserved[name] = _address(address, subnet, "auxiliary address")

    async def _save(self, network: Network) -> None:
        row = [network.id, network.name, json.dumps(network.to_json())]
        await self._database.write(lambda connection: connection.execute("INSERT INTO networks VALUES (?,?,?)", row))
        self._put(network)

    def _put(self, network: Network) -> None:
        self._networks[network.id] = network


def _name(given: object) -> str:
    if not isinstance(given, str) or not given.strip() or given != given.strip() or not given.isprintable():
        raise InvalidArgument(f"invalid network name: {given!r}")
    return given


def _check_kind(body: dict[str, Any]) -> None:
    """Raises for what is not a bridge on this host."""
    driver = body.get("Driver") or "bridge"
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise NotFound(f'plugin "{driver}" not found: this engine has bridge networks')
    for key in ("EnableIPv6", "Ingress", "ConfigOnly"):
        if body.get(key):
            raise Unsupported(f"{key} is not supported: this engine's networks are IPv4 bridges of one host")
    if (body.get("ConfigFrom") or {}).get("Network"):
        raise Unsupported("ConfigFrom is not supported by this engine")
    if body.get("EnableIPv4") is False:
        raise Unsupported("networks without IPv4 are not supported by this engine")
    if body.get("Scope") not in (None, "", "local"):
        raise Unsupported(f"scope {body['Scope']} is not supported: this engine has no swarm")


def _texts(body: dict[str, Any], key: str) -> dict[str, str]:
    found = body.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidArgument(f"{key} must be an object of strings")
    return dict(found)


def _subnet(text: object) -> ipaddress.IPv4Network:
    try:
        if ":" in str(text):
            raise Unsupported(f"IPv6 subnets ({text}) are not supported by this engine")
        subnet = ipaddress.IPv4Network(str(text), strict=False)
    except ValueError as exc:
        raise InvalidArgument(f"invalid subnet {text}: {exc}") from exc
    if not 8 <= subnet.prefixlen <= 30:
        raise InvalidArgument(f"invalid subnet {text}: its prefix length must be 8 to 30")
    return subnet


def _address(text: object, subnet: ipaddress.IPv4Network, what: str) -> str:
    try:
        address = ipaddress.IPv4Address(str(text).partition("/")[0])
    except ValueError as exc:
        raise InvalidArgument(f"invalid {what} {text}: {exc}") from exc
    if address not in subnet:
        raise InvalidArgument(f"invalid {what} {text}: it is not within the subnet {subnet}")
    return str(address)
