"""One HTTP request to a registry: redirects, proxies, TLS, and errors in our words. No knowledge of registries.

A registry answers with addresses of its own choosing (redirects to storage, token servers, upload places). What it
sends us to may be no more private than itself: a registry on the internet cannot make the engine ask 127.0.0.1 or
10.0.0.1, none but a configured address reaches link-local ones (cloud metadata), and the addresses are checked at
the moment of connecting, so that a name cannot change its meaning in between (DNS rebinding). Credentials stay with
the host they were meant for.
"""

import asyncio
import enum
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from gantry_agent import __version__
from gantry_agent.engine.config import Config

from .answers import Misled, Unreachable
from .endpoints import Endpoint, is_insecure, settings_of, tls_context

MAX_HOPS = 10
READ_BUFFER = 512 << 10  # bytes aiohttp holds of one answer before it stops reading
MAX_HEADER = 32 << 10
TIMEOUTS = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)  # seconds
_NO_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))  # the latter is glibc's
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Reach(enum.IntEnum):
    """How private an address is; more is more private."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    ANY = 3


@dataclass(frozen=True)
class Origin:
    """Whom a request is made for: what it may lead to follows from where this is."""

    endpoint: Endpoint
    reach: Reach


@dataclass
class Call:
    """One request. `body` is sent once; redirects of requests with a body are not followed."""

    method: str
    url: URL
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] | None = None


class Transport:
    """Connections to registries; `close` at the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sessions: dict[Reach, aiohttp.ClientSession] = {}
        self._contexts: dict[Endpoint, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def origin(self, endpoint: Endpoint) -> Origin:
        """The endpoint with what it may lead to. Raises Unreachable when its name has no address."""
        host = URL(f"//{endpoint.host}").host or ""
        if _proxy("https", host):
            return Origin(endpoint, Reach.PUBLIC)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
        except (OSError, UnicodeError) as exc:
            raise Unreachable(f'Get "{endpoint.schemes[0]}://{endpoint.host}/v2/": {_lookup(host, exc)}') from exc
        reach = min((_reach_of(str(each[4][0])) for each in found), default=Reach.PUBLIC)
        return Origin(endpoint, min(reach, Reach.LOOPBACK))

    async def send(self, origin: Origin, call: Call) -> aiohttp.ClientResponse:
        """The answer, whatever its status, its body unread; the caller closes it. Raises Unreachable, Misled."""
        url, headers = call.url, dict(call.headers)
        for _ in range(MAX_HOPS):
            response = await self._hop(origin, call, url, headers)
            target = response.headers.get("Location")
            if response.status not in REDIRECTS or call.method not in ("GET", "HEAD") or not target:
                return response
            response.release()
            following = joined(url, target)
            if following.origin() != url.origin():
                headers.pop("Authorization", None)
            url = following
        raise Misled(f'{call.method.title()} "{shown(call.url)}": stopped after {MAX_HOPS} redirects')

    async def _hop(self, origin: Origin, call: Call, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        what = f'{call.method.title()} "{shown(url)}"'
        own = URL(f"{url.scheme}://{origin.endpoint.host}")
        home = url.scheme in origin.endpoint.schemes and (url.host, url.port) == (own.host, own.port)
        endpoint = origin.endpoint if home else self._elsewhere(origin, url, what)
        proxy = _proxy(url.scheme, url.host or "")
        session = self._session(Reach.ANY if home or proxy else origin.reach)
        context = await self._context(endpoint) if url.scheme == "https" else False
        try:
            return await session.request(
                call.method, url, headers=headers, data=call.body, ssl=context, proxy=proxy, allow_redirects=False
            )
        except aiohttp.ClientConnectorCertificateError as exc:
            why = getattr(exc.certificate_error, "verify_message", "") or str(exc.certificate_error)
            raise Unreachable(
                f"{what}: x509: {why} (see registries and insecure-registries in the configuration)"
            ) from exc
        except aiohttp.ClientConnectorDNSError as exc:
            kind = Misled if isinstance(exc.os_error, _PrivateError) else Unreachable
            raise kind(f"{what}: {reason(exc)}") from exc
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise Unreachable(f"{what}: {reason(exc)}") from exc

    def _elsewhere(self, origin: Origin, url: URL, what: str) -> Endpoint:
        """A host the registry sent us to. Raises Misled for one it may not send us to."""
        name = url.host or ""
        host = (f"[{name}]" if ":" in name else name) + (f":{url.explicit_port}" if url.explicit_port else "")
        insecure = is_insecure(host, self._config)
        if url.scheme == "http" and origin.endpoint.schemes == ("https",) and not insecure:
            raise Misled(f"{what}: {origin.endpoint.host} leads from HTTPS to plain HTTP, which is refused")
        # aiohttp asks no resolver about an address that is a number already.
        if _is_number(name) and _reach_of(name) > origin.reach:
            raise Misled(f"{what}: {origin.endpoint.host} leads to a private address, which is refused")
        own = settings_of(host, self._config)
        return Endpoint(host, verify=not insecure, ca=str(own.get("ca") or ""))

    def _session(self, reach: Reach) -> aiohttp.ClientSession:
        if reach not in self._sessions:
            self._sessions[reach] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, resolver=_Resolver(reach), ttl_dns_cache=10),
                timeout=TIMEOUTS,
                read_bufsize=READ_BUFFER,
                auto_decompress=False,  # digests name the bytes as they are sent
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"gantry/{__version__}", "Accept-Encoding": "identity"},
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
            )
        return self._sessions[reach]

    async def _context(self, endpoint: Endpoint) -> ssl.SSLContext:
        if endpoint not in self._contexts:
            self._contexts[endpoint] = await asyncio.to_thread(tls_context, endpoint)
        return self._contexts[endpoint]


class _PrivateError(OSError):
    """A name that a registry gave has private addresses only."""


class _Resolver(AbstractResolver):
    """Names to addresses, without those more private than `most`."""

    def __init__(self, most: Reach) -> None:
        self._inner = ThreadedResolver()
        self._most = most

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if self._most is Reach.ANY or _reach_of(each["host"]) <= self._most]
        if found and not allowed:
            raise _PrivateError(f"{host} is a private address, which a registry may not lead to")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def joined(url: URL, target: str) -> URL:
    """The address a Location header means. Raises Misled for what is not HTTP."""
    try:
        following = url.join(URL(target, encoded=True))
    except ValueError as exc:
        raise Misled(f"{shown(url)} leads to {target[:100]!r}, which is no address") from exc
    if following.scheme not in ("http", "https") or not following.host:
        raise Misled(f"{shown(url)} leads to {target[:100]!r}, which is not HTTP")
    return following


def shown(url: URL) -> str:
    """A URL for messages: the query may hold a signature or a token."""
    return str(url.with_query(None).with_fragment(None))


def reason(exc: BaseException) -> str:
    """What went wrong below, in Docker's words: people, and programs that explain them, know those."""
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, aiohttp.ClientConnectorSSLError):
        # A plain HTTP server's answer is no TLS record; OpenSSL has had two names for that.
        plain = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
        said = getattr(exc.os_error, "reason", "") or str(exc.os_error)
        return "http: server gave HTTP response to HTTPS client" if said in plain else f"tls: {said}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        inner = exc.os_error
        if isinstance(exc, aiohttp.ClientConnectorDNSError):
            return _lookup(exc.host, inner)
        words = os.strerror(inner.errno) if inner.errno and inner.errno > 0 else str(inner)
        return f"dial tcp {exc.host}:{exc.port}: connect: {words.lower()}"
    return str(exc) or type(exc).__name__


def _lookup(host: str, exc: Exception) -> str:
    """Why a name has no address."""
    unknown = isinstance(exc, socket.gaierror) and exc.errno in _NO_NAME
    words = "no such host" if unknown else str(getattr(exc, "strerror", None) or exc).lower()
    return f"dial tcp: lookup {host}: {words}"


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _reach_of(address: str) -> Reach:
    number: Any = ipaddress.ip_address(address.partition("%")[0])
    number = getattr(number, "ipv4_mapped", None) or number
    if number.is_loopback:
        return Reach.LOOPBACK
    if number.is_link_local or number.is_unspecified or number.is_multicast:
        return Reach.ANY
    return Reach.PUBLIC if number.is_global else Reach.PRIVATE


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) for a host; loopback has none."""
    proxies = urllib.request.getproxies()
    is_local = host == "localhost" or (_is_number(host) and _reach_of(host) is Reach.LOOPBACK)
    if scheme not in proxies or is_local or urllib.request.proxy_bypass(host):
        return None
    return proxies[scheme]
