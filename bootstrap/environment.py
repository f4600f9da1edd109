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

from bootstrap.packages import UV_NEEDS, Need, missing, which
from bootstrap.terminal import say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV_VERSION = "0.13.8"
_PRIVATE_UV = ROOT / ".gantry" / f"uv-{UV_VERSION}" / "bin" / "uv"
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


def current(*, development: bool) -> bool:
    """Is the environment there, made from the present files, with the tools of development if wanted?"""
    stamped = _STAMP.read_text().split() if _STAMP.is_file() else []
    return PYTHON.exists() and stamped[:1] == [digest()] and (stamped[1:] == ["development"] or not development)


def needs(*, development: bool) -> tuple[Need, ...]:
    """The system packages without which `prepare` has to give up."""
    return () if current(development=development) or _present_uv() else UV_NEEDS


def prepare(*, development: bool) -> Path:
    """Make or mend `.venv` and give its Python. `development` adds what tests and checks need.

    Raises CannotPrepare when uv cannot be had or fails.
    """
    if current(development=development):
        return PYTHON
    program = uv()
    say("making the environment from uv.lock …")
    _STAMP.unlink(missing_ok=True)
    # An environment once made for development keeps its tools when `up` renews it (--inexact).
    kind = [] if development else ["--no-dev", "--inexact"]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_NO_PROGRESS": "1",
    }
    command = [program, "sync", "--frozen", "--compile-bytecode", "--quiet", *kind]
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=2, check=False).returncode != 0:
        raise CannotPrepare("uv could not make the environment; its message above says why.")
    _STAMP.write_text(f"{digest()} {'development' if development else 'app'}\n")
    return PYTHON


def uv() -> str:
    """The path of a uv, fetched if need be. Raises CannotPrepare."""
    return _present_uv() or _fetched_uv()


def _works(uv: str) -> bool:
    """A uv that runs: a version manager's stand-in is on the PATH without one behind it."""
    try:
        return subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _present_uv() -> str | None:
    """The uv on the PATH, else the private one of an earlier start."""
    for found in (which("uv"), str(_PRIVATE_UV)):
        if found and _works(found):
            return found
    return None


def _fetched_uv() -> str:
    """A private uv of the pinned version, from PyPI."""
    if lacking := missing(UV_NEEDS):
        names = " ".join(need.package for need in lacking)
        raise CannotPrepare(
            f"without {names} the environment cannot be made.\n"
            f"  Either install them (apt-get install {names}), or put uv on the PATH: https://docs.astral.sh/uv/"
        )
    say(f"fetching uv {UV_VERSION} …")
    folder = _PRIVATE_UV.parent.parent
    shutil.rmtree(folder, ignore_errors=True)
    steps = (
        [sys.executable, "-I", "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"],
    )
    for step in steps:
        if subprocess.run(step, stdout=2, check=False).returncode != 0:
            raise CannotPrepare("uv could not be fetched from PyPI; the message above says why.")
    return str(_PRIVATE_UV)
