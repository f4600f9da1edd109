"""Git repositories made for a test, and a real server for them: git's own http-backend behind a few lines of HTTP."""

import base64
import os
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "file",
    **{f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A repository with a working tree at `folder`, served from its .git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        # What a server of today allows at least, for protocol version 0 too.
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")

    def git(self, *arguments: str, input: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments], input=input, env=ENVIRONMENT, capture_output=True, check=False
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str | bytes | None] = {}) -> str:
        """Write files, delete those of None, and commit all there is; the commit."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")

    def submodule(self, name: str, url: str, commit: str, more: str = "") -> str:
        """Commit a submodule as anybody could write it, without git's checks; the commit."""
        with (self.folder / ".gitmodules").open("a") as text:
            text.write(f'[submodule "{name}"]\n\tpath = {name}\n\turl = {url}\n{more}')
        self.git("add", ".gitmodules")
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
        self.git("commit", "--quiet", "--message=submodule")
        return self.git("rev-parse", "HEAD")


class GitServer:
    """Repositories below `folder` by http: /NAME.git, and /private/NAME.git for those who know `login`; /away/… sends
    clients to `away`, /hang/… never answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.login = "x-access-token:T0KEN"
        self.away = ""
        self.asked: list[str] = []
        self.hanging = threading.Event()
        self._ended = threading.Event()

    def repository(self, name: str) -> Repository:
        return Repository(self.folder / f"{name}.git")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"git": self}))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def hang(self) -> None:
        self.hanging.set()
        self._ended.wait()


class _Handler(BaseHTTPRequestHandler):
    git: GitServer

    def do_GET(self) -> None:
        server, parts = self.git, urlsplit(self.path)
        server.asked.append(self.path)
        path = parts.path
        if path.startswith("/hang/"):
            server.hang()
            return
        if path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", server.away + self.path.removeprefix("/away"))
            self.end_headers()
            return
        if path.startswith("/private/"):
            path = path.removeprefix("/private")
            wanted = "Basic " + base64.b64encode(server.login.encode()).decode()
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self._backend(path, parts.query)

    do_POST = do_GET

    def _backend(self, path: str, query: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given: dict[str, Any] = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.git.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path.replace(".git/", ".git/.git/", 1),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        answer = subprocess.run(["git", "http-backend"], input=body, env=given, capture_output=True, check=False).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
