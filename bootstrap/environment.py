"""The virtual environment `.venv` of this clone, made by uv from uv.lock.

A stamp in the environment holds a digest of the files it was made from: while it matches, a start costs
one read and no uv. Nothing is written outside the clone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap.packages import UV_NEEDS, install, which
from bootstrap.terminal import say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV_VERSION = "0.13.8"
_TOOLS = ROOT / ".gantry"
_STAMP = VENV / "gantry-stamp"
_SOURCES = ("uv.lock", "pyproject.toml", "agent/pyproject.toml", "bootstrap/environment.py")


class CannotPrepare(Exception):
    """The environment could not be made; the message says what to do."""


def digest() -> str:
    """A digest (hex) of what decides the environment's content."""
    total = hashlib.sha256()
    for name in _SOURCES:
        total.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return total.hexdigest()


def prepare(*, development: bool) -> Path:
    """Make or mend `.venv` and give its Python. `development` adds what tests and checks need.

    Raises CannotPrepare when uv cannot be had or fails.
    """
    wanted = digest()
    stamped = _STAMP.read_text().split() if _STAMP.is_file() else []
    if PYTHON.exists() and stamped[:1] == [wanted] and (stamped[1:] == ["development"] or not development):
        return PYTHON
    uv = _uv()
    say("making the environment from uv.lock …")
    _STAMP.unlink(missing_ok=True)
    # An environment once made for development keeps its tools when `up` renews it (--inexact).
    kind = [] if development else ["--no-dev", "--inexact"]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_PROJECT_ENVIRONMENT": str(VENV), "UV_NO_PROGRESS": "1"}
    command = [*uv, "sync", "--frozen", "--compile-bytecode", "--quiet", *kind]
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=2, check=False).returncode != 0:
        raise CannotPrepare("uv could not make the environment; its message above says why.")
    _STAMP.write_text(f"{wanted} {'development' if development else 'app'}\n")
    return PYTHON


def _works(*uv: str) -> bool:
    """A uv that runs: a version manager's stand-in is on the PATH without one behind it."""
    try:
        return subprocess.run([*uv, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _uv() -> list[str]:
    """The words that call uv: the one on the PATH, else a private one, installed when it is not there."""
    if (found := which("uv")) and _works(found):
        return [found]
    folder = _TOOLS / f"uv-{UV_VERSION}"
    private = folder / "bin" / "uv"
    if _works(str(private)):
        return [str(private)]
    if lacking := install(UV_NEEDS, "The environment"):
        names = " ".join(need.package for need in lacking)
        raise CannotPrepare(
            f"Without {names} the environment cannot be made.\n"
            f"  Either install them (apt-get install {names}), or put uv on the PATH: https://docs.astral.sh/uv/"
        )
    say(f"fetching uv {UV_VERSION} …")
    shutil.rmtree(folder, ignore_errors=True)
    steps = (
        [sys.executable, "-I", "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"],
    )
    for step in steps:
        if subprocess.run(step, stdout=2, check=False).returncode != 0:
            raise CannotPrepare("uv could not be fetched from PyPI; the message above says why.")
    return [str(private)]
