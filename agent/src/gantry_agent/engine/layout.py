"""Where the engine keeps things.

ROOT/                       mode 0711; survives a reboot
  engine.sqlite3            images, layers, containers, volumes, networks
  reserve                   room given up when the disk is full, so that the database can still be written
  blobs/sha256/HEX          configs, manifests and compressed layers, exactly as their digest says
  layers/CHAIN/diff/        one unpacked layer, named by the hex of its chain id; read-only once there
  l/SHORT                   link to ../layers/CHAIN/diff: an overlay's option string is limited to a page
  containers/ID/            upper/ work/ merged/ of the writable layer, bundle/, the log
  volumes/NAME/_data/
  caches/KEY/               what RUN --mount=type=cache keeps from build to build
  tmp/                      staging, on the same filesystem; whatever lies here at start is swept
RUN/                        mode 0700; on tmpfs, gone after a reboot
  exits/                    conmon's exit files
  sockets/                  conmon's attach sockets
  runtime/                  the OCI runtime's own state
  netns/                    network namespaces by container id
  secrets/                  of builds under way; made when one has any
"""

import contextlib
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

GETFLAGS, SETFLAGS, TOPDIR = 0x80086601, 0x40086602, 0x20000  # linux/fs.h


@dataclass(frozen=True)
class Layout:
    """The engine's folders. `make` creates them."""

    root: Path
    run: Path

    @classmethod
    def at(cls, root: Path, run: Path | None = None) -> "Layout":
        """The layout for a root folder; RUN is /run/gantry-engine/<hash of the root> unless given: unix socket
        paths are limited to 107 bytes."""
        root = root.resolve()
        short = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        return cls(root, run or Path("/run/gantry-engine") / short)

    @property
    def database(self) -> Path:
        return self.root / "engine.sqlite3"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def layers(self) -> Path:
        return self.root / "layers"

    @property
    def links(self) -> Path:
        return self.root / "l"

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def caches(self) -> Path:
        return self.root / "caches"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def exits(self) -> Path:
        return self.run / "exits"

    @property
    def sockets(self) -> Path:
        return self.run / "sockets"

    @property
    def runtime(self) -> Path:
        return self.run / "runtime"

    @property
    def netns(self) -> Path:
        return self.run / "netns"

    @property
    def secrets(self) -> Path:
        return self.run / "secrets"

    def container(self, container_id: str) -> Path:
        """A container's own folder."""
        return self.containers / container_id

    def make(self) -> None:
        """Create every folder that is missing."""
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.blobs, self.layers, self.links, self.containers, self.volumes, self.tmp):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.containers, self.volumes, self.tmp):
            _spread(folder)
        self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.exits, self.sockets, self.runtime, self.netns):
            folder.mkdir(mode=0o700, exist_ok=True)


def _spread(folder: Path) -> None:
    """Tell ext4 that what lies in a folder is unrelated (chattr(1), +T): it then looks for inodes all over the disk.

    Side by side, a tree of 2,000 files takes three times as long to make where as many were deleted in the minutes
    before, as builds and pulls do it: each new file passes over all of theirs, which ext4 does not use again so soon.
    Other filesystems have no such mark, and no need of it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            flags = int.from_bytes(fcntl.ioctl(descriptor, GETFLAGS, bytes(4)), "little")
            if not flags & TOPDIR:
                fcntl.ioctl(descriptor, SETFLAGS, (flags | TOPDIR).to_bytes(4, "little"))
    finally:
        os.close(descriptor)
