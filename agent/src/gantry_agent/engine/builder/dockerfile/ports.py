"""EXPOSE's words as ports: `80`, `443/tcp`, `8000-8010/udp`, `127.0.0.1:80:8080` of which only 8080 counts."""

import re

from .errors import DockerfileError, Fault, quoted
from .instructions import Expose

_LAST = 65_535
_PROTOCOLS = ("tcp", "udp", "sctp")


def exposed_ports(instruction: Expose) -> tuple[str, ...]:
    """Docker's ExposedPorts, `80/tcp`, by number, each once. The instruction is expanded. Raises DockerfileError."""
    ranges: set[tuple[str, int, int]] = set()
    try:
        for word in instruction.ports:
            ranges.add(_range(word))
    except Fault as fault:
        raise DockerfileError(str(fault), instruction.place, instruction.name) from fault
    return tuple(f"{port}/{protocol}" for port, protocol in sorted(_union(ranges)))


def _range(word: str) -> tuple[str, int, int]:
    """Protocol, first and last port (BuildKit: dockerfile2llb/convert_expose.go)."""
    container = word.rpartition(":")[2]
    ports, _, protocol = container.partition("/")
    if not ports:
        raise Fault(f"invalid port: {quoted(word)}: no port specified")
    if (protocol := protocol.lower() or "tcp") not in _PROTOCOLS:
        raise Fault(f"invalid port: {quoted(word)}: invalid proto: {protocol[:40]}, expected tcp, udp or sctp")
    first, dash, last = ports.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(re.fullmatch(r"[0-9]{1,20}", each) and int(each) <= _LAST for each in numbers):
        raise Fault(f"invalid containerPort: {ports[:100]}")
    if int(numbers[0]) > int(numbers[1]):
        raise Fault(f"invalid containerPort: {ports[:100]}")
    return protocol, int(numbers[0]), int(numbers[1])


def _union(ranges: set[tuple[str, int, int]]) -> set[tuple[int, str]]:
    """Every port once. Sorted by their start, no part of a range is walked twice: a thousand of 1-65535 cost one."""
    found: set[tuple[int, str]] = set()
    reached = dict.fromkeys(_PROTOCOLS, -1)
    for protocol, first, last in sorted(ranges):
        found.update((port, protocol) for port in range(max(first, reached[protocol] + 1), last + 1))
        reached[protocol] = max(reached[protocol], last)
    return found
