"""The images of the benchmarks, made once and kept in CACHE.

    image = realistic()          # two minutes, needs the network
    image = large()              # a minute
    image.serve(registry, "gantry/realistic:1")

Realistic: 8 gzip layers, about 209 MB, 461 MB as tar, 21,000 entries. 1. Debian bookworm, caches and /dev, /proc, /sys
emptied; 2.–4. Python packages; 5. random bytes; 6. text; 7. many small files; 8. one file.

Large: 8 gzip layers, about 1 GB, 1.4 GB as tar, 40,000 entries: random bytes, text and small files in turn.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support.registry import Registry

CACHE = Path(os.environ.get("GANTRY_BENCH_CACHE", "/var/tmp/gantry-bench"))
REALISTIC, LARGE = CACHE / "image-1", CACHE / "large-1"
SUITE = "bookworm"
DJANGO = ("Django==4.2.16", "asgiref", "sqlparse", "djangorestframework")
NUMPY = ("numpy==1.26.4",)
MORE = ("sqlalchemy", "requests", "urllib3", "idna", "certifi", "jinja2", "markupsafe", "pyyaml", "celery", "kombu")
AWS = ("botocore", "boto3", "lxml")
SEED = 20261120


def why_not() -> str:
    """Empty when the realistic image is there or can be made."""
    return _why_not(REALISTIC, "debootstrap", "tar", "gzip", "uv")


def why_not_large() -> str:
    """Empty when the large image is there or can be made."""
    return _why_not(LARGE, "tar", "gzip")


def _why_not(folder: Path, *programs: str) -> str:
    if (folder / "manifest.json").exists():
        return ""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        return f"the image of this benchmark: not installed: {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "the image of this benchmark: making it needs root"


@dataclass(frozen=True)
class Layered:
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


def realistic() -> Layered:
    """209 MB of Debian and Python packages, made on first use."""
    return _kept(
        REALISTIC,
        _debian,
        lambda tree: _packages(tree, DJANGO),
        lambda tree: _packages(tree, NUMPY),
        lambda tree: _packages(tree, MORE + AWS),
        _noise,
        _text,
        _many,
        lambda tree: (tree / "etc.ini").write_text("[gantry]\nbench = 1\n") and None,
    )


def large() -> Layered:
    """1 GB, made on first use. No two layers are alike: engines bring equal ones once."""
    return _kept(LARGE, *(partial(_large, number=number) for number in range(8)))


Maker = Callable[[Path], None]


def _kept(cache: Path, *makers: Maker) -> Layered:
    if not (cache / "manifest.json").exists():
        _make(cache, makers)
    return Layered(cache, (cache / "manifest.json").read_bytes())


def _make(cache: Path, makers: Sequence[Maker]) -> None:
    """One layer for each maker, which fills an empty folder."""
    folder = cache.with_name(f"{cache.name}-{os.getpid()}")
    folder.mkdir(parents=True)
    kind = "application/vnd.docker"
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
    folder.rename(cache)


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


def _noise(tree: Path, size: int = 60_000_000, seed: int = SEED) -> None:
    (tree / "noise").write_bytes(random.Random(seed).randbytes(size))


def _text(tree: Path, least: int = 80_000_000, seed: int = SEED) -> None:
    source = random.Random(seed)
    words = [f"{source.getrandbits(32):08x}" for _ in range(5000)]
    with (tree / "text").open("w") as file:
        size = 0
        while size < least:
            size += file.write(" ".join(source.choices(words, k=12)) + "\n")


def _many(tree: Path, numbers: Iterable[int] = range(300)) -> None:
    for number in numbers:
        lines = [f"def function_{number}_{each}(value):\n    return value + {each}\n" for each in range(60)]
        (tree / f"module_{number}.py").write_text("\n".join(lines))


def _large(tree: Path, number: int) -> None:
    """Random bytes in four layers, text in two and small files in two."""
    kind = ("noise", "text", "noise", "many")[number % 4]
    if kind == "noise":
        _noise(tree, 200_000_000, SEED + number)
    elif kind == "text":
        _text(tree, 220_000_000, SEED + number)
    else:
        _many(tree, range(number * 20_000, (number + 1) * 20_000))
