"""The native engine on a host with a small disk.

with SmallDisk() as engine:
    engine.free                       # bytes
"""

from __future__ import annotations

import os
import subprocess

from tests.support.engines import Native

ROOM = 96 << 20  # bytes
FILES = 20_000


class SmallDisk(Native):
    """Its images and containers lie on a filesystem of ROOM bytes."""

    @classmethod
    def why_not(cls) -> str:
        return super().why_not() or ("" if os.geteuid() == 0 else "native: only root mounts a filesystem")

    def prepare(self) -> None:
        super().prepare()
        self.root.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={ROOM},nr_inodes={FILES}", "gantry-test", self.root], check=True
        )

    def discard(self) -> None:
        try:
            super().discard()
        finally:
            subprocess.run(["umount", "-l", self.root], check=False, capture_output=True)

    @property
    def free(self) -> int:
        """Bytes."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize
