"""Whether a TCP peer is this machine itself: what it says crosses no network."""

from __future__ import annotations

import ipaddress


def is_this_machine(peer: str | None, own: str | None) -> bool:
    """Does a TCP peer sit on this machine: on its loopback, or on the very address it reached us at?"""
    found = _address(peer)
    return found is not None and (found.is_loopback or found == _address(own))


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
