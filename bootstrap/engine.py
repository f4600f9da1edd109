"""The engine of this machine: where Docker's and Podman's sockets are, whether one answers, what `--engine` asks."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path


def sockets() -> dict[str, list[str]]:
    """Where each engine's socket may be, best first."""
    user = os.environ.get("XDG_RUNTIME_DIR")
    return {
        "docker": ["/run/docker.sock", "/var/run/docker.sock"],
        "podman": ["/run/podman/podman.sock", *([f"{user}/podman/podman.sock"] if user else [])],
    }


def all_sockets() -> list[str]:
    """Every place where `auto` looks."""
    paths = [path for group in sockets().values() for path in group]
    if (url := os.environ.get("DOCKER_HOST", "")).startswith("unix://"):
        paths.append(url.removeprefix("unix://"))
    return list(dict.fromkeys(paths))


def answers(path: str) -> bool:
    """Does somebody accept connections there? The file alone outlives its engine."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def answering(paths: Sequence[str]) -> str | None:
    """The first of `paths` on which somebody answers."""
    return next((path for path in paths if answers(path)), None)


def holds_containers(home: Path) -> bool:
    """Has the native engine of this home made containers? Then it stays this machine's engine."""
    try:
        return any((home / "engine" / "containers").iterdir())
    except OSError:
        return False


def choice(arguments: Sequence[str]) -> str:
    """The value of `--engine` on the command line of `up`, else GANTRY_ENGINE, else auto. Nothing is checked."""
    found = os.environ.get("GANTRY_ENGINE", "auto")
    for at, word in enumerate(arguments):
        if word == "--engine" and at + 1 < len(arguments):
            found = arguments[at + 1]
        elif word.startswith("--engine="):
            found = word.partition("=")[2]
    return found


def wants_native(arguments: Sequence[str]) -> bool:
    """Will `up` with these arguments come to the native engine, if its parts are there?"""
    wish = choice(arguments)
    return wish == "native" or (wish == "auto" and answering(all_sockets()) is None)
