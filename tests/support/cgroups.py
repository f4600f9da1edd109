"""The control groups of the native engine's containers, in whichever version this machine has them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def version() -> int:
    """2 where one tree holds all controllers; 1 also where an empty version 2 stands beside version 1."""
    return 2 if (ROOT / "cgroup.controllers").exists() else 1


def groups_of(container: str) -> list[Path]:
    """Those of a container that are there: one with version 2, one for each controller with version 1."""
    return [path for path in (ROOT / "gantry" / container, *ROOT.glob(f"*/gantry/{container}")) if path.exists()]


def setting(container: str, controller: str, *files: str) -> str:
    """What a container's `files` of `controller` hold: the name in version 1, then that in version 2."""
    folder = ROOT if version() == 2 else ROOT / controller
    return (folder / "gantry" / container / files[min(version(), len(files)) - 1]).read_text().strip()
