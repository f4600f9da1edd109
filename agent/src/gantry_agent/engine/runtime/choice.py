"""Which programs run containers on this host: conmon, and crun or runc, whichever is there and works."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gantry_agent.engine.errors import Unavailable

from . import cgroups

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INITS = ("docker-init", "catatonit", "tini")


@dataclass(frozen=True)
class Programs:
    """Absolute paths, and what they can do."""

    conmon: str
    runtime: str
    name: str
    """crun or runc."""
    version: str
    init: str
    """A minimal init for HostConfig.Init; "" when none is installed."""
    skips_log_sync: bool
    """conmon knows --no-sync-log: an fsync of the log at death delays its news by tens of milliseconds."""
    hides_unified: bool
    """The helpers need the hybrid layout's empty version 2 tree out of sight."""


def choose(wanted: str = "") -> Programs:
    """Find the programs; `wanted`: the configuration's `runtime`, "" for whichever works. Raises Unavailable."""
    conmon = _find("conmon")
    if not conmon:
        raise Unavailable("containers need conmon: install the package conmon")
    name, runtime = _runtime(wanted)
    words = _output(runtime, "--version").split()
    version = words[2] if len(words) > 2 else ""
    init = next((path for each in INITS if (path := _find(each))), "")
    skips = "--no-sync-log" in _output(conmon, "--help")
    return Programs(conmon, runtime, name, version, init, skips, name == "crun" and cgroups.is_hybrid())


def _runtime(wanted: str) -> tuple[str, str]:
    # crun 1.8 makes a folder for its group where the version 2 tree was; systemd's hybrid layout lets nobody.
    suits_runc = cgroups.is_hybrid() and not os.access(cgroups.ROOT, os.W_OK)
    ours = ("runc", "crun") if suits_runc else ("crun", "runc")
    for name in (wanted,) if wanted else ours:
        if path := name if os.path.isabs(name) else _find(name):
            return re.sub(r"\W.*", "", Path(path).name), path
    raise Unavailable(f"containers need {wanted or 'crun or runc'}: install the package of that name")


def _find(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}:/usr/libexec/podman:/usr/lib/podman") or ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
