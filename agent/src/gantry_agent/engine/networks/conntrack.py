"""UDP flows that the kernel remembers: after a published port has moved they would go on to where it was.

A client that keeps sending keeps its flow alive for ever, so its datagrams would never arrive again. TCP connections
end by themselves. Messages as in linux/netfilter/nfnetlink_conntrack.h.
"""

import logging
import socket
import struct
from collections.abc import Collection, Iterator

from .netlink import ACK, DONE, DUMP, ERROR, RECEIVE, REQUEST, attributes

log = logging.getLogger(__name__)
NETLINK_NETFILTER = 12
GET, DELETE = 1 << 8 | 1, 1 << 8 | 2  # the connection tracking subsystem's
TUPLE, TUPLE_IP, TUPLE_PROTOCOL = 1, 1, 2
DESTINATION, NUMBER, DESTINATION_PORT = 2, 1, 3
TIMEOUT = 5.0  # seconds


def forget_flows(ports: Collection[int], addresses: Collection[bytes]) -> int:
    """Forget every UDP flow to one of these ports of one of these (packed) addresses of the host; how many. Blocks."""
    try:
        with _open() as wire:
            found = [flow for flow in _flows(wire) if _leads_to(flow, ports, addresses)]
            for flow in found:
                _send(wire, DELETE, ACK, _raw(TUPLE | 0x8000, flow))
                wire.recv(RECEIVE)
            return len(found)
    except OSError as exc:
        log.warning("old UDP flows stay until they time out: %s", exc.strerror or exc)
        return 0


def _open() -> socket.socket:
    wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    wire.settimeout(TIMEOUT)
    wire.bind((0, 0))
    return wire


def _send(wire: socket.socket, kind: int, flags: int, body: bytes) -> None:
    message = struct.pack("BBH", socket.AF_INET, 0, 0) + body
    wire.send(struct.pack("IHHII", 16 + len(message), kind, REQUEST | flags, 1, 0) + message)


def _flows(wire: socket.socket) -> Iterator[bytes]:
    """The original direction of every IPv4 flow."""
    _send(wire, GET, DUMP, b"")
    while True:
        data = wire.recv(RECEIVE)
        offset = 0
        while offset < len(data):
            length, kind = struct.unpack_from("IH", data, offset)
            if kind in (DONE, ERROR):
                return
            for name, value in attributes(data[offset + 20 : offset + length]):
                if name == TUPLE:
                    yield value
                    break
            offset += (length + 3) & ~3


def _leads_to(flow: bytes, ports: Collection[int], addresses: Collection[bytes]) -> bool:
    parts = dict(attributes(flow))
    protocol = dict(attributes(parts.get(TUPLE_PROTOCOL, b"")))
    if protocol.get(NUMBER) != bytes([socket.IPPROTO_UDP]):
        return False
    if int.from_bytes(protocol.get(DESTINATION_PORT, b""), "big") not in ports:
        return False
    return dict(attributes(parts.get(TUPLE_IP, b""))).get(DESTINATION) in addresses


def _raw(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
