"""Networks of containers: bridges, addresses, published ports, names.

Imports run one way: model ← netlink, nftables ← namespaces, addresses, ports, dns, files ← catalog, wiring, firewall ←
places, kernel ← manager.
"""

from .describe import endpoint_settings, settings
from .manager import Networks
from .model import SCHEMA, Network

__all__ = ["SCHEMA", "Network", "Networks", "endpoint_settings", "settings"]
