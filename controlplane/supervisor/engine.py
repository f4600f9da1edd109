"""The engine of this machine: what `--engine` means, and what to say when there is none."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path


def _candidates() -> dict[str, list[str]]:
    user = os.environ.get("XDG_RUNTIME_DIR")
    return {
        "docker": ["/run/docker.sock", "/var/run/docker.sock"],
        "podman": ["/run/podman/podman.sock", *([f"{user}/podman/podman.sock"] if user else [])],
    }


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def agent_arguments(choice: str) -> list[str]:
    """What the agent is told: nothing for auto (it looks by itself, again and again), else its `--engine`."""
    if choice == "auto":
        return []
    if choice in ("docker", "podman"):
        paths = _candidates()[choice]
        return ["--engine", f"unix://{next((path for path in paths if Path(path).exists()), paths[0])}"]
    return ["--engine", choice]


def describe(choice: str) -> str:
    """Words for the terminal: the engine that answers, or that there is none and what to do."""
    if choice == "none":
        return "No engine on this machine, as asked (--engine none). Add other hosts in the browser."
    if choice == "auto":
        paths = [path for group in _candidates().values() for path in group]
        if (url := os.environ.get("DOCKER_HOST", "")).startswith("unix://"):
            paths.append(url.removeprefix("unix://"))
    else:
        paths = _candidates().get(choice) or [choice.removeprefix("unix://")]
    for path in paths:
        if _answers(path):
            return f"Engine of this machine: {path}."
    return (
        f"No engine on this machine: nothing answers on {', '.join(dict.fromkeys(paths))}.\n"
        f"{_advice()} All else works, and other hosts can be added in the browser."
    )


def _advice() -> str:
    if shutil.which("podman") and not shutil.which("dockerd"):
        return "Podman is here but serves no socket: systemctl enable --now podman.socket."
    return "Install Docker (apt-get install docker.io) or Podman; it is found while Gantry runs."
