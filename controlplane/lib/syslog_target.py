"""What GANTRY_SYSLOG says. Imports nothing of Django: the settings call it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

PORTS = {"udp": 514, "tcp": 514, "tls": 6514, "unix": 0}


@dataclass(frozen=True)
class SyslogTarget:
    """Where the lines go: `host` and `port`, or `path`. `ca`: a file of authorities; empty: the system's."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    ca: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(text: str) -> SyslogTarget | None:
    """None for nothing. Raises ValueError."""
    if not text:
        return None
    url = urlsplit(text)
    ours = url.scheme in PORTS and bool(url.path.strip("/") if url.scheme == "unix" else url.hostname)
    if not ours or (url.scheme == "unix" and url.netloc):
        raise ValueError(
            f"GANTRY_SYSLOG: expected udp://, tcp:// or tls://HOST[:PORT], or unix:///PATH; found “{text[:200]}”"
        )
    if url.scheme == "unix":
        return SyslogTarget("unix", path=unquote(url.path))
    try:
        port = url.port or PORTS[url.scheme]
    except ValueError as exc:
        raise ValueError(f"GANTRY_SYSLOG: {exc}") from exc
    return SyslogTarget(url.scheme, host=url.hostname or "", port=port, ca=parse_qs(url.query).get("ca", [""])[-1])
