"""Networks and places in them as Docker's API shows them."""

import hashlib
from collections.abc import Sequence
from typing import Any

from gantry_agent.engine.containers.model import Container, Endpoint

from .manager import Networks
from .model import BRIDGE, SHORT, Network


def network(found: Network, created: str, members: Sequence[tuple[Container, Endpoint]] = ()) -> dict[str, Any]:
    """GET /networks/{id}; `created` in RFC 3339. A list has no members."""
    place: dict[str, Any] = {"Subnet": found.subnet, "Gateway": found.gateway}
    if found.ip_range:
        place["IPRange"] = found.ip_range
    if found.reserved:
        place["AuxiliaryAddresses"] = found.reserved
    return {
        "Name": found.name,
        "Id": found.id,
        "Created": created,
        "Scope": "local",
        "Driver": found.driver,
        "EnableIPv4": found.driver == "bridge",
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None if found.is_builtin else found.ipam_options,
            "Config": [place] if found.driver == "bridge" else [],
        },
        "Internal": found.internal,
        "Attachable": found.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {container.id: _member(container, found, endpoint) for container, endpoint in members},
        "Options": found.options,
        "Labels": found.labels,
    }


def settings(networks: Networks, container: Container) -> dict[str, Any]:
    """NetworkSettings of GET /containers/{name}/json."""
    is_running = networks.is_attached(container)
    mode = container.network_mode
    default = container.endpoints.get(BRIDGE, Endpoint()) if is_running else Endpoint()
    path = networks.namespace(container) if is_running else None
    return {
        "Bridge": "",
        "SandboxID": _identity("sandbox", container.id) if is_running else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": container.ports if not mode.startswith("container:") else {},
        "SandboxKey": str(path) if path else "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": _identity(container.id, default.network_id) if default.ip else "",
        "Gateway": default.gateway,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": default.ip,
        "IPPrefixLen": default.prefix,
        "IPv6Gateway": "",
        "MacAddress": default.mac,
        "Networks": {name: endpoint_settings(container, name, end) for name, end in container.endpoints.items()},
    }


def endpoint_settings(container: Container, name: str, endpoint: Endpoint) -> dict[str, Any]:
    """Docker's EndpointSettings: one of NetworkSettings.Networks, also in lists."""
    has_names = name not in (BRIDGE, "host", "none")
    aliases = [*endpoint.aliases, container.id[:SHORT]] if has_names else None
    names = list(dict.fromkeys([container.name, *endpoint.aliases, container.id[:SHORT]])) if has_names else None
    return {
        "IPAMConfig": {"IPv4Address": endpoint.wanted_ip} if endpoint.wanted_ip else None,
        "Links": endpoint.links or None,
        "Aliases": aliases,
        "MacAddress": endpoint.mac or endpoint.wanted_mac,
        "NetworkID": endpoint.network_id,
        "EndpointID": _identity(container.id, endpoint.network_id) if endpoint.ip else "",
        "Gateway": endpoint.gateway,
        "IPAddress": endpoint.ip,
        "IPPrefixLen": endpoint.prefix,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": endpoint.driver_options or None,
        "DNSNames": names,
    }


def _member(container: Container, found: Network, endpoint: Endpoint) -> dict[str, str]:
    return {
        "Name": container.name,
        "EndpointID": _identity(container.id, found.id),
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.ip}/{endpoint.prefix}" if endpoint.ip else "",
        "IPv6Address": "",
    }


def _identity(*parts: str) -> str:
    """Docker's ids of endpoints and sandboxes are random; here they follow from what they belong to."""
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
