"""What the engine knows of one network: data only, a JSON row in the database."""

import dataclasses
import ipaddress
from dataclasses import dataclass, field
from typing import Any, Self

BRIDGE, HOST, NONE = "bridge", "host", "none"
BUILTIN = (BRIDGE, HOST, NONE)
SHORT = 12  # characters of an id where people read it

SCHEMA: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, data TEXT NOT NULL) STRICT",
)


@dataclass
class Network:
    """One network. `driver` is bridge, host or null; only a bridge has an interface, a subnet and a gateway."""

    id: str
    name: str
    created_at: int = 0  # nanoseconds since the epoch
    driver: str = "bridge"
    interface: str = ""
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    reserved: dict[str, str] = field(default_factory=dict)
    """IPAM's AuxiliaryAddresses: name → address that no container gets."""
    ipam_options: dict[str, str] = field(default_factory=dict)
    has_given_subnet: bool = False
    internal: bool = False
    attachable: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def is_builtin(self) -> bool:
        return self.name in BUILTIN

    @property
    def has_names(self) -> bool:
        """Whether containers find each other by name here: on every bridge but the default one."""
        return self.driver == "bridge" and self.name != BRIDGE

    @property
    def range(self) -> ipaddress.IPv4Network:
        """Where containers' addresses are taken from."""
        return ipaddress.IPv4Network(self.ip_range or self.subnet)

    @property
    def prefix(self) -> int:
        return ipaddress.IPv4Network(self.subnet).prefixlen

    @property
    def mtu(self) -> int:
        """As asked for by option; 0: the kernel's own."""
        return int(self.options.get("com.docker.network.driver.mtu", "0"))

    @property
    def allows_talk(self) -> bool:
        """Whether its containers may reach each other (enable_icc)."""
        return self.options.get("com.docker.network.bridge.enable_icc", "true").lower() != "false"

    @property
    def masquerades(self) -> bool:
        """Whether packets that leave take the host's address."""
        asked = self.options.get("com.docker.network.bridge.enable_ip_masquerade", "true")
        return not self.internal and asked.lower() != "false"

    @property
    def default_host_ip(self) -> str:
        """Where ports are published when a container does not say."""
        return self.options.get("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0")

    def to_json(self) -> dict[str, Any]:
        """What the database holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """The inverse of `to_json`; fields a newer engine wrote are ignored."""
        names = {each.name for each in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in names})
