"""The engine's own nftables table: outbound NAT, published ports, networks kept apart.

One table per engine (`gantry_<hash of its root>`), written whole when the engine opens and changed by elements of its
sets and maps afterwards, so that a container costs one small transaction however many there are.

What may pass: answers; published ports; containers of one network among themselves; from containers outwards, unless
their network is internal. Nothing else reaches a container, from other networks or from neighbours of the host.

Published ports answer on 127.0.0.1 too: bridges get route_localnet, and `raw` drops what a container itself sends
towards 127.0.0.0/8 of the host (CVE-2020-8558).
"""

import hashlib
import logging
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from gantry_agent.engine.errors import Internal

from .model import Network
from .nftables import Nftables
from .ports import Port

log = logging.getLogger(__name__)
TIMEOUT = 20  # seconds

RULES = """
table ip {table} {{
 map published {{ type inet_proto . inet_service : ipv4_addr . inet_service; {any} }}
 map published_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {at} }}
 set bridges {{ type ifname; {bridges} }}
 set internal {{ type ifname; {internal} }}
 set within {{ type ifname . ifname; {within} }}
 set subnets {{ type ipv4_addr; flags interval; {subnets} }}
 set masqueraded {{ type ipv4_addr; flags interval; {masqueraded} }}
 chain published_ports {{
  dnat ip to ip daddr . meta l4proto . th dport map @published_at
  dnat ip to meta l4proto . th dport map @published
 }}
 chain raw {{
  type filter hook prerouting priority raw; policy accept;
  iifname @bridges ip daddr 127.0.0.0/8 drop
 }}
 chain prerouting {{
  type nat hook prerouting priority dstnat; policy accept;
  fib daddr type local jump published_ports
 }}
 chain output {{
  type nat hook output priority -100; policy accept;
  fib daddr type local jump published_ports
 }}
 chain postrouting {{
  type nat hook postrouting priority srcnat; policy accept;
  oifname @bridges ip saddr 127.0.0.0/8 masquerade
  oifname @bridges ct status dnat ip saddr @subnets masquerade
  oifname != @bridges ip saddr @masqueraded masquerade
 }}
 chain forward {{
  type filter hook forward priority filter; policy accept;
  ct state established,related accept
  oifname @bridges ct status dnat accept
  iifname . oifname @within accept
  oifname @bridges drop
  iifname @internal drop
 }}
}}
"""


def table_name(root: Path) -> str:
    """The table of the engine whose folder is `root`."""
    return "gantry_" + hashlib.sha256(str(root).encode()).hexdigest()[:12]


class Firewall:
    """The table. Every method blocks shortly and belongs to one worker thread."""

    def __init__(self, root: Path) -> None:
        self.table = table_name(root)
        self._nft = Nftables()

    def rewrite(self, networks: Iterable[Network], ports: Iterable[Port]) -> None:
        """Write the whole table anew, in one step: connections in flight do not notice."""
        networks, ports = list(networks), list(ports)
        head = f"add table ip {self.table}\ndelete table ip {self.table}\n"
        self._nft.run(
            head
            + RULES.format(
                table=self.table,
                any=_elements(_any_key(port) + " : " + _target(port) for port in ports if not port.is_bound),
                at=_elements(_at_key(port) + " : " + _target(port) for port in ports if port.is_bound),
                **{name: _elements(keys) for name, keys in _sets(networks).items()},
            )
        )

    def add_network(self, network: Network) -> None:
        """Let a new network's packets pass as its kind says."""
        sets = ((name, keys) for name, keys in _sets([network]).items() if keys)
        self._nft.run("".join(f"add element ip {self.table} {name} {{ {', '.join(keys)} }}\n" for name, keys in sets))

    def replace(self, old: Iterable[Port], new: Iterable[Port]) -> None:
        """Send what arrives for `new` to their containers, and for `old` no longer; in one transaction.

        What is not published any more is no error: it is added before it is deleted.
        """
        lines = [f"{verb} element ip {self.table} {_entry(port)}\n" for port in old for verb in ("add", "delete")]
        lines += [f"add element ip {self.table} {_entry(port)}\n" for port in new]
        self._nft.run("".join(lines))

    def is_there(self) -> bool:
        """Whether the table still is."""
        try:
            self._nft.run(f"list map ip {self.table} published_at")
        except Internal:
            return False
        return True

    def remove(self) -> None:
        """Take the table away: what is published is no longer."""
        self._nft.run(f"add table ip {self.table}\ndelete table ip {self.table}\n")

    def close(self) -> None:
        self._nft.close()

    # Others' FORWARD chains: an accept in our table does not overrule a drop in Docker's or ufw's.

    def allow_beside_others(self, interface: str) -> None:
        """Have our accept rules first in them. Costs two commands; not for every container."""
        for command in _others():
            for rule in self._rules(interface):
                if _iptables(command, "-C", "FORWARD", *rule):
                    continue
                if not _iptables(command, "-I", "FORWARD", "1", *rule):
                    log.warning("%s: no rule for %s; a firewall here may hold its packets back", command, interface)

    def forget_beside_others(self, interface: str) -> None:
        """Take them out again."""
        for command in _others():
            for rule in self._rules(interface):
                while _iptables(command, "-D", "FORWARD", *rule):
                    pass

    def _rules(self, interface: str) -> list[list[str]]:
        comment = ["-m", "comment", "--comment", self.table, "-j", "ACCEPT"]
        return [["-i", interface, *comment], ["-o", interface, *comment]]


def _others() -> list[str]:
    """The iptables commands whose filter table is in use here: both kinds can be at once, and either may drop."""
    found = []
    if (command := shutil.which("iptables-nft")) and _in_use(command):
        found.append(command)
    try:
        legacy = "filter" in Path("/proc/net/ip_tables_names").read_text().split()
    except OSError:
        legacy = False
    if legacy and (command := shutil.which("iptables-legacy")):
        found.append(command)
    return found


def _in_use(command: str) -> bool:
    """Whether its FORWARD chain does anything. Looking does not make the table; adding a rule would."""
    done = subprocess.run([command, "-S", "FORWARD"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    lines = [line for line in done.stdout.splitlines() if line]
    return len(lines) > 1 or lines == ["-P FORWARD DROP"]


def _iptables(command: str, *arguments: str) -> bool:
    done = subprocess.run([command, "-w", "5", *arguments], capture_output=True, timeout=TIMEOUT, check=False)
    return done.returncode == 0


def _sets(networks: Iterable[Network]) -> dict[str, list[str]]:
    bridges = [network for network in networks if network.interface]
    return {
        "bridges": [f'"{each.interface}"' for each in bridges],
        "internal": [f'"{each.interface}"' for each in bridges if each.internal],
        "within": [f'"{each.interface}" . "{each.interface}"' for each in bridges if each.allows_talk],
        "subnets": [each.subnet for each in bridges],
        "masqueraded": [each.subnet for each in bridges if each.masquerades],
    }


def _elements(entries: Iterable[str]) -> str:
    text = ", ".join(entries)
    return f"elements = {{ {text} }};" if text else ""


def _entry(port: Port) -> str:
    if port.is_bound:
        return f"published_at {{ {_at_key(port)} : {_target(port)} }}"
    return f"published {{ {_any_key(port)} : {_target(port)} }}"


def _any_key(port: Port) -> str:
    return f"{port.protocol} . {port.host_port}"


def _at_key(port: Port) -> str:
    return f"{port.host_ip} . {port.protocol} . {port.host_port}"


def _target(port: Port) -> str:
    return f"{port.container_ip} . {port.container_port}"
