"""A PostgreSQL of a test's own: a private cluster in a scratch folder, on a unix socket alone.

with PostgresServer() as server:
    server.url                     # for DATABASE_URL

again_on_postgres(["tests/…"])     # files of tests once more, there
"""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.conftest import need
from tests.support.home import ROOT
from tests.support.scratch import discard, make_scratch


def _folder() -> Path | None:
    """Where the server's programs are: the newest of Debian's, else on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


class PostgresServer:
    """A context manager."""

    def __init__(self) -> None:
        self.home = make_scratch()
        self.data = self.home / "data"
        self.programs = _folder()
        # The server refuses to run as root.
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = pwd.getpwnam("postgres" if _is_user("postgres") else "nobody")
            self.user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
            os.chown(self.home, who.pw_uid, who.pw_gid)

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; empty when there can."""
        return "" if _folder() else "needs PostgreSQL's server (apt-get install postgresql)"

    @property
    def url(self) -> str:
        return f"postgresql://gantry@{str(self.home).replace('/', '%2F')}/postgres"

    def __enter__(self) -> Self:
        try:
            self._run(
                "initdb", "--pgdata", self.data, "--username=gantry", "--auth=trust", "--encoding=UTF8", "--no-sync"
            )
            options = f"-c listen_addresses='' -c unix_socket_directories='{self.home}' -c fsync=off"
            log = self.home / "log"
            self._run("pg_ctl", "start", "--wait", "--pgdata", self.data, "--log", log, "--options", options)
        except BaseException:
            discard(self.home)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate", "--pgdata", self.data)
        discard(self.home)

    def _run(self, program: str, *arguments: object) -> None:
        assert self.programs
        # A file: the server that pg_ctl starts keeps what it inherits open, and a pipe would never end.
        with (self.home / f"{program}.out").open("w+b") as said:
            done = subprocess.run(
                [str(self.programs / program), *map(str, arguments)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
                **self.user,
            )
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program}: {said.read()[-2000:].decode(errors='replace')}")


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def again_on_postgres(files: Sequence[str]) -> None:
    """Run these tests once more, on PostgreSQL; skips where there is none."""
    need(PostgresServer.why_not())
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GANTRY_", "PYTEST_"))}
    with PostgresServer() as server:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
            cwd=ROOT,
            env={**kept, "DATABASE_URL": server.url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
