"""The engine of this machine: what `--engine` means for the agent, and what to say of it on the terminal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bootstrap.engine import all_sockets, answering, holds_containers, sockets
from bootstrap.packages import ENGINE_NEEDS, missing


def agent_arguments(choice: str, home: Path, run: Path) -> list[str]:
    """What the agent is told: nothing of sockets for auto (it looks by itself, again and again), and where its own
    engine keeps what it has."""
    own = ["--engine-root", str(home / "engine"), "--engine-socket", str(native_socket(run))]
    if choice == "auto":
        return own
    if choice == "native":
        return ["--engine", choice, *own]
    if choice in ("docker", "podman"):
        paths = sockets()[choice]
        return ["--engine", f"unix://{next((path for path in paths if Path(path).exists()), paths[0])}"]
    return ["--engine", choice]


def native_socket(run: Path) -> Path:
    """Where the native engine of this Gantry answers."""
    return run / "engine.sock"


def describe(choice: str, home: Path, run: Path) -> str:
    """Words for the terminal: the engine of this machine, or that there is none and what to do."""
    if choice == "none":
        return "No engine on this machine, as asked (--engine none). Add other hosts in the browser."
    if choice == "native" or (choice == "auto" and holds_containers(home)):
        return _native_problem() or _native(run)
    paths = all_sockets() if choice == "auto" else sockets().get(choice) or [choice.removeprefix("unix://")]
    if path := answering(paths):
        return f"Engine of this machine: {path}."
    advice = _advice()
    if choice == "auto":
        if not (problem := _native_problem()):
            return _native(run)
        advice = f"{problem}\n{advice}"
    return (
        f"No engine on this machine: nothing answers on {', '.join(paths)}.\n"
        f"{advice} All else works, and other hosts can be added in the browser."
    )


def _native(run: Path) -> str:
    return f"Engine of this machine: Gantry's own; docker -H unix://{native_socket(run)} works on it as well."


def _native_problem() -> str:
    """Why the native engine cannot run here, and what to do; empty when it can."""
    lacking = " ".join(need.package for need in missing(ENGINE_NEEDS))
    packages = f" and these packages: apt-get install {lacking}" if lacking else ""
    if os.geteuid() != 0:
        return f"Gantry's native engine needs root (sudo ./gantry up){packages}."
    return f"Gantry's native engine needs packages that are missing: apt-get install {lacking}" if lacking else ""


def _advice() -> str:
    if shutil.which("podman") and not shutil.which("dockerd"):
        return "Podman is here but serves no socket: systemctl enable --now podman.socket."
    return "Or install Docker (apt-get install docker.io) or Podman; it is found while Gantry runs."
