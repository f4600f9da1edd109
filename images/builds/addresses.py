"""Where a git source may lead: which addresses Gantry fetches from, and which never.

A source is somebody's text, and Gantry sits where others cannot reach: what listens on loopback, or what the cloud
tells its machines, must not come out in a build. GANTRY_GIT_NETWORKS lists networks that are allowed nevertheless.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from django.conf import settings

from controlplane.lib.errors import InvalidArgument, Unavailable

PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
LONGEST = 2000
_SCP = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):(?P<path>(?!//|:)[^\0]+)")
_HOST = re.compile(r"[a-zA-Z0-9_.-]+|[0-9a-fA-F:]+")
_METADATA = ("169.254.169.254", "100.100.100.200", "fd00:ec2::254")  # what clouds tell their machines, credentials too
_NEVER = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Address:
    """A git server, taken apart. `url`: as git is given it, without a password."""

    url: str
    scheme: str
    host: str
    port: int

    def resolve(self) -> str:
        """The one IP address to connect to. Raises Unavailable, or InvalidArgument when none may be fetched from."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise Unavailable(f"The address of {self.host} was not found: {exc}.", "Check the spelling.") from exc
        ips = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [ip for ip in ips if may_fetch(ip)]
        if not allowed:
            raise InvalidArgument(
                f"{self.host} is {ips[0]}, from which Gantry does not fetch: loopback and link-local addresses are "
                "closed to builds.",
                "An administrator can open a network with GANTRY_GIT_NETWORKS.",
            )
        return allowed[0]


def may_fetch(text: str) -> bool:
    """Whether this IP address is one that git may connect to."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    if str(ip) in _METADATA:
        return False
    if any(ip in ipaddress.ip_network(network) for network in settings.GIT_NETWORKS):
        return True
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def parse(text: str) -> Address:
    """What was typed as a git URL. Raises InvalidArgument, without asking any server."""
    text = text.strip()
    if not text or len(text) > LONGEST or _NEVER.search(text) or text.startswith("-"):
        raise InvalidArgument(
            f"Expected the address of a git repository, found “{text[:80]}”.",
            "Such as https://git.example/team/app.git or git@git.example:team/app.git.",
        )
    if "://" not in text and (match := _SCP.fullmatch(text)):
        path = match["path"].lstrip("/")
        return _checked(urlsplit(f"ssh://{match['user'] or 'git'}@{match['host']}/{path}"), text)
    try:
        parts = urlsplit(text)
        return _checked(parts, text)
    except ValueError as exc:
        raise InvalidArgument(f"Expected the address of a git repository, found “{text[:80]}”: {exc}.") from exc


def _checked(parts: SplitResult, text: str) -> Address:
    host = parts.hostname or ""
    if parts.scheme not in PORTS:
        raise InvalidArgument(
            f"Expected https, http, ssh or git before “://”, found “{text[:80]}”.",
            "Files of this machine and helpers such as ext:: are never fetched from.",
        )
    if not host or host.startswith("-") or not _HOST.fullmatch(host) or len(parts.path) < 2:
        raise InvalidArgument(
            f"Expected a server and a path in the address, found “{text[:80]}”.",
            "A name with other letters is written as DNS has it, xn--….",
        )
    if parts.password is not None or (parts.username and parts.scheme != "ssh"):
        raise InvalidArgument(
            "Expected an address without a password: it would be shown to everybody.",
            "Save it as a credential and choose that.",
        )
    if parts.username and not re.fullmatch(r"[\w][\w.-]*", parts.username):
        raise InvalidArgument(f"Expected a user’s name before “@”, found “{parts.username[:40]}”.")
    if parts.fragment or parts.query:
        raise InvalidArgument("Expected the address alone.", "Branch and folder have fields of their own.")
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return Address(url, parts.scheme, host, parts.port or PORTS[parts.scheme])


def beside(base: str, text: str) -> Address:
    """A submodule's address, which may be relative to its parent's. Raises InvalidArgument."""
    if not text.startswith(("./", "../")):
        return parse(text)
    parts = urlsplit(parse(base).url)
    path = parts.path.rstrip("/").split("/")
    for step in text.split("/"):
        if step == "..":
            path = path[:-1]
        elif step not in ("", "."):
            path.append(step)
    return parse(urlunsplit((parts.scheme, parts.netloc, "/".join(path), "", "")))
