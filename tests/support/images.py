"""Small images made by hand: no network, no build. Layers are plain tars; the config is ours to choose.

image = busybox()                              # busybox-static with a link for every applet
image = busybox(layers=20, layer_size=200_000) # with many layers of random bytes
engine.load(image.archive("gantry/busybox:1"))
registry.push(image, "gantry/busybox:1")
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

CREATED = "2026-01-01T00:00:00Z"


def digest(content: bytes) -> str:
    """``sha256:…`` of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class TestImage:
    """An image: its layers (uncompressed tars, lowest first) and the ``config`` part of its configuration."""

    __test__ = False

    layers: tuple[bytes, ...]
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def configuration(self) -> bytes:
        """The image's configuration JSON; its digest is the image's id."""
        document = {
            "architecture": _architecture(),
            "os": "linux",
            "created": CREATED,
            "config": dict(self.config),
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]},
            "history": [{"created": CREATED, "created_by": f"layer {n}"} for n in range(len(self.layers))],
        }
        return json.dumps(document).encode()

    @cached_property
    def blobs(self) -> tuple[bytes, ...]:
        """The layers as a registry stores them: gzip, made without a time so that digests are stable."""
        return tuple(gzip.compress(layer, compresslevel=1, mtime=0) for layer in self.layers)

    @cached_property
    def manifest(self) -> bytes:
        """The Docker schema 2 manifest."""
        kind = "application/vnd.docker"
        document = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.distribution.manifest.v2+json",
            "config": {
                "mediaType": f"{kind}.container.image.v1+json",
                "size": len(self.configuration),
                "digest": digest(self.configuration),
            },
            "layers": [
                {
                    "mediaType": f"{kind}.image.rootfs.diff.tar.gzip",
                    "size": len(blob),
                    "digest": digest(blob),
                }
                for blob in self.blobs
            ],
        }
        return json.dumps(document).encode()

    @property
    def id(self) -> str:
        """What engines list as the image's id."""
        return digest(self.configuration)

    def archive(self, *references: str) -> bytes:
        """A docker-save archive under these references, for ``POST /images/load``."""
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        config = f"{self.id.removeprefix('sha256:')}.json"
        index = [{"Config": config, "RepoTags": list(references), "Layers": names}]
        files = dict(zip(names, self.layers, strict=True))
        return make_tar({**files, config: self.configuration, "manifest.json": json.dumps(index).encode()})


def make_tar(
    files: Mapping[str, bytes],
    *,
    links: Mapping[str, str] | None = None,
    folders: Mapping[str, int] | None = None,
    mode: int = 0o644,
) -> bytes:
    """A tar of files (name → content), symbolic links (name → target) and folders (name → mode)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, permissions in (folders or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, permissions
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
    return buffer.getvalue()


def busybox_why_not() -> str:
    """Empty when a static busybox is there, else the reason for a skip."""
    path = shutil.which("busybox")
    if not path:
        return "busybox: not installed (package busybox-static)"
    if _asks_for_a_loader(Path(path).read_bytes()):
        return f"busybox: {path} is not static (package busybox-static)"
    return ""


def busybox(*, layers: int = 0, layer_size: int = 100_000, extra: bytes = b"", **config: Any) -> TestImage:
    """busybox with a link for every applet, users root and nobody; ``config``: Cmd, Env, Labels …

    ``layers`` further layers of ``layer_size`` random bytes each do not compress, so they take their time
    over a slow registry. ``extra`` makes an image with another id.
    """
    path = shutil.which("busybox")
    assert path, busybox_why_not()
    applets = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    base = make_tar(
        {"bin/busybox": Path(path).read_bytes()},
        links={f"bin/{name}": "busybox" for name in applets if name != "busybox"},
        folders={"bin": 0o755, "tmp": 0o1777, "root": 0o700, "etc": 0o755, "proc": 0o555, "sys": 0o555},
        mode=0o755,
    )
    users = make_tar(
        {
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
            "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
            "etc/extra": extra,
        }
    )
    more = tuple(make_tar({f"data/{number}": os.urandom(layer_size)}) for number in range(layers))
    settings = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], **config}
    return TestImage((base, users, *more), settings)


def _asks_for_a_loader(program: bytes) -> bool:
    """Whether a 64-bit ELF has a program header of type PT_INTERP (elf(5)): then it is not static."""
    (table,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return any(struct.unpack_from("<I", program, table + n * size)[0] == 3 for n in range(count))


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
