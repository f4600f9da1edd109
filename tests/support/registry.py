"""Debian's docker-registry on a free loopback port, and a slow proxy before it.

    with Registry() as registry:                      # Registry(users={"ada": "secret"}) asks for a password
        reference = registry.push(busybox(), "gantry/busybox:1")   # "127.0.0.1:PORT/gantry/busybox:1"
        with SlowRegistry(registry, bytes_per_second=50_000) as slow:
            slow.reference("gantry/busybox:1")        # pull this one slowly
            slow.connections                          # open ones now: 0 after a cancelled pull
            slow.release()                            # full speed from here on

`push` speaks to the registry itself, so that no engine is needed. Session fixture: ``registry``.
"""

import base64
import contextlib
import ctypes
import ctypes.util
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from typing import Any, Self

from tests.support.images import TestImage, digest
from tests.support.scratch import discard, make_scratch
from tests.support.waiting import eventually, free_port

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)


class Registry:
    """A registry process; a context manager. ``address`` is ``HOST:PORT``."""

    def __init__(self, *, users: dict[str, str] | None = None, host: str = "127.0.0.1") -> None:
        self.users = users or {}
        self.folder = make_scratch()
        self.host = host
        self.port = free_port(host)
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str:
        """Empty when a registry can be started here, else the reason for a skip."""
        return "" if shutil.which("docker-registry") else "registry: not installed: docker-registry"

    @property
    def address(self) -> str:
        """``HOST:PORT``, as a reference begins."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._configure()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", f"{self.folder}/config.yml"],
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, timeout=30, what=f"registry answers on {self.address}")

    def stop(self) -> None:
        """End the process; what was pushed stays, and `start` serves it again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End the process and delete what it stored."""
        self.stop()
        discard(self.folder)

    def reference(self, name: str) -> str:
        """The full reference of ``name`` (``gantry/busybox:1``) in this registry."""
        return f"{self.address}/{name}"

    def push(self, image: TestImage, name: str) -> str:
        """Store the image under ``NAME:TAG``; returns its full reference."""
        repository, _, tag = name.rpartition(":")
        for blob in (*image.blobs, image.configuration):
            self._upload(repository, blob)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        self._request("PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, kind)
        return self.reference(name)

    def tags(self, repository: str) -> list[str]:
        """The repository's tags, sorted."""
        answer = json.loads(self._request("GET", f"/v2/{repository}/tags/list")[1])
        return sorted(answer.get("tags") or [])

    def manifest(self, repository: str, tag: str) -> bytes:
        """What is served under a tag, of the registry's own kind."""
        return self._request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ", ".join(MANIFESTS)})[1]

    def auth_header(self, user: str, password: str) -> str:
        """The value of X-Registry-Auth for a pull through an engine."""
        fields = {"username": user, "password": password, "serveraddress": self.address}
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    def _upload(self, repository: str, blob: bytes) -> None:
        head, _ = self._request("HEAD", f"/v2/{repository}/blobs/{digest(blob)}", accept=(200, 404))
        if head.status == 200:
            return
        begun, _ = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        place = begun.headers["Location"].partition(self.address)[2]
        joint = "&" if "?" in place else "?"
        kind = "application/octet-stream"
        self._request("PUT", f"{place}{joint}digest={digest(blob)}", blob, kind)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        *,
        accept: tuple[int, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {**(headers or {}), **({"Content-Type": kind} if kind else {})}
        for user, password in list(self.users.items())[:1]:
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status >= 400 and response.status not in accept:
            raise RuntimeError(f"registry: {method} {path}: {response.status} {content[:300]!r}")
        return response, content

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"registry ended at once:\n{(self.folder / 'log').read_text()[-2000:]}")
        try:
            return self._request("GET", "/v2/", accept=(401,))[0].status in (200, 401)
        except OSError:
            return False

    def _configure(self) -> None:
        configuration: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": f"{self.folder}/data"},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.address, "relativeurls": False},
        }
        if self.users:
            lines = [f"{user}:{_bcrypt(password)}" for user, password in self.users.items()]
            (self.folder / "htpasswd").write_text("\n".join(lines) + "\n")
            configuration["auth"] = {"htpasswd": {"realm": "test", "path": f"{self.folder}/htpasswd"}}
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(configuration))


class SlowRegistry:
    """A TCP proxy before a registry that lets ``bytes_per_second`` of answers through in all."""

    def __init__(self, registry: Registry, bytes_per_second: int) -> None:
        self.registry = registry
        self.bytes_per_second = bytes_per_second
        self.bytes_sent = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._pace = threading.Lock()
        self._released = threading.Event()
        self._closing = False
        self._listener = socket.create_server((registry.host, 0))
        self.address = f"{registry.host}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for side in self._open:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        eventually(lambda: not self._open, what="the slow registry's connections end")

    @property
    def connections(self) -> int:
        """Open connections of clients."""
        with self._lock:
            return len(self._open)

    def reference(self, name: str) -> str:
        """The full reference of ``name`` through this proxy."""
        return f"{self.address}/{name}"

    def release(self) -> None:
        """Stop slowing down."""
        self._released.set()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection((self.registry.host, self.registry.port)) as server:
                up = threading.Thread(target=self._copy, args=(client, server, False), daemon=True)
                up.start()
                self._copy(server, client, True)
                for side in (client, server):
                    with contextlib.suppress(OSError):
                        side.shutdown(socket.SHUT_RDWR)
                up.join()
        except OSError:
            pass  # The registry is stopped: the client sees its connection closed, as with a real proxy.
        finally:
            with self._lock:
                self._open.discard(client)

    def _copy(self, source: socket.socket, target: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if slow and not self._released.is_set():
                    with self._pace:
                        self._released.wait(len(data) / self.bytes_per_second)
                target.sendall(data)
                self.bytes_sent += len(data) if slow else 0
        # A client that went away must not keep the registry's side waiting, nor the other way round.
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


def _bcrypt(password: str) -> str:
    """A bcrypt hash from the system's libcrypt: the only kind the registry's htpasswd takes."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    salt = b"$2b$05$" + base64.b64encode(os.urandom(16)).rstrip(b"=").replace(b"+", b".").ljust(22, b".")[:21] + b"u"
    hashed: bytes | None = library.crypt(password.encode(), salt)
    if not hashed or not hashed.startswith(b"$2b$"):
        raise RuntimeError("the system's libcrypt makes no bcrypt hash")
    return hashed.decode()
