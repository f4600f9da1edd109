"""The realistic image of the benchmarks: 8 gzip layers, about 209 MB, 461 MB as tar, 21,000 entries.

    image = realistic()          # built once (two minutes, needs the network), then kept in CACHE
    image.serve(registry, "gantry/realistic:1")

1. Debian bookworm, caches and /dev, /proc, /sys emptied; 2.–4. Python packages; 5. random bytes; 6. text; 7. many small
files; 8. one file.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.registry import Registry

CACHE = Path(os.environ.get("GANTRY_BENCH_CACHE", "/var/tmp/gantry-bench")) / "image-1"
SUITE = "bookworm"
DJANGO = ("Django==4.2.16", "asgiref", "sqlparse", "djangorestframework")
NUMPY = ("numpy==1.26.4",)
MORE = ("sqlalchemy", "requests", "urllib3", "idna", "certifi", "jinja2", "markupsafe", "pyyaml", "celery", "kombu")
AWS = ("botocore", "boto3", "lxml")
SEED = 20261120


def why_not() -> str:
    """Empty when the image is there or can be made."""
    if (CACHE / "manifest.json").exists():
        return ""
    missing = [name for name in ("debootstrap", "tar", "gzip", "uv") if not shutil.which(name)]
    if missing:
        return f"the realistic image: not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "the realistic image: making it needs root"


@dataclass(frozen=True)
class Realistic:
    """The image's blobs as files named by the hex of their digest."""

    folder: Path
    manifest: bytes

    @property
    def layers(self) -> list[Path]:
        """The compressed layers, lowest first."""
        return [self.folder / layer["digest"][7:] for layer in json.loads(self.manifest)["layers"]]

    def serve(self, registry: Registry, name: str) -> str:
        """Push it; the reference."""
        repository, _, tag = name.rpartition(":")
        document = json.loads(self.manifest)
        for blob in (*document["layers"], document["config"]):
            registry._upload(repository, (self.folder / blob["digest"][7:]).read_bytes())
        registry._request("PUT", f"/v2/{repository}/manifests/{tag}", self.manifest, document["mediaType"])
        return registry.reference(name)


def realistic() -> Realistic:
    """The image, made on first use."""
    if not (CACHE / "manifest.json").exists():
        _make()
    return Realistic(CACHE, (CACHE / "manifest.json").read_bytes())


def _make() -> None:
    folder = CACHE.with_name(f"{CACHE.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    kind = "application/vnd.docker"
    makers: list[Callable[[Path], None]] = [
        _debian,
        lambda tree: _packages(tree, DJANGO),
        lambda tree: _packages(tree, NUMPY),
        lambda tree: _packages(tree, MORE + AWS),
        _noise,
        _text,
        _many,
        lambda tree: (tree / "etc.ini").write_text("[gantry]\nbench = 1\n") and None,
    ]
    layers, diff_ids = [], []
    for number, maker in enumerate(makers):
        tree = folder / f"tree-{number}"
        tree.mkdir()
        maker(tree)
        plain = folder / "plain.tar"
        command = ["tar", "--numeric-owner", "--sort=name", "--mtime=@1700000000", "-C", str(tree), "-cf", str(plain)]
        subprocess.run([*command, "."], check=True)
        diff_ids.append(_digest(plain))
        subprocess.run(["gzip", "-n", "-6", str(plain)], check=True)
        packed = folder / "plain.tar.gz"
        digest, size = _digest(packed), packed.stat().st_size
        packed.rename(folder / digest[7:])
        layers.append({"mediaType": f"{kind}.image.rootfs.diff.tar.gzip", "size": size, "digest": digest})
        shutil.rmtree(tree)
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    ).encode()
    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    (folder / config_digest[7:]).write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.distribution.manifest.v2+json",
        "config": {"mediaType": f"{kind}.container.image.v1+json", "size": len(config), "digest": config_digest},
        "layers": layers,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    folder.rename(CACHE)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _debian(tree: Path) -> None:
    subprocess.run(["debootstrap", "--variant=minbase", SUITE, str(tree)], check=True, stdout=subprocess.DEVNULL)
    for name in ("var/cache/apt", "var/lib/apt/lists", "dev", "proc", "sys"):
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir(parents=True)


def _packages(tree: Path, names: tuple[str, ...]) -> None:
    target = tree / "usr/lib/python3/dist-packages"
    target.mkdir(parents=True)
    command = ["uv", "pip", "install", "-q", "--no-deps", "--python-version=3.11", f"--target={target}", *names]
    subprocess.run(command, check=True)


def _noise(tree: Path) -> None:
    (tree / "noise").write_bytes(random.Random(SEED).randbytes(60_000_000))


def _text(tree: Path) -> None:
    source = random.Random(SEED)
    words = [f"{source.getrandbits(32):08x}" for _ in range(5000)]
    with (tree / "text").open("w") as file:
        size = 0
        while size < 80_000_000:
            size += file.write(" ".join(source.choices(words, k=12)) + "\n")


def _many(tree: Path) -> None:
    for number in range(300):
        lines = [f"def function_{number}_{each}(value):\n    return value + {each}\n" for each in range(60)]
        (tree / f"module_{number}.py").write_text("\n".join(lines))
