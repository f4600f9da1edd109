"""Published ports as typed: `[IP:][HOST[-HOST]:]CONTAINER[-CONTAINER][/tcp|udp|sctp]`.

The rules are those of the docker CLI (docker/go-connections, nat.ParsePortSpec), IPv6 in brackets included.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.lib.typed import Malformed, each_line, refuse_twice

PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
# An engine starts one proxy for each published port: a slip such as 1-65535 would bury the host.
MOST_PORTS = 1000

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


@dataclass(frozen=True)
class PortMapping:
    """One port of the container. `host`: a port, a range to choose from (`8000-8010`), or "": any free."""

    container: int
    host: str = ""
    protocol: str = "tcp"
    ip: str = ""

    @property
    def key(self) -> str:
        """As the engine names it: “80/tcp”."""
        return f"{self.container}/{self.protocol}"

    @property
    def taken(self) -> str:
        """The place on the host: two mappings cannot share one."""
        return f"{self.ip or '*'}:{self.host}/{self.protocol}"


def parse_ports(text: str) -> list[PortMapping]:
    """One entry a line. Raises Malformed, also when two lines take the same port of the host."""
    lines = each_line(text, parse_port)
    taken = [(number, mapping.taken) for number, found in lines for mapping in found if mapping.host]
    refuse_twice(taken, "port of the host")
    found = [mapping for _, mappings in lines for mapping in mappings]
    if len(found) > MOST_PORTS:
        raise Malformed(f"expected at most {MOST_PORTS} ports, found {len(found)}.")
    return found


def parse_port(text: str) -> list[PortMapping]:
    """The mappings of one entry, one for each port of its range. Raises Malformed."""
    text = text.strip()
    address, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise Malformed(f"expected {', '.join(PROTOCOLS)} after “/”, found “{protocol}” in “{text}”.")
    head, _, container = address.rpartition(":")
    ip, _, host = head.rpartition(":")
    if not container:
        raise Malformed(f"expected a port of the container at the end, found none in “{text}”.")
    first, last = _range(container, "port of the container", lowest=1)
    return list(_mappings(text, _address(ip), host, (first, last), protocol))


def _mappings(text: str, ip: str, host: str, ports: tuple[int, int], protocol: str) -> Iterator[PortMapping]:
    first, last = ports
    count = last - first + 1
    if count > MOST_PORTS:
        raise Malformed(f"expected at most {MOST_PORTS} ports, found {count} in “{text}”.")
    if host in ("", "0"):  # the kernel's own way to say "any free port"
        yield from (PortMapping(first + n, "", protocol, ip) for n in range(count))
        return
    low, high = _range(host, "port of the host", lowest=1)
    if count == 1 and high > low:
        yield PortMapping(first, f"{low}-{high}", protocol, ip)
        return
    if high - low + 1 != count:
        raise Malformed(
            f"expected ranges of one length, found {high - low + 1} ports of the host for {count} of the "
            f"container in “{text}”."
        )
    yield from (PortMapping(first + n, str(low + n), protocol, ip) for n in range(count))


def _range(text: str, what: str, *, lowest: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Malformed(f"expected a {what} ({lowest} to {HIGHEST}) or a range of them, found “{text}”.")
    first, last = int(match[1]), int(match[2] or match[1])
    for port in (first, last):
        if not lowest <= port <= HIGHEST:
            raise Malformed(f"expected a {what} between {lowest} and {HIGHEST}, found {port}.")
    if last < first:
        raise Malformed(f"expected a range from the lower {what} to the higher, found “{text}”.")
    return first, last


def _address(text: str) -> str:
    if not text:
        return ""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError as exc:
        raise Malformed(
            f"expected an IP address of the host before the ports, found “{text}”. Write an IPv6 address in brackets."
        ) from exc
