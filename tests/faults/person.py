"""Somebody at a browser without the browser: a session, forms with their CSRF token, and WebSockets.

person = Person(up)                    # signed up with the printed link, as the administrator "ada"
person.page("/hosts/")                 # the page's HTML; "" while nobody answers
operation = person.ask("/images/pull/", reference=…, hosts=[1])     # the id of the operation it became
with person.socket("/ws/containers/3/logs?follow=1") as socket: socket.recv()
person.operation(operation)            # its row: .state, .error, .attempt …
person.rows("SELECT …")                # the database, seen from outside
"""

from __future__ import annotations

import http.cookiejar
import re
import sqlite3
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from websockets.sync.client import ClientConnection, connect

from tests.support.up import Up

PASSWORD = "a word nobody guesses 1"


class Row(NamedTuple):
    """What became of an operation."""

    state: str
    error: str
    attempt: int
    progress: str


class Person:
    """An administrator of a freshly started Gantry."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.jar = http.cookiejar.CookieJar()
        # The self-made certificate is for the tests of TLS to check.
        handlers = [urllib.request.HTTPSHandler(context=ssl._create_unverified_context())] if up.tls else []
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), *handlers)
        path = up.link.removeprefix(up.url)
        self.get(path)
        self.post(path, username="ada", password1=PASSWORD, password2=PASSWORD)
        assert self.cookie("gantry_session"), "not signed in"

    def cookie(self, name: str) -> str:
        return next((cookie.value or "" for cookie in self.jar if cookie.name == name), "")

    def get(self, path: str, timeout: float = 30) -> str:
        """A page. Raises OSError when nobody answers, or with an error status."""
        with self._opener.open(self.up.url + path, timeout=timeout) as answer:
            return str(answer.read().decode())

    def page(self, path: str) -> str:
        """A page; "" while there is nobody to answer."""
        try:
            return self.get(path)
        except OSError:
            return ""

    def post(self, path: str, **fields: Any) -> str:
        """Send a form; the address it led to. Raises AssertionError with the page's complaint."""
        fields["csrfmiddlewaretoken"] = self.cookie("gantry_csrf")
        body = urllib.parse.urlencode(fields, doseq=True).encode()
        request = urllib.request.Request(self.up.url + path, body, {"Origin": self.up.url})
        try:
            with self._opener.open(request, timeout=30) as answer:
                return str(answer.url)
        except urllib.error.HTTPError as exc:
            with exc:
                raise AssertionError(f"{path}: {exc.code}: {_words(exc.read().decode())}") from exc

    def ask(self, path: str, **fields: Any) -> int:
        """Send a form that becomes an operation; its id."""
        led_to = self.post(path, **fields)
        found = re.search(r"/operations/(\d+)/", led_to)
        assert found, f"{path} led to {led_to}"
        return int(found[1])

    def socket(self, path: str) -> ClientConnection:
        """A WebSocket of the page's own origin."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.jar)
        return connect(
            self.up.url.replace("http", "ws", 1) + path,
            origin=self.up.url,  # type: ignore[arg-type]
            additional_headers={"Cookie": cookies},
            proxy=None,
        )

    def rows(self, query: str, *values: object) -> list[Any]:
        """The database, read by somebody else than Gantry."""
        connection = sqlite3.connect(self.up.home.path / "gantry.sqlite3", timeout=20)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def operation(self, pk: int) -> Row:
        query = "SELECT state, error, attempt, progress FROM operations_operation WHERE id = ?"
        return Row(*self.rows(query, pk)[0])

    def is_finished(self, pk: int) -> bool:
        """For `eventually`, which quotes the AssertionError that says how far it has come."""
        row = self.operation(pk)
        said = self.rows("SELECT at, text FROM operations_operationoutput WHERE operation_id = ?", pk)
        assert row.state not in ("queued", "running"), f"{row}, which said {said}"
        return True

    def container(self, name: str) -> tuple[int, str] | None:
        """A container's id in Gantry and its state there, by name."""
        found = self.rows("SELECT id, state FROM containers_container WHERE name = ?", name)
        return (found[0][0], found[0][1]) if found else None

    def running(self, name: str) -> int | None:
        """The id of a container that Gantry shows as running."""
        found = self.container(name)
        return found[0] if found and found[1] == "running" else None

    def host_state(self, pk: int) -> str:
        """A host's state; "" while there is no such host."""
        return "".join(state for (state,) in self.rows("SELECT state FROM hosts_host WHERE id = ?", pk))

    def run(self, host: int, image: str, name: str, command: str) -> int:
        """Send the run form."""
        fields = {"host": host, "image": image, "name": name, "command": command, "restart": "no"}
        return self.ask("/containers/run/", **fields)


def _words(page: str) -> str:
    """A page without its markup: its main part, for messages."""
    main = page.partition("<main")[2] or page
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())[:600]
