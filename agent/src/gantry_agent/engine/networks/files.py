"""The three files a container gets from its network: /etc/hosts, /etc/resolv.conf, /etc/hostname.

They lie in the container's folder, are bound into it, and are rewritten in place: a new file would not be seen.
"""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gantry_agent.engine.containers.model import Container

LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
HOST_HOSTS, HOST_RESOLV = Path("/etc/hosts"), Path("/etc/resolv.conf")
BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")
STUB = "127.0.0.53"
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")  # as Docker, where the host's servers are all on its loopback
TARGETS = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname")


@dataclass
class Resolver:
    """The contents of a resolv.conf."""

    servers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> "Resolver":
        """Read resolv.conf(5); unknown lines are left out."""
        found = cls()
        for line in text.splitlines():
            words = line.split("#")[0].split(";")[0].split()
            if len(words) < 2:
                continue
            if words[0] == "nameserver":
                found.servers.append(words[1])
            elif words[0] in ("search", "domain"):
                found.search = words[1:]
            elif words[0] == "options":
                found.options = words[1:]
        return found

    def text(self) -> str:
        lines = [f"nameserver {server}" for server in self.servers]
        if self.search:
            lines.append("search " + " ".join(self.search))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "\n".join(lines) + "\n"


def paths(folder: Path) -> dict[str, Path]:
    """Where the files of a container with this folder lie, by the path they have inside."""
    return {target: folder / target.rpartition("/")[2] for target in TARGETS}


@dataclass(frozen=True)
class Contents:
    """What the three files of one container are to hold; `folder` is where they lie on the host."""

    folder: Path
    hosts: str
    resolver: str
    hostname: str

    def write(self) -> None:
        """Write all three. Blocks."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for path, text in zip(paths(self.folder).values(), (self.hosts, self.resolver, self.hostname), strict=True):
            content = text.encode(errors="surrogateescape")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            with open(descriptor, "wb", buffering=0) as file:
                os.fchmod(descriptor, 0o644)
                before = os.fstat(descriptor).st_size
                file.write(content)
                if before > len(content):
                    file.truncate()


def hosts_text(container: Container, addresses: Iterable[str], gateway: str, linked: Iterable[str] = ()) -> str:
    """/etc/hosts: the usual names, extra hosts, linked containers, its own name. `gateway` is `host-gateway`."""
    lines = []
    for extra in container.host_config.get("ExtraHosts") or ():
        name, _, address = str(extra).partition(":")
        lines.append(f"{gateway if address == 'host-gateway' else address}\t{name}")
    lines.extend(linked)
    name, domain = str(container.config.get("Hostname") or container.id[:12]), container.config.get("Domainname")
    whole = f"{name}.{domain}" if domain else name
    names = " ".join(dict.fromkeys([whole, whole.partition(".")[0]]))
    lines.extend(f"{address}\t{names}" for address in addresses)
    return LOCAL + "".join(f"{line}\n" for line in lines)


def host_hosts_text(container: Container) -> str:
    """/etc/hosts of a container in the host's own network: the host's, and the extra ones."""
    try:
        text = HOST_HOSTS.read_text(errors="replace")
    except OSError:
        text = LOCAL
    extra = (str(each).partition(":") for each in container.host_config.get("ExtraHosts") or ())
    own = (f"{'127.0.0.1' if address == 'host-gateway' else address}\t{name}\n" for name, _, address in extra)
    return text + "".join(own)


def resolver_of(
    container: Container, gateways: Sequence[str], configured: Sequence[str], *, is_host: bool = False
) -> Resolver:
    """The container's resolv.conf. `gateways`: where its networks' names are answered; `configured`: config's dns."""
    found = host_resolver(is_host=is_host)
    asked = [str(each) for each in container.host_config.get("Dns") or ()] or list(configured)
    if gateways:
        found.servers = list(gateways)
        found.options = [*(each for each in found.options if not each.startswith("ndots:")), "ndots:0"]
    elif asked:
        found.servers = asked
    if search := container.host_config.get("DnsSearch"):
        found.search = [] if search == ["."] else list(search)
    if options := container.host_config.get("DnsOptions"):
        found.options = list(options)
    return found


def host_resolver(*, is_host: bool = False) -> Resolver:
    """The host's own settings; outside its network (`is_host` False) without servers on its loopback."""
    try:
        found = Resolver.parse(HOST_RESOLV.read_text(errors="replace"))
        if not is_host and STUB in found.servers and BEHIND_STUB.exists():
            found = Resolver.parse(BEHIND_STUB.read_text(errors="replace"))
    except OSError:
        found = Resolver()
    if not is_host:
        found.servers = [each for each in found.servers if not _is_loopback(each)] or list(FALLBACK_SERVERS)
    return found


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True
