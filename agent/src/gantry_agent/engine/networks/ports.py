"""Published ports: what a container asks for, which host ports it gets, and how they are held.

A host port is held by a socket of the engine that is bound to it (and, for TCP, listens), so that no other program can
take it and `ss` shows it. Packets never reach that socket: the firewall sends them on before. A killed engine's
sockets are bound anew when it opens; the firewall's entries stay in the meantime.
"""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gantry_agent.engine.containers.model import Container
from gantry_agent.engine.errors import Internal, InvalidArgument

ANY = "0.0.0.0"
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
EPHEMERAL = range(49153, 65536)  # where Docker looks for a free port


@dataclass(frozen=True)
class Port:
    """One published port of a container that has an address."""

    protocol: str  # tcp, udp
    host_ip: str
    host_port: int
    container_ip: str
    container_port: int

    @property
    def is_bound(self) -> bool:
        """Whether it answers on one address of the host only."""
        return self.host_ip != ANY


@dataclass(frozen=True)
class Wanted:
    """One line of `-p`: `host_ports` empty for an ephemeral one, several for a range to choose from."""

    protocol: str
    container_port: int
    host_ip: str
    host_ports: range


def wanted(container: Container, default_host_ip: str) -> list[Wanted]:
    """What HostConfig.PortBindings and PublishAllPorts ask for, in order. Raises InvalidArgument."""
    found = []
    bindings = container.host_config.get("PortBindings") or {}
    for key, places in bindings.items():
        protocol, number = split(key)
        # An empty list is "any free port", as null is.
        for place in places or [{}]:
            host_ip = _host_ip(place.get("HostIp") or default_host_ip)
            if host_ip is None:
                continue
            found.append(Wanted(protocol, number, host_ip, host_range(str(place.get("HostPort") or ""))))
    if container.host_config.get("PublishAllPorts"):
        for key in exposed(container):
            if key not in bindings:
                protocol, number = split(key)
                found.append(Wanted(protocol, number, default_host_ip, range(0)))
    return found


def exposed(container: Container) -> list[str]:
    """Config.ExposedPorts as "80/tcp", in order."""
    found = set()
    for key in container.config.get("ExposedPorts") or {}:
        with contextlib.suppress(InvalidArgument):  # an image may say anything; it is only what inspect shows
            protocol, number = split(key)
            found.add(f"{number}/{protocol}")
    return sorted(found, key=lambda key: (int(key.partition("/")[0]), key))


def split(key: str) -> tuple[str, int]:
    """("tcp", 80) of "80/tcp" or "80". Raises InvalidArgument."""
    number, _, protocol = key.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in KINDS:
        raise InvalidArgument(f"invalid port {key!r}: this engine publishes tcp and udp")
    if not (number.isdecimal() and number.isascii() and 0 < int(number) < 65536):
        raise InvalidArgument(f'invalid port specification: "{number}"')
    return protocol, int(number)


class Ports:
    """The host ports this engine holds, by container. For the event loop only; nothing here blocks."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[Port, socket.socket | None]]] = {}
        self._next: Iterator[int] = iter(())

    def of(self, container_id: str) -> list[Port]:
        return [port for port, _ in self._held.get(container_id, ())]

    def all(self) -> list[Port]:
        return [port for held in self._held.values() for port, _ in held]

    def take(self, container: Container, wishes: Iterable[Wanted], container_ip: str) -> list[Port]:
        """Hold what is wanted; all or nothing. Raises Internal in Docker's words when one is taken."""
        held = self._held.setdefault(container.id, [])
        try:
            for wish in wishes:
                held.append(self._take_one(wish, container_ip))
        except Internal as exc:
            self.release(container.id)
            endpoint = f"endpoint {container.name} ({container.id})"
            raise Internal(f"driver failed programming external connectivity on {endpoint}: {exc.message}") from exc
        return self.of(container.id)

    def take_back(self, container: Container, container_ip: str) -> list[str]:
        """Hold again what a container that runs had before the engine died. What somebody took meanwhile is told."""
        held = self._held.setdefault(container.id, [])
        problems = []
        for key, places in container.ports.items():
            protocol, number = split(key)
            for place in places or ():
                port = Port(protocol, place["HostIp"], int(place["HostPort"]), container_ip, number)
                try:
                    held.append((port, _bind(port)))
                except OSError as exc:
                    held.append((port, None))
                    problems.append(f"port {port.host_port}/{protocol} of {container.name}: {exc.strerror}")
        return problems

    def release(self, container_id: str) -> list[Port]:
        """Let go of a container's host ports; which they were."""
        held = self._held.pop(container_id, [])
        for _, holder in held:
            if holder is not None:
                holder.close()
        return [port for port, _ in held]

    def close(self) -> None:
        for container_id in list(self._held):
            self.release(container_id)

    def _take_one(self, wish: Wanted, container_ip: str) -> tuple[Port, socket.socket]:
        numbers: Iterable[int] = wish.host_ports or self._ephemeral()
        first = wish.host_ports[0] if wish.host_ports else 0
        for number in numbers:
            port = Port(wish.protocol, wish.host_ip, number, container_ip, wish.container_port)
            if self._is_taken(port):
                continue
            try:
                return port, _bind(port)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE or len(wish.host_ports) == 1:
                    place = f"{wish.host_ip}:{number}"
                    raise Internal(f"listen {wish.protocol}4 {place}: bind: {_reason(exc)}") from exc
        if not wish.host_ports:
            raise Internal("all ports are allocated")
        raise Internal(f"Bind for {wish.host_ip}:{first} failed: port is already allocated")

    def _ephemeral(self) -> Iterable[int]:
        """Every port of the range once, going on where the last search ended: a port just freed is not reused soon."""
        for _ in EPHEMERAL:
            number = next(self._next, None)
            if number is None:
                self._next = iter(EPHEMERAL)
                number = next(self._next)
            yield number

    def _is_taken(self, port: Port) -> bool:
        return any(
            other.protocol == port.protocol
            and other.host_port == port.host_port
            and (other.host_ip == port.host_ip or not other.is_bound or not port.is_bound)
            for other in self.all()
        )


def shown(container: Container, ports: Iterable[Port]) -> dict[str, list[dict[str, str]] | None]:
    """Inspect's NetworkSettings.Ports: what is published, and null for what is only exposed."""
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed(container))
    for port in ports:
        places = found.get(f"{port.container_port}/{port.protocol}") or []
        places.append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
        found[f"{port.container_port}/{port.protocol}"] = places
    return found


def _bind(port: Port) -> socket.socket:
    """A socket that holds the port. Raises OSError."""
    holder = socket.socket(socket.AF_INET, KINDS[port.protocol])
    try:
        if port.protocol == "tcp":
            # A connection of another program that lingers in TIME_WAIT must not keep the port; a listener does.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((port.host_ip, port.host_port))
        if port.protocol == "tcp":
            holder.listen(0)
    except OSError:
        holder.close()
        raise
    return holder


def _reason(exc: OSError) -> str:
    return {
        errno.EADDRINUSE: "address already in use",
        errno.EADDRNOTAVAIL: "cannot assign requested address",
        errno.EACCES: "permission denied",
    }.get(exc.errno or 0, exc.strerror or "failed")


def _host_ip(text: str) -> str | None:
    """An IPv4 address; None for "every IPv6 address", which clients add to "every address". Raises InvalidArgument."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise InvalidArgument(f"invalid host IP address: {text!r}") from exc
    if address.version == 6 and not address.is_unspecified:
        raise InvalidArgument(f"cannot publish at {text}: this engine's networks are IPv4")
    return str(address) if address.version == 4 else None


def host_range(text: str) -> range:
    """8000 or 8000-8010; "" and 0 are any free port. Raises InvalidArgument."""
    if text in ("", "0"):
        return range(0)
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return range(int(first), int(last) + 1)
