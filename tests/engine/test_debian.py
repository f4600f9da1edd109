"""Real Debian content in images made by docker, by podman's builder (buildah) and by skopeo, run here; and the reverse.

An image is the same when `export` of a container made from it has the same entries: names, kinds, modes, owners, sizes,
times, links, content.
"""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bare import machine
from tests.conftest import need
from tests.engine.test_image_archives import skopeo
from tests.support.engines import EngineProcess, Native, Podman, unique
from tests.support.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.podman, pytest.mark.registry]

LEFT_OUT = (
    "./usr/share",
    "./usr/lib/git-core",
    "./usr/lib/gcc",
    "./usr/lib/python3.11",
    "./usr/bin/git*",
    "./var/cache",
    "./var/lib/apt",
    "./dev",
    "./proc",
    "./sys",
)
CHANGES = """
set -e
rm -rf /usr/lib/python3/dist-packages /etc/dpkg
mkdir /etc/dpkg && echo new > /etc/dpkg/origins
ln /bin/ls /usr/bin/second-ls
ln -sfn /nowhere /etc/alternatives/awk
chown 33:44 /usr/bin/wc; chmod 4755 /usr/bin/wc
mkdir -p "/srv/a name/with spaces" /srv/$(printf 'x%.0s' $(seq 150))/$(printf 'y%.0s' $(seq 150))
(cd /srv/x*/y*; echo deep > file)
mv /etc/skel /etc/skeleton
dd if=/dev/zero of=/srv/sparse bs=1 count=1 seek=3000000 2> /dev/null
mkfifo /srv/fifo
"""
WITHIN = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", ".dockerenv", "dev", "proc", "sys", "run")


@pytest.fixture(scope="module")
def native() -> Iterator[Native]:
    need(Native.why_not())
    with Native() as engine:
        yield engine


@pytest.fixture(scope="module")
def debian(docker_engine: EngineProcess) -> str:
    """Debian with a second layer that changes it, in Docker: the reference of the image."""
    need(machine.why_not())
    name = f"gantry/{unique()}"
    out = [f"--exclude={path}" for path in LEFT_OUT]
    tree = ["tar", "-C", str(machine.tree()), "--numeric-owner", "--xattrs", *out, "-c", "."]
    with subprocess.Popen(tree, stdout=subprocess.PIPE) as packed:
        command = ["docker", "-H", f"unix://{docker_engine.socket}", "import", "-", f"{name}:1"]
        subprocess.run(command, stdin=packed.stdout, check=True, capture_output=True)
    container = unique()
    docker_engine.cli("run", "--network=none", "--name", container, f"{name}:1", "sh", "-c", CHANGES)
    docker_engine.cli("commit", "-c", 'CMD ["sh"]', container, f"{name}:2")
    docker_engine.cli("rm", container)
    return f"{name}:2"


def tree_of(engine: EngineProcess, name: str) -> dict[str, tuple[Any, ...]]:
    """Every entry of a container made from the image."""
    container = engine.expect(
        "POST", "/containers/create", {"Image": name, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    )["Id"]
    command = ["docker", "-H", f"unix://{engine.socket}", "export", container]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    engine.expect("DELETE", f"/containers/{container}")
    return dict(_entries(done.stdout))


def _entries(packed: bytes) -> Iterator[tuple[str, tuple[Any, ...]]]:
    inodes: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for entry in archive:
            name = entry.name.removeprefix("./").rstrip("/")
            if not name or name == "." or name.partition("/")[0] in WITHIN or name in WITHIN or name == "etc":
                continue
            if entry.islnk():  # which of two names comes first is the packer's choice
                inodes[name] = entry.linkname.removeprefix("./")
                continue
            file = archive.extractfile(entry) if entry.isfile() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else ""
            times = int(entry.mtime) if entry.isfile() else 0
            yield (
                name,
                (entry.type, entry.mode & 0o7777, entry.uid, entry.gid, entry.size, entry.linkname, times, content),
            )
    for name, first in inodes.items():
        yield f"link {min(name, first)}", (max(name, first),)


def linked(tree: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Without files that have several names: their one full entry may stand under either."""
    several = {name for key, (other, *_) in tree.items() if key.startswith("link ") for name in (key[5:], other)}
    return {name: entry for name, entry in tree.items() if name not in several}


def works(engine: EngineProcess, name: str) -> None:
    """It runs: dpkg knows its packages, perl computes, the changes are there."""
    script = (
        "dpkg -l | grep -c ^ii; perl -e 'print 6*7'; cat /srv/x*/y*/file /etc/dpkg/origins; stat -c %u:%g:%a /bin/wc"
    )
    said = engine.cli("run", "--rm", "--network=none", name, "sh", "-c", script).split()
    assert int(said[0]) > 60
    assert said[1:] == ["42deep", "new", "33:44:4755"]


def same(one: dict[str, tuple[Any, ...]], other: dict[str, tuple[Any, ...]]) -> None:
    assert len(one) > 2000
    one, other = linked(one), linked(other)
    different = [(name, entry, other.get(name)) for name, entry in one.items() if other.get(name) != entry]
    assert different[:5] == []
    assert set(other) - set(one) == set()


def test_an_image_of_docker_is_the_same_here(
    native: Native, docker_engine: EngineProcess, debian: str, tmp_path: Path
) -> None:
    docker_engine.cli("save", "-o", str(tmp_path / "a"), debian)
    native.cli("load", "-i", str(tmp_path / "a"))
    works(native, debian)
    same(tree_of(docker_engine, debian), tree_of(native, debian))
    assert (
        native.expect("GET", f"/images/{debian}/json")["Id"]
        == docker_engine.expect("GET", f"/images/{debian}/json")["Id"]
    )


def test_an_image_that_podman_built_is_the_same_here(
    native: Native, docker_engine: EngineProcess, podman_engine: Podman, debian: str, tmp_path: Path
) -> None:
    built = f"localhost/{unique()}:1"
    docker_engine.cli("save", "-o", str(tmp_path / "a"), debian)
    podman_engine.cli("load", "-i", str(tmp_path / "a"))
    base = docker_engine.expect("GET", f"/images/{debian}/json")["Id"]
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN rm -r /usr/lib/mime; echo b > /built\nUSER nobody\n")
    podman = [*podman_engine.command()[:5]]
    for command in (
        [*podman, "build", "--pull=never", "--network=none", "-q", "-t", built, str(tmp_path)],
        [*podman, "save", "--format=oci-archive", "-o", str(tmp_path / "b"), built],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=podman_engine.environment())
        assert done.returncode == 0, done.stderr
    native.cli("load", "-i", str(tmp_path / "b"))
    works(native, built)
    assert native.cli("run", "--rm", "--network=none", built, "sh", "-c", "cat /built; id -un") == "b\nnobody\n"
    same(tree_of(podman_engine, built), tree_of(native, built))


def test_an_image_that_skopeo_packed_anew_is_the_same_here(
    native: Native, docker_engine: EngineProcess, registry: Registry, debian: str, tmp_path: Path
) -> None:
    docker_engine.cli("save", "-o", str(tmp_path / "a"), debian)
    reference = registry.reference(f"gantry/{unique()}:zstd")
    skopeo(
        "copy", "--dest-tls-verify=false", "--dest-compress-format=zstd", "--format=oci",
        f"docker-archive:{tmp_path}/a:{debian}", f"docker://{reference}",
    )  # fmt: skip
    native.cli("pull", "-q", reference)
    works(native, reference)
    same(tree_of(docker_engine, debian), tree_of(native, reference))


def test_an_image_made_here_is_the_same_in_docker_and_podman(
    native: Native, docker_engine: EngineProcess, podman_engine: Podman, debian: str, tmp_path: Path
) -> None:
    if native.request("GET", f"/images/{debian}/json")[0] == 404:
        docker_engine.cli("save", "-o", str(tmp_path / "a"), debian)
        native.cli("load", "-i", str(tmp_path / "a"))
    name, container = f"shop.example/{unique()}:1", unique()
    native.cli(
        "run", "--network=none", "--name", container, debian, "sh", "-c", "rm -r /etc/skeleton /bin/ls; echo h > /here"
    )
    native.cli("commit", "-m", "made here", container, name)
    native.cli("rm", container)
    native.cli("save", "-o", str(tmp_path / "b"), name)
    for engine in (docker_engine, podman_engine):
        engine.cli("load", "-i", str(tmp_path / "b"))
        works(engine, name)
        same(tree_of(native, name), tree_of(engine, name))
