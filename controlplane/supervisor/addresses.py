"""The addresses that are printed and that this machine's own agent dials."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from django.conf import settings

from controlplane.supervisor.options import is_wildcard, split
from hosts.tls import fingerprint


def _scheme() -> str:
    return "https" if settings.TLS_CERT else "http"


def machine_address() -> str:
    """The address by which this machine reaches out, so others may reach it; its name where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's; a datagram socket sends nothing here
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def public_url() -> str:
    """Where people reach the pages."""
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    host, port = split(settings.GANTRY_LISTEN)
    host = machine_address() if is_wildcard(settings.GANTRY_LISTEN) else host
    return f"{_scheme()}://{f'[{host}]' if ':' in host else host}:{port}"


def local_url() -> str:
    """Where this machine itself reaches the pages."""
    return f"{_scheme()}://{_local(settings.GANTRY_LISTEN)}"


def local_gateway_url() -> str:
    """Where this machine's own agent dials."""
    return f"{'wss' if settings.TLS_CERT else 'ws'}://{_local(settings.GANTRY_GATEWAY_LISTEN)}"


def _local(listen: str) -> str:
    host, port = split(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def certificate_fingerprint() -> str:
    """What this machine's own agent pins: no certificate bears the loopback's name. Empty without TLS."""
    return fingerprint(Path(settings.TLS_CERT)) if settings.TLS_CERT else ""


def readdress(config: Path) -> None:
    """Tell this machine's own agent, by its `config.json`, the addresses of this very start.

    It shares our options and our certificate, and either may differ from those it enrolled under.
    """
    present = json.loads(config.read_text())
    wanted = {"url": local_url(), "gateways": [local_gateway_url()], "fingerprint": certificate_fingerprint()}
    if present | wanted == present:
        return
    fresh = config.with_name(f".config.{os.getpid()}")
    fresh.touch(0o600)
    fresh.write_text(json.dumps(present | wanted, indent=2))
    fresh.rename(config)
