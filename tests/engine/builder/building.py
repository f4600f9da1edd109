"""Builds as tests ask for them: a context as a dict of files, sent to POST /build."""

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from tests.engine.tars import entry, tar_of
from tests.support.engines import EngineProcess
from tests.support.unixhttp import UnixConnection

BASE = "base:1"
Files = Mapping[str, str | bytes]


@dataclass
class Built:
    """What an engine said of a build."""

    status: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The output as people see it."""
        return "".join(str(line.get("stream", "")) for line in self.lines)

    @property
    def error(self) -> str:
        """Why it failed; "" when it did not."""
        return next((str(line.get("error") or line.get("message")) for line in self.lines
                     if "error" in line or "message" in line), "")  # fmt: skip

    @property
    def image(self) -> str:
        """The id of what was made."""
        assert not self.error, self.error + "\n" + self.text
        return next(str(line["aux"]["ID"]) for line in self.lines if "aux" in line)

    @property
    def cached(self) -> int:
        """How many steps came from the cache."""
        return self.text.count("Using cache")


def context(files: Files, *, mtime: int = 1_700_000_000) -> bytes:
    """A tar of the files, all of that time."""
    members = []
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        members.append(entry(name, data, mtime=mtime))
    return tar_of(members)


def send(
    engine: EngineProcess, body: bytes, headers: Mapping[str, str] | None = None, timeout: float = 120, **query: Any
) -> Built:
    """POST /build with a tar."""
    connection = UnixConnection(engine.socket, timeout)
    try:
        connection.request(
            "POST",
            f"/build?{urlencode(query, doseq=True)}",
            body,
            {"Content-Type": "application/x-tar", **(headers or {})},
        )
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    return Built(response.status, [json.loads(line) for line in text.splitlines() if line.strip()])


def build(engine: EngineProcess, dockerfile: str, files: Files | None = None, **query: Any) -> Built:
    """Build a Dockerfile with the files beside it."""
    mtime = query.pop("mtime", 1_700_000_000)
    return send(engine, context({"Dockerfile": dockerfile, **(files or {})}, mtime=mtime), **query)


class Background:
    """A build in a thread, whose connection can be cut."""

    def __init__(self, engine: EngineProcess, dockerfile: str, files: Files | None = None) -> None:
        self._connection = UnixConnection(engine.socket, 120)
        self._connection.request("POST", "/build", context({"Dockerfile": dockerfile, **(files or {})}))
        self.text = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            response = self._connection.getresponse()
            while line := response.readline():
                self.text += str(json.loads(line).get("stream", ""))
        except (OSError, HTTPException):
            pass  # its engine was killed

    def cut(self) -> None:
        """Go away in the middle, as a client does on Ctrl-C."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.end()

    def end(self) -> None:
        """Wait for the answer's end."""
        self._thread.join()
        self._connection.close()
