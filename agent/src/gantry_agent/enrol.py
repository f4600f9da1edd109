"""Enrolment: a token becomes the host's own key pair. The private key is made here and never leaves."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from . import __version__, keys, transport
from .errors import AgentError, EnrolmentRefused
from .state import Enrolment, State

TIMEOUT = 30.0  # seconds
MAX_ANSWER = 64 * 1024  # bytes


async def enrol(
    state: State, url: str, token: str, *, fingerprint: str = "", name: str = "", replace: bool = False
) -> Enrolment:
    """Trade a token for an enrolment and store it. Raises EnrolmentRefused, AgentError."""
    url = url.rstrip("/")
    if urlsplit(url).scheme not in ("http", "https"):
        raise AgentError(f"“{url}” is not an address of Gantry.", "Expected http:// or https://.")
    if state.is_enrolled and not replace:
        raise AgentError(f"This host is enrolled already ({state.config_file}).", "Use --replace to enrol it anew.")
    state.prepare()
    key = keys.generate()
    order = {
        "token": token,
        "public_key": keys.public_text(key),
        "hostname": name or socket.gethostname(),
        "agent_version": __version__,
    }
    found = await _post(url, order, fingerprint)
    gateways = found.get("gateways")
    if not isinstance(gateways, list) or not gateways or "host" not in found:
        raise EnrolmentRefused("The control plane's answer names no gateway.", "Is this address Gantry's?")
    enrolment = Enrolment(
        host=str(found["host"]),
        name=str(found.get("name") or order["hostname"]),
        url=url,
        gateways=[str(gateway) for gateway in gateways],
        fingerprint=fingerprint,
    )
    state.save_enrolment(key, enrolment)
    return enrolment


async def _post(url: str, order: dict[str, str], fingerprint: str) -> dict[str, Any]:
    """POST the order; the answer's JSON. Raises EnrolmentRefused with the control plane's reason."""
    try:
        async with (
            transport.session(url) as client,
            client.post(
                f"{url}/agent/enrol",
                json=order,
                ssl=transport.tls_for(url, fingerprint),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            ) as answer,
        ):
            status, content = answer.status, await answer.content.read(MAX_ANSWER)
    except aiohttp.ServerFingerprintMismatch as exc:
        raise EnrolmentRefused(
            "The server's certificate is not the one whose fingerprint was given.",
            "Copy the line from Gantry again; if it still differs, somebody answers in its place.",
        ) from exc
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise EnrolmentRefused(f"{url} cannot be reached: {exc or type(exc).__name__}.") from exc
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EnrolmentRefused(f"{url} answered {status}, and not as Gantry does.", "Is this address Gantry's?")
    if status != 200:
        raise EnrolmentRefused(str(found.get("message", f"Refused ({status}).")), str(found.get("hint", "")))
    return found
