"""Which addresses a build may reach: those of the public network, unless `build-fetches` is “any”.

Whoever may build must not reach what only this host can: its metadata service, neighbours behind a firewall.
"""

import errno
import ipaddress
import socket
from typing import Any


def public_socket(found: tuple[Any, ...]) -> socket.socket:
    """A socket towards an address that was resolved (getaddrinfo's five parts). Raises OSError for a private one."""
    family, kind, protocol, _, address = found
    where = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if not where.is_global or where.is_multicast:
        raise OSError(errno.EACCES, f"{where} is no public address; build-fetches would have to be “any”")
    return socket.socket(family, kind, protocol)
