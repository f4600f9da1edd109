"""Outgoing HTTP and WebSocket: TLS trust, pinned certificate, proxies, and the limits of our sockets."""

import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

import aiohttp

from .errors import AgentError

SUBPROTOCOL = "gantry.v1"
KERNEL_BUFFER = 512 * 1024  # bytes; Linux doubles it for its own accounts
MAX_MESSAGE = 1024 * 1024  # bytes; docs/tunnel.md


def parse_fingerprint(text: str) -> bytes:
    """`sha256:<64 hex digits>` (colons between bytes allowed) → the 32 bytes. Raises AgentError."""
    digits = text.removeprefix("sha256:").replace(":", "").strip()
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise AgentError(f"“{text}” is not a certificate fingerprint.", "Expected sha256: and 64 hexadecimal digits.")
    return digest


def tls_for(url: str, fingerprint: str) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    """How to trust a server: by its pinned certificate when there is one, else by the system's authorities.

    A pin replaces name and authority checks: the certificate itself is the identity.
    """
    if urlsplit(url).scheme not in ("https", "wss"):
        return True
    if fingerprint:
        return aiohttp.Fingerprint(parse_fingerprint(fingerprint))
    return True


def is_loopback(url: str) -> bool:
    """Does a URL name this machine itself?"""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def session(url: str) -> aiohttp.ClientSession:
    """A client session for one server. Proxies from the environment are used, but never for loopback."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=30)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=not is_loopback(url))


async def open_socket(
    client: aiohttp.ClientSession, url: str, fingerprint: str, close_wait: float
) -> aiohttp.ClientWebSocketResponse:
    """Open one WebSocket of the tunnel. Raises aiohttp.ClientError, OSError, TimeoutError.

    `close_wait`: seconds a close waits for the other end's. Deflate is off: it costs latency and memory,
    and what flows is often compressed already.
    """
    ws = await client.ws_connect(
        url,
        protocols=(SUBPROTOCOL,),
        ssl=tls_for(url, fingerprint),
        autoping=False,
        compress=0,
        max_msg_size=MAX_MESSAGE,
        timeout=aiohttp.ClientWSTimeout(ws_close=close_wait),
    )
    raw = ws.get_extra_info("socket")
    if raw is not None:
        keep_alive(raw)
        bound_buffers(raw)
    return ws


def bound_buffers(raw: socket.socket) -> None:
    """Hold no more than a megabyte or so each way in the kernel, which else grows to tens: what is on its way there
    must still be shown after somebody has pressed Ctrl-C. The gateway does the same at its end.
    """
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        raw.setsockopt(socket.SOL_SOCKET, option, KERNEL_BUFFER)


def keep_alive(raw: socket.socket) -> None:
    """Let the kernel notice within half a minute that an idle peer is gone.

    TCP_USER_TIMEOUT is left alone: it would also cut a peer that is merely slow to read.
    """
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
