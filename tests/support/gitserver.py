"""A real git server on loopback: `git http-backend` behind http.server, and Debian's sshd.

with GitServer() as server:
    repository = server.create("team/app", {"Dockerfile": "FROM scratch"})
    repository.commit({"x": "1"}, branch="feature/y")   # the whole commit id
    repository.url                                       # http://127.0.0.1:PORT/team/app.git
with GitServer(token="s3cret"): …                        # asks for it by Basic authentication
with SshServer(server) as ssh: ssh.url(repository), ssh.key, ssh.known_hosts
"""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import socketserver
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.scratch import discard, make_scratch
from tests.support.waiting import eventually, free_port

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "HOME": "/nonexistent",
}


def git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Repository:
    """A bare repository and a work tree to commit from."""

    server: GitServer
    name: str
    tree: Path

    @property
    def url(self) -> str:
        return f"http://{self.server.host}:{self.server.port}/{self.name}.git"

    @property
    def bare(self) -> Path:
        return self.server.root / f"{self.name}.git"

    def commit(self, files: dict[str, str], *, branch: str = "main") -> str:
        """Write `files`, commit and push; a value that begins with "-> " makes a link."""
        git("checkout", "-q", "-B", branch, cwd=self.tree)
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if text.startswith("-> "):
                path.symlink_to(text.removeprefix("-> "))
            else:
                path.write_text(text)
        git("add", "-A", cwd=self.tree)
        git("commit", "-q", "-m", "a change", "--allow-empty", cwd=self.tree)
        git("push", "-q", "-f", str(self.bare), branch, cwd=self.tree)
        return git("rev-parse", "HEAD", cwd=self.tree)

    def add_submodule(self, path: str, url: str, commit: str) -> str:
        """A submodule entry as somebody may write it, whatever its URL."""
        entry = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
        (self.tree / ".gitmodules").write_text(entry)
        git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}", cwd=self.tree)
        git("add", ".gitmodules", cwd=self.tree)
        git("commit", "-q", "-m", "a submodule", cwd=self.tree)
        git("push", "-q", "-f", str(self.bare), "main", cwd=self.tree)
        return git("rev-parse", "HEAD", cwd=self.tree)


class _Threaded(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False


class GitServer:
    """A context manager; `requests` are the paths that were asked for, `authorised` what was shown."""

    def __init__(self, *, token: str = "", host: str = "127.0.0.1") -> None:
        self.token = token
        self.host = host
        self.root = make_scratch()
        self.requests: list[str] = []
        self.shown: list[str] = []
        self.redirect = ""
        self._server = _Threaded((host, 0), _handler(self))
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        discard(self.root)

    def create(self, name: str, files: dict[str, str]) -> Repository:
        """A repository with one commit on main."""
        bare = self.root / f"{name}.git"
        bare.mkdir(parents=True)
        git("init", "-q", "--bare", "--initial-branch=main", cwd=bare)
        tree = self.root / "trees" / name
        tree.mkdir(parents=True)
        git("init", "-q", "--initial-branch=main", cwd=tree)
        repository = Repository(self, name, tree)
        repository.commit(files)
        return repository

    def backend(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> bytes:
        """What `git http-backend` answers, a CGI script's output."""
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "HTTP_GIT_PROTOCOL": headers.get("git-protocol", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
        return done.stdout


def _handler(server: GitServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self._body())

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def _answer(self, body: bytes) -> None:
            server.requests.append(self.path)
            if shown := self.headers.get("authorization"):
                server.shown.append(shown)
            if server.redirect:
                self.send_response(302)
                self.send_header("Location", server.redirect + self.path)
                self.end_headers()
                return
            wanted = base64.b64encode(f"git:{server.token}".encode()).decode()
            if server.token and shown != f"Basic {wanted}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            head, _, content = server.backend(self.command, path, query, headers, body).partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class SshServer:
    """sshd on loopback that lets one key in, for the repositories of a GitServer. A context manager; needs root."""

    def __init__(self, server: GitServer) -> None:
        self.server = server
        self.folder = make_scratch()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str:
        if os.geteuid() != 0:
            return "sshd needs root"
        return "" if shutil.which("sshd", path="/usr/sbin:/usr/bin") else "not installed: openssh-server"

    def __enter__(self) -> Self:
        for name in ("host", "client"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
            subprocess.run(command, check=True)
        shutil.copy(self.folder / "client.pub", self.folder / "authorized_keys")
        self.folder.chmod(0o755)
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            "PermitRootLogin yes\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log)
        eventually(lambda: b"listening" in (self.folder / "log").read_bytes().lower(), what="sshd listens")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
        discard(self.folder)

    @property
    def key(self) -> str:
        return (self.folder / "client").read_text()

    @property
    def known_hosts(self) -> str:
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host.pub').read_text()}"

    def url(self, repository: Repository) -> str:
        return f"ssh://root@127.0.0.1:{self.port}{repository.bare}"
