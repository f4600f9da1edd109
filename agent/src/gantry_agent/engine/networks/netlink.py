"""The kernel's routing netlink, as much of it as container networks need: links, addresses, routes.

Ours, because the usual library (pyroute2) costs 60–100 ms of import and some 20 MB of memory for six messages.
Message layouts: rtnetlink(7), linux/if_link.h, linux/rtnetlink.h, linux/veth.h. All calls block (the kernel answers
within its routing lock): call them from a worker thread, one thread a socket.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gantry_agent.engine.errors import Internal

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, GETADDR = 20, 22
NEWROUTE, DELROUTE = 24, 25
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
CREATE_NEW = 0x400 | 0x200  # NLM_F_CREATE | NLM_F_EXCL
REPLACE = 0x400 | 0x100  # NLM_F_CREATE | NLM_F_REPLACE
ERROR, DONE = 2, 3
IFF_UP = 1
NESTED = 0x8000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_PROTINFO = 1, 3, 4, 10, 18, 28, 12
INFO_KIND, INFO_DATA = 1, 2
VETH_PEER = 1
BRPORT_MODE, BRPORT_ISOLATED = 4, 33
RECEIVE = 1 << 18  # bytes; larger than any part of a dump
TIMEOUT = 10.0  # seconds; the kernel answers in milliseconds unless it is in trouble


class NetlinkError(Internal):
    """The kernel refused; `errno` says why."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)}")
        self.errno = number


@dataclass(frozen=True)
class Link:
    """One interface. `master` is the index of its bridge, 0 without one."""

    index: int
    name: str
    master: int
    is_up: bool
    kind: str
    mac: str


class Netlink:
    """One routing socket, in the network namespace its maker was in. Close it after use; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # Links

    def links(self) -> list[Link]:
        """Every interface of this namespace."""
        request = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
        return [_link(body) for kind, body in self._ask(GETLINK, DUMP, request, "list the links") if kind == NEWLINK]

    def link(self, name: str) -> Link | None:
        """One interface by its name."""
        body = _link_message(0) + _text(IFLA_IFNAME, name)
        try:
            found = self._ask(GETLINK, 0, body, f"find {name}")
        except NetlinkError as exc:
            if exc.errno == errno.ENODEV:
                return None
            raise
        return _link(found[0][1])

    def add_bridge(self, name: str, mac: str) -> None:
        """Make a bridge. Its address is fixed, or it would take the lowest of its ports' and change with them."""
        info = _attribute(IFLA_LINKINFO | NESTED, _text(INFO_KIND, "bridge"))
        self._ask(
            NEWLINK,
            ACK | CREATE_NEW,
            _link_message(0) + _text(IFLA_IFNAME, name) + _mac(mac) + info,
            f"make the bridge {name}",
        )

    def add_veth(self, name: str, master: int, peer: str, peer_mac: str, netns: int, mtu: int = 0) -> None:
        """Make a pair: `name` here, up and in the bridge with index `master`; `peer` in the namespace open as `netns`.

        One message, so that a killed engine leaves no half of it.
        """
        size = _attribute(IFLA_MTU, struct.pack("I", mtu)) if mtu else b""
        other = _link_message(0) + _text(IFLA_IFNAME, peer) + _mac(peer_mac) + size
        other += _attribute(IFLA_NET_NS_FD, struct.pack("I", netns))
        data = _attribute(INFO_DATA | NESTED, _attribute(VETH_PEER | NESTED, other))
        info = _attribute(IFLA_LINKINFO | NESTED, _text(INFO_KIND, "veth") + data)
        body = _link_message(0, up=True) + _text(IFLA_IFNAME, name) + size
        body += _attribute(IFLA_MASTER, struct.pack("I", master)) + info
        self._ask(NEWLINK, ACK | CREATE_NEW, body, f"make the pair {name}")

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        self._ask(NEWLINK, ACK, _link_message(index, up=True), f"bring link {index} up")

    def set_port(self, index: int, *, isolated: bool, hairpin: bool) -> None:
        """A bridge's port: whether it talks to other isolated ports, whether packets may go out where they came in."""
        flags = _attribute(BRPORT_ISOLATED, bytes([isolated])) + _attribute(BRPORT_MODE, bytes([hairpin]))
        message = struct.pack("BxHiII", socket.AF_BRIDGE, 0, index, 0, 0)
        self._ask(SETLINK, ACK, message + _attribute(IFLA_PROTINFO | NESTED, flags), f"set the port {index}")

    def remove(self, name: str) -> bool:
        """Delete an interface; False when there is none of this name."""
        try:
            self._ask(DELLINK, ACK, _link_message(0) + _text(IFLA_IFNAME, name), f"remove the link {name}")
        except NetlinkError as exc:
            if exc.errno == errno.ENODEV:
                return False
            raise
        return True

    # Addresses and routes

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give an interface an IPv4 address; one that it has already is fine."""
        packed = ipaddress.IPv4Address(address).packed
        broadcast = ipaddress.IPv4Network(f"{address}/{prefix}", strict=False).broadcast_address.packed
        body = struct.pack("BBBBi", socket.AF_INET, prefix, 0, 0, index)
        body += _attribute(2, packed) + _attribute(1, packed)  # IFA_LOCAL, IFA_ADDRESS
        if prefix < 31:
            body += _attribute(4, broadcast)  # IFA_BROADCAST
        self._ask(NEWADDR, ACK | REPLACE, body, f"set the address {address}")

    def addresses(self) -> list[tuple[int, str, int]]:
        """Every IPv4 address of this namespace: (interface index, address, prefix length)."""
        found = []
        for kind, body in self._ask(GETADDR, DUMP, struct.pack("BBBBi", socket.AF_INET, 0, 0, 0, 0), "list addresses"):
            _, prefix, _, _, index = struct.unpack_from("BBBBi", body)
            named = dict(attributes(body[8:]))
            if kind == NEWADDR and 2 in named:
                found.append((index, str(ipaddress.IPv4Address(named[2])), prefix))
        return found

    def set_default_route(self, gateway: str) -> None:
        """Send everything else to `gateway`, instead of where it went before."""
        # Family, no prefixes, table main, protocol boot, scope universe, type unicast.
        route = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
        body = route + _attribute(5, ipaddress.IPv4Address(gateway).packed)  # RTA_GATEWAY
        self._ask(NEWROUTE, ACK | REPLACE, body, f"set the default route to {gateway}")

    # The wire

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> list[tuple[int, bytes]]:
        """Send one message; the answers as (type, payload). Raises NetlinkError."""
        self._sequence += 1
        header = struct.pack("IHHII", 16 + len(body), kind, REQUEST | flags, self._sequence, 0)
        try:
            self._socket.send(header + body)
            return list(self._answers(flags, what))
        except TimeoutError as exc:
            raise NetlinkError(what, errno.ETIMEDOUT) from exc

    def _answers(self, flags: int, what: str) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._socket.recv(RECEIVE)
            offset = 0
            while offset < len(data):
                length, kind, _, sequence, _ = struct.unpack_from("IHHII", data, offset)
                body = data[offset + 16 : offset + length]
                offset += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # the answer to a question that timed out
                if kind == DONE:
                    return
                if kind == ERROR:
                    number = -struct.unpack_from("i", body)[0]
                    if number:
                        raise NetlinkError(what, number)
                    return
                yield kind, body
                if flags & (DUMP | ACK) == 0:
                    return


def _link_message(index: int, *, up: bool = False) -> bytes:
    flags = IFF_UP if up else 0
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _mac(value: str) -> bytes:
    return _attribute(IFLA_ADDRESS, bytes.fromhex(value.replace(":", ""))) if value else b""


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message: (kind, value), flags taken off."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("BxHiII", body)
    found = dict(attributes(body[16:]))
    info = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    master = struct.unpack("I", found[IFLA_MASTER])[0] if IFLA_MASTER in found else 0
    return Link(
        index=index,
        name=found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        master=master,
        is_up=bool(flags & IFF_UP),
        kind=info.get(INFO_KIND, b"").rstrip(b"\0").decode(),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
    )
