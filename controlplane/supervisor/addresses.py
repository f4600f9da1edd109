"""The addresses that are printed and that this machine's own agent dials."""

from __future__ import annotations

import socket

from django.conf import settings

from controlplane.supervisor.options import is_wildcard, split


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
    host, port = split(settings.GANTRY_LISTEN)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{_scheme()}://{f'[{host}]' if ':' in host else host}:{port}"
