"""The commands of `./gantry`. Each prepares what it needs, then becomes the program that does the work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bootstrap.engine import wants_native
from bootstrap.environment import ROOT, CannotPrepare, current, needs, prepare, uv
from bootstrap.packages import (
    BENCH_NEEDS,
    ENGINE_NEEDS,
    ENGINE_WISHES,
    GIT_NEED,
    REDIS_NEED,
    SSH_NEED,
    TEST_NEEDS,
    install,
    search_path,
)
from bootstrap.terminal import say

HELP = """\
Gantry: containers and images on many hosts, in the browser.

  ./gantry up [options]     start everything; the first start prints the link that makes an administrator
      --listen HOST:PORT          where the pages are served (127.0.0.1:8420)
      --gateway-listen HOST:PORT  where hosts dial in (the same host, the port after)
      --tls [CERT KEY]            serve over TLS, with a self-made certificate unless one is given
      --engine auto|docker|podman|native|none|unix:///PATH
                                  the engine of this machine (auto: the first socket of Docker or
                                  Podman that answers, else native: Gantry's own, which needs root)
      --home DIR                  the folder of all state (/var/lib/gantry for root,
                                  else ~/.local/state/gantry)
  ./gantry test [pytest arguments]   run the tests, installing what they need
  ./gantry check                     formatting, lint, types, imports, migrations
  ./gantry bench [NAME] [--json]     measure against the engines themselves
  ./gantry manage COMMAND …          Django's own commands

Missing system packages are named, then installed as root or with sudo: on a terminal after asking,
otherwise at once. GANTRY_INSTALL=no declines without a question, GANTRY_INSTALL=yes consents.
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command; give back the exit code where it does not replace this process."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if arguments else 2
    command = COMMANDS.get(arguments[0])
    if command is None:
        say(f"there is no command “{arguments[0]}”; ./gantry --help lists them.")
        return 2
    os.environ["PATH"] = search_path()
    try:
        return command(list(arguments[1:]))
    except CannotPrepare as exc:
        say(str(exc))
        return 1
    except KeyboardInterrupt:
        return 130


# Two files at a time: engines, browsers and clocks leave a core idle most of the time. In the order collected, since
# browser tests must come last (tests/conftest.py).
WHOLE_RUN = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def _become(python: Path, *arguments: str) -> NoReturn:
    """Replace this process: signals and the exit code are then the program's own."""
    sys.stdout.flush()
    os.execv(python, [str(python), *arguments])


def _environment(*, development: bool) -> Path:
    install(needs(development=development), "The environment")
    return prepare(development=development)


def up(arguments: list[str]) -> int:
    if set(arguments) & {"-h", "--help"}:
        print(HELP, end="")
        return 0
    began, at_once = time.time(), current(development=False)
    # Declined, `up` goes on: it says itself what it cannot start.
    install([*needs(development=False), REDIS_NEED, GIT_NEED, SSH_NEED], "Gantry")
    if os.geteuid() == 0 and wants_native(arguments):
        install([*ENGINE_NEEDS, *ENGINE_WISHES], "The engine of this machine, Gantry's own,")
    python = prepare(development=False)
    # The time that `up` prints is this start's own; what had to be installed first is not counted.
    os.environ["GANTRY_BEGAN"] = str(began if at_once else time.time())
    _become(python, str(ROOT / "manage.py"), "up", *arguments)


def test(arguments: list[str]) -> int:
    if lacking := install([*needs(development=True), *TEST_NEEDS], "The full test run"):
        names = ", ".join(f"{need.package} ({need.purpose})" for need in lacking)
        say(f"going on without {names}: tests that need them are skipped and listed at the end.")
    python = prepare(development=True)
    os.chdir(ROOT)
    _become(python, "-m", "pytest", *(arguments or WHOLE_RUN))


def check(arguments: list[str]) -> int:
    """Every check runs, so that one call shows all there is to mend; 1 when any failed."""
    python = _environment(development=True)
    tools = python.parent
    steps: dict[str, list[str | Path]] = {
        "format": [tools / "ruff", "format", "--check", "."],
        "lint": [tools / "ruff", "check", "."],
        "types": [tools / "mypy"],
        "imports": [tools / "lint-imports"],
        "migrations": [python, "manage.py", "makemigrations", "--check", "--dry-run"],
    }
    failed = []
    with tempfile.TemporaryDirectory(prefix="gantry-check-") as home:
        environment = {**os.environ, "GANTRY_HOME": home}
        for name, step in steps.items():
            if subprocess.run([str(word) for word in step], cwd=ROOT, env=environment, check=False).returncode:
                failed.append(name)
    say(f"check failed: {', '.join(failed)}." if failed else "check passed.")
    return 1 if failed else 0


def bench(arguments: list[str]) -> int:
    install([*needs(development=True), *BENCH_NEEDS], "The benchmark")
    python = prepare(development=True)
    os.environ["PATH"] += f":{Path(uv()).parent}"  # fetches what the realistic image is made of
    os.chdir(ROOT)
    _become(python, "-m", "bench", *arguments)


def manage(arguments: list[str]) -> int:
    _become(_environment(development=False), str(ROOT / "manage.py"), *arguments)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "up": up,
    "test": test,
    "check": check,
    "bench": bench,
    "manage": manage,
}
