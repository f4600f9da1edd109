"""save, load and import: to and from docker, podman and skopeo, and what a bad archive may not do."""

import bz2
import gzip
import io
import json
import lzma
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.conftest import need
from tests.support.engines import EngineProcess, Native, Podman, unique
from tests.support.images import TestImage, busybox, busybox_why_not, digest, make_tar
from tests.support.waiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def native() -> Iterator[Native]:
    need(Native.why_not(), busybox_why_not())
    with Native() as engine:
        yield engine


@pytest.fixture(scope="module")
def other() -> Iterator[Native]:
    """Another native engine, that has nothing yet."""
    need(Native.why_not())
    with Native() as engine:
        yield engine


def image_of(**files: str) -> TestImage:
    """An image with one layer for each file, whose content says which."""
    return TestImage(tuple(make_tar({name: text.encode()}) for name, text in files.items()), {"Cmd": ["/x"]})


def load(engine: EngineProcess, archive: bytes) -> list[dict[str, Any]]:
    """What the engine says while it loads."""
    status, answer = engine.request("POST", "/images/load", archive)
    assert status == 200, answer
    return [answer] if isinstance(answer, dict) else [json.loads(line) for line in answer.splitlines()]


def refusal(engine: EngineProcess, archive: bytes) -> str:
    """The error that loading ends with."""
    return str(load(engine, archive)[-1].get("error", ""))


def save(engine: EngineProcess, path: Path, *names: str) -> Path:
    engine.cli("save", "-o", str(path), *names)
    return path


def inspect(engine: EngineProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.expect("GET", f"/images/{name}/json")
    return found


def files_of(engine: Native, name: str) -> set[str]:
    """Every file of an image, from its unpacked layers."""
    data = inspect(engine, name)["GraphDriver"]["Data"]
    folders = [data["UpperDir"], *data.get("LowerDir", "").split(":")]
    found = [path for folder in folders if folder for path in Path(folder).rglob("*")]
    return {path.name for path in found if path.is_file()}


def disk_of(engine: Native) -> dict[str, list[str]]:
    """What the store holds, once its deletions are done."""
    eventually(lambda: not list((engine.root / "tmp").iterdir()), what="temporary files go")
    return {
        name: sorted(path.name for path in (engine.root / name).iterdir()) for name in ("blobs/sha256", "layers", "l")
    }


@pytest.mark.docker
def test_docker_loads_what_was_saved_here_and_the_reverse(
    native: Native, docker_engine: EngineProcess, tmp_path: Path
) -> None:
    image, name, second = busybox(extra=unique().encode()), f"{unique()}:1", f"{unique()}:2"
    native.load(image.archive(name, second))
    docker_engine.load(save(native, tmp_path / "a", name, second).read_bytes())
    assert set(inspect(docker_engine, name)["RepoTags"]) == {name, second}
    assert inspect(docker_engine, name)["Id"] == image.id
    assert docker_engine.cli("run", "--rm", "--network=none", name, "echo", "here") == "here\n"
    native.cli("rmi", name, second)
    assert load(native, save(docker_engine, tmp_path / "b", name).read_bytes())[-1] == {
        "stream": f"Loaded image: {name}\n"
    }
    assert inspect(native, name)["Id"] == image.id


@pytest.mark.podman
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_podman_loads_what_was_saved_here_and_the_reverse(
    native: Native, podman_engine: Podman, tmp_path: Path, form: str
) -> None:
    image, name = image_of(file=unique()), f"shop.example/{unique()}:1"
    native.load(image.archive(name))
    podman_engine.load(save(native, tmp_path / "a", name).read_bytes())
    assert inspect(podman_engine, name)["Id"].removeprefix("sha256:") == image.id.removeprefix("sha256:")
    native.cli("rmi", name)
    command = [*podman_engine.command()[:5], "save", "--format", form, "-o", str(tmp_path / "b"), name]
    subprocess.run(command, check=True, capture_output=True, env=podman_engine.environment())
    load(native, (tmp_path / "b").read_bytes())
    assert files_of(native, name) == {"file"}
    if form == "docker-archive":
        assert inspect(native, name)["Id"] == image.id


def skopeo(*arguments: str) -> str:
    need("" if shutil.which("skopeo") else "skopeo: not installed")
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_skopeo_reads_what_was_saved_here(native: Native, tmp_path: Path, form: str) -> None:
    image, name = image_of(a=unique(), b="b"), f"{unique()}:v1"
    native.load(image.archive(name))
    archive = save(native, tmp_path / "a", name)
    reference = f"docker-archive:{archive}:{name}" if form == "docker-archive" else f"oci-archive:{archive}:v1"
    assert digest(skopeo("inspect", "--config", "--raw", reference).encode()) == image.id
    skopeo("copy", reference, f"dir:{tmp_path}/dir")
    assert len(list((tmp_path / "dir").iterdir())) == 2 + 1 + 2  # layers, config, manifest and version


def test_zstd_layers_come_from_skopeo_and_go_to_docker(
    native: Native, docker_engine: EngineProcess, tmp_path: Path
) -> None:
    image, name = image_of(a=unique() * 100, b="b"), f"{unique()}:1"
    (tmp_path / "plain").write_bytes(image.archive(name))
    plain, packed = f"docker-archive:{tmp_path}/plain:{name}", f"oci-archive:{tmp_path}/zstd:{name}"
    skopeo("copy", "--dest-compress-format=zstd", plain, packed)
    assert load(native, (tmp_path / "zstd").read_bytes())[-1] == {"stream": f"Loaded image: {name}\n"}
    assert files_of(native, name) == {"a", "b"}
    saved = save(native, tmp_path / "saved", name).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names)) == 4 + 2 + 3  # each layer twice
    docker_engine.load(saved)
    assert inspect(docker_engine, name)["RootFS"] == inspect(native, name)["RootFS"]


@pytest.mark.registry
def test_a_pulled_image_keeps_its_manifest_through_save_and_load(
    native: Native, other: Native, registry: Any, tmp_path: Path
) -> None:
    image = image_of(a=unique(), b="b")
    reference = registry.push(image, f"gantry/{unique()}:1")
    native.cli("pull", reference)
    other.load(save(native, tmp_path / "a", reference).read_bytes())
    again = save(other, tmp_path / "b", reference)
    for archive in (tmp_path / "a", again):
        with tarfile.open(archive) as opened:
            index = json.load(opened.extractfile("index.json") or io.BytesIO())
        assert [each["digest"] for each in index["manifests"]] == [digest(image.manifest)]
    assert (tmp_path / "a").read_bytes() == again.read_bytes()


def test_several_images_share_their_layers_in_one_archive(native: Native, other: Native, tmp_path: Path) -> None:
    base = unique()
    first, second = image_of(a=base), image_of(a=base, b="b")
    one, two = f"{unique()}:1", f"{unique()}:1"
    native.load(first.archive(one))
    native.load(second.archive(two))
    saved = save(native, tmp_path / "a", one, two)
    with tarfile.open(saved) as opened:
        assert len(opened.getnames()) == 2 + 2 + 2 + 3  # layers, configurations, manifests, the rest
    told = load(other, saved.read_bytes())
    assert [each["stream"] for each in told if "stream" in each] == [f"Loaded image: {one}\n", f"Loaded image: {two}\n"]
    assert (inspect(other, one)["Id"], inspect(other, two)["Id"]) == (first.id, second.id)


def test_saving_by_repository_takes_every_tag_and_by_id_none(native: Native, tmp_path: Path) -> None:
    image, repository = image_of(a=unique()), unique()
    native.load(image.archive(f"{repository}:1", f"{repository}:2"))
    for name, tags in ((repository, [f"{repository}:1", f"{repository}:2"]), (image.id[7:19], None)):
        with tarfile.open(save(native, tmp_path / "a", name)) as opened:
            found = json.load(opened.extractfile("manifest.json") or io.BytesIO())
        assert [each["RepoTags"] for each in found] == [tags]
    assert native.request("GET", "/images/nothing/get")[0] == 404
    assert native.request("GET", "/images/get")[0] == 400
    assert native.request("GET", "/images/get", names="nothing")[0] == 404


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_a_compressed_archive_is_loaded(native: Native, compress: Callable[[bytes], bytes]) -> None:
    image, name = image_of(a=unique()), f"{unique()}:1"
    load(native, compress(image.archive(name)))
    assert inspect(native, name)["Id"] == image.id


def test_an_archive_of_an_old_docker_links_its_layers(native: Native) -> None:
    """Docker 20.10 and older write the second of two equal layers as a link to the first."""
    layer = make_tar({"a": unique().encode()})
    image, name = TestImage((layer, layer)), f"{unique()}:1"
    config = image.configuration
    index = [{"Config": "c.json", "RepoTags": [name], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    files = {"one/layer.tar": layer, "c.json": config, "manifest.json": json.dumps(index).encode()}
    load(native, make_tar(files, links={"two/layer.tar": "../one/layer.tar"}))
    assert inspect(native, name)["Id"] == image.id


def test_a_quiet_load_says_names_only(native: Native) -> None:
    name = f"{unique()}:1"
    archive = image_of(a=unique()).archive(name)
    assert native.request("POST", "/images/load", archive, quiet="1") == (200, {"stream": f"Loaded image: {name}\n"})


def test_a_name_that_moves_is_told(native: Native) -> None:
    first, name = image_of(a=unique()), f"{unique()}:1"
    load(native, first.archive(name))
    told = load(native, image_of(a=unique()).archive(name))
    message = f"The image {name} already exists, renaming the old one with ID {first.id} to empty string\n"
    assert {"stream": message} in told


def docker_archive(image: TestImage, name: str, **changed: bytes) -> bytes:
    """A docker-save archive with some of its files replaced; `_` in a key stands for `/`, `manifest` for the index."""
    files = {"0/layer.tar": image.layers[0], "c.json": image.configuration}
    index = [{"Config": "c.json", "RepoTags": [name], "Layers": ["0/layer.tar"]}]
    files["manifest.json"] = json.dumps(index).encode()
    names = {"layer": "0/layer.tar", "config": "c.json", "manifest": "manifest.json"}
    return make_tar({**files, **{names[key]: content for key, content in changed.items()}})


def oci_archive(image: TestImage, **changed: bytes) -> bytes:
    """An OCI layout; `blob`, `config`, `manifest` replace content while its name stays."""
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **descriptor(image.configuration)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **descriptor(image.blobs[0])}],
        }
    ).encode()
    kind = {"mediaType": "application/vnd.oci.image.manifest.v1+json"}
    index = {"schemaVersion": 2, "manifests": [{**kind, **descriptor(manifest)}]}
    contents = {"blob": image.blobs[0], "config": image.configuration, "manifest": manifest}
    files = {f"blobs/sha256/{digest(each)[7:]}": changed.get(key, each) for key, each in contents.items()}
    return make_tar({**files, "index.json": changed.get("index", json.dumps(index).encode()), "oci-layout": b"{}"})


def descriptor(content: bytes) -> dict[str, Any]:
    return {"digest": digest(content), "size": len(content)}


IMAGE = image_of(a="a")
OTHER = make_tar({"other": b"1"})
BOMB = gzip.compress(bytes(1 << 26), 9)
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", "neither manifest.json nor index.json"),
        (b"not a tar" * 1000, "cannot be read"),
        (b"\x1f\x8b" + bytes(1000), "broken"),
        (gzip.compress(docker_archive(IMAGE, "a:1"))[:-200], "broken|ends"),
        (docker_archive(IMAGE, "a:1")[:9000], "ends"),
        (make_tar({"x": b""}), "neither manifest.json nor index.json"),
        (docker_archive(IMAGE, "a:1", layer=OTHER), "does not match its diff id: got sha256:"),
        (docker_archive(IMAGE, "a:1", layer=gzip.compress(OTHER)), "does not match its diff id: got sha256:"),
        (docker_archive(IMAGE, "a:1", layer=b"\x1f\x8b" + bytes(99)), ""),
        (docker_archive(IMAGE, "a:1", layer=b"nonsense" * 200), ""),
        (docker_archive(IMAGE, "../../etc:1"), "invalid reference format"),
        (docker_archive(IMAGE, "a:1", config=b"[]"), "not a JSON object"),
        (docker_archive(IMAGE, "a:1", config=DEEP), "not JSON|nested"),
        (docker_archive(IMAGE, "a:1", config=b" " * (5 << 20)), "at most"),
        (docker_archive(IMAGE, "a:1", config=b'{"rootfs": {"diff_ids": ["sha256:../../x"]}}'), "invalid digest"),
        (docker_archive(IMAGE, "a:1", config=b'{"rootfs": {"diff_ids": []}}'), "has 1 layers .* configuration 0"),
        (docker_archive(IMAGE, "a:1", manifest=b"{}"), "not a list of images"),
        (docker_archive(IMAGE, "a:1", manifest=DEEP), "not"),
        (docker_archive(IMAGE, "a:1", manifest=b'[{"Config": "/etc/passwd"}]'), "has no file"),
        (
            docker_archive(IMAGE, "a:1", manifest=b'[{"Config": "c.json", "Layers": ["../../etc/passwd"]}]'),
            "has no file",
        ),
        (oci_archive(IMAGE, blob=gzip.compress(OTHER)), "does not match its digest: got sha256:"),
        (oci_archive(IMAGE, config=b"{}"), "does not match its digest: got sha256:"),
        (oci_archive(IMAGE, manifest=b"{}"), "does not match its digest: got sha256:"),
        (oci_archive(IMAGE, index=b'{"schemaVersion": 2, "manifests": [], "layers": []}'), "both manifests and layers"),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(native: Native, archive: bytes, message: str) -> None:
    before = disk_of(native)
    said = refusal(native, archive)
    assert said
    assert re.search(message, said), said
    assert disk_of(native) == before


def test_links_between_an_archives_files_lead_nowhere_outside(native: Native, tmp_path: Path) -> None:
    """The links are names in a table, never followed on the disk; a ring of them ends."""
    (tmp_path / "secret").write_bytes(make_tar({"secret": b"s"}))
    index = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["0/layer.tar"]}]).encode()
    for target in (str(tmp_path / "secret"), "../../../../../../.." + str(tmp_path / "secret"), "layer.tar"):
        archive = make_tar({"manifest.json": index, "c.json": IMAGE.configuration}, links={"0/layer.tar": target})
        assert "has no file" in refusal(native, archive)


def test_a_bomb_is_stopped_and_its_disk_given_back(native: Native) -> None:
    """2 GiB of zeros in 2 MB: more than the archive's own length allows."""
    assert native.process
    before, memory = disk_of(native), _memory(native.process.pid)
    big = tarfile.TarInfo("0/layer.tar")
    big.size = 2 << 30
    bomb = gzip.compress(big.tobuf(), 9) + BOMB * 32
    assert "expands more than" in refusal(native, bomb)
    assert disk_of(native) == before
    assert _memory(native.process.pid) - memory < 200 << 20


def _memory(pid: int) -> int:
    """The most memory a process has held at once, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


def test_a_client_that_goes_away_leaves_nothing(native: Native) -> None:
    before = disk_of(native)
    archive = image_of(a="x" * 3_000_000).archive("gone:1")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(native.socket))
        head = f"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: {len(archive)}\r\n\r\n"
        client.sendall(head.encode() + archive[:2_000_000])
        eventually(lambda: list((native.root / "tmp").iterdir()), what="the archive arrives")
    assert disk_of(native) == before
    assert native.request("GET", "/images/gone:1/json")[0] == 404
