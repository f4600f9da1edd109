"""One plain HTTP request to a unix socket: a second opinion on what an engine says, beside our client."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode


class UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self.path))
        except OSError:
            self.sock.close()
            raise


def request(
    socket_path: Path, method: str, path: str, body: Any = None, *, timeout: float = 120.0, **query: Any
) -> tuple[int, Any]:
    """Send a request with an optional JSON (or bytes: tar) body; answer (status, JSON or text)."""
    connection = UnixConnection(socket_path, timeout)
    headers: dict[str, str] = {}
    if isinstance(body, bytes):
        headers["Content-Type"] = "application/x-tar"
    elif body is not None:
        body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text
