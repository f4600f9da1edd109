"""Names, digests and documents, as Docker and OCI write them."""

import json
import string

import pytest
from gantry_agent.engine.errors import InvalidArgument, NotFound, Unsupported
from gantry_agent.engine.oci import (
    Descriptor,
    Digest,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    Reference,
    chain_ids,
    documents,
)
from hypothesis import example, given
from hypothesis import strategies as st

ZERO = "sha256:" + "0" * 64
COMPONENT = st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,5}){0,2}", fullmatch=True)
REGISTRY = st.sampled_from(
    ["docker.io", "localhost", "ghcr.io", "127.0.0.1:5000", "shop:80", "[::1]:5000", "A.example"]
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.binary(max_size=8).map(Digest.of)


@given(REGISTRY, st.lists(COMPONENT, min_size=1, max_size=3), TAG, st.none() | DIGEST)
@example("docker.io", ["my.shop", "web"], "1", None)
@example("docker.io", ["localhost", "web"], "1", None)
@example("docker.io", ["library", "ab" * 32], "1", None)
def test_a_reference_survives_being_written_and_read(
    registry: str, path: list[str], tag: str, digest: Digest | None
) -> None:
    text = f"{registry}/{'/'.join(path)}:{tag}" + (f"@{digest}" if digest else "")
    reference = Reference.parse(text)
    assert (reference.registry, reference.tag, reference.digest) == (registry, tag, digest)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(alphabet=string.printable + "äß€\u202e\0", max_size=80))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
    assert ".." not in reference.name
    assert not set(str(reference)) - set(string.ascii_letters + string.digits + "._-/:@[]")


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("index.docker.io/me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("shop:5000/a/b:2", "shop:5000/a/b:2", "shop:5000/a/b:2"),
        (f"app@{ZERO}", f"docker.io/library/app@{ZERO}", f"app@{ZERO}"),
        (f"app:1@{ZERO}", f"docker.io/library/app:1@{ZERO}", f"app:1@{ZERO}"),
    ],
)
def test_what_is_left_out_is_filled_in_as_docker_does(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "a:",
        "a//b",
        "a/../b",
        "../a",
        "-a",
        "a:-t",
        "a@sha256:12",
        "a@sha512:" + "0" * 128,
        "0" * 64,
        "a" * 256,
        "Shop/App",
        "a b",
        "a\n",
        "a:t\n",
        "http://a/b",
        f"a@{ZERO}\n",
        "a:" + "t" * 129,
    ],
)
def test_a_reference_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:../../x",
        "sha256:" + "0" * 63,
        "sha256:" + "A" * 64,
        "md5:" + "0" * 32,
        ZERO + "\n",
        7,
        None,
    ],
)
def test_a_digest_is_nothing_but_a_sha256(text: object) -> None:
    with pytest.raises(InvalidArgument):
        Digest.parse(text)


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second, third = (Digest.of(bytes([number])) for number in range(3))
    two = Digest.of(f"{first} {second}".encode())
    assert chain_ids([first, second, third]) == [first, two, Digest.of(f"{two} {third}".encode())]
    assert chain_ids([]) == []


def descriptor(**fields: object) -> dict[str, object]:
    return {"mediaType": documents.OCI_LAYER_GZIP, "digest": ZERO, "size": 3, **fields}


def manifest(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": descriptor(), "layers": [descriptor()], **fields}).encode()


def test_a_document_that_is_both_index_and_manifest_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="both manifests and layers"):
        documents.parse(manifest(manifests=[]))


@pytest.mark.parametrize("said", [documents.OCI_INDEX, documents.DOCKER_INDEX, documents.DOCKER_MANIFEST])
def test_a_document_that_contradicts_the_transport_is_refused(said: str) -> None:
    with pytest.raises(InvalidArgument):
        documents.parse(manifest(mediaType=documents.OCI_MANIFEST), said)


def test_a_manifest_without_a_media_type_is_read_as_the_transport_says() -> None:
    found = documents.parse(manifest(), f"{documents.OCI_MANIFEST}; charset=utf-8")
    assert isinstance(found, Manifest)
    assert found.media_type == documents.OCI_MANIFEST
    with pytest.raises(InvalidArgument):
        documents.parse(manifest(), documents.OCI_INDEX)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff",
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"[" * 200_000,
        b" " * (documents.MAX_DOCUMENT + 1),
        manifest(schemaVersion=3),
        manifest(layers=None),
        manifest(layers=[descriptor(size=-1)]),
        manifest(layers=[descriptor(size=True)]),
        manifest(layers=[descriptor(size=1 << 63)]),
        manifest(layers=[descriptor(digest="sha256:../../x")]),
        manifest(layers=[descriptor()] * 501),
        manifest(layers=["x"]),
        manifest(config=None),
        manifest(mediaType=7),
        manifest(mediaType="text/plain"),
    ],
)
def test_a_broken_document_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        documents.parse(raw)


def test_schema_1_is_named() -> None:
    with pytest.raises(Unsupported, match="schema 1"):
        documents.parse(json.dumps({"schemaVersion": 1, "fsLayers": []}).encode())


def test_a_manifest_made_here_reads_back() -> None:
    layer = Descriptor(documents.DOCKER_LAYER_GZIP, Digest.of(b"l"), 7)
    made = Manifest.make(Descriptor(documents.DOCKER_CONFIG, Digest.of(b"c"), 5), (layer,))
    assert Manifest.parse(made.raw, documents.DOCKER_MANIFEST) == made


def index(*platforms: tuple[str, str, str] | None) -> Index:
    entries = [
        descriptor(
            mediaType=documents.OCI_MANIFEST,
            digest=Digest.of(bytes([number])),
            **({"platform": dict(zip(("os", "architecture", "variant"), each, strict=True))} if each else {}),
        )
        for number, each in enumerate(platforms)
    ]
    found = documents.parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(found, Index)
    return found


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("linux/amd64", 0), ("linux/arm64", 2), ("linux/arm/v7", 4), ("linux/arm/v6", 3), ("linux/arm", 4)],
)
def test_the_manifest_of_the_platform_is_chosen(wanted: str, chosen: int) -> None:
    found = index(
        ("linux", "amd64", ""), ("windows", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "arm", "v6"),
        ("linux", "arm", "v7"), ("unknown", "unknown", ""),
    )  # fmt: skip
    assert found.choose(Platform.parse(wanted)).digest == Digest.of(bytes([chosen]))


def test_a_platform_that_is_not_there_is_said_as_docker_says_it() -> None:
    with pytest.raises(NotFound, match="no matching manifest for linux/riscv64 in the manifest list entries"):
        index(("linux", "amd64", "")).choose(Platform.parse("linux/riscv64"))


@pytest.mark.parametrize(
    "data",
    [{}, {"rootfs": []}, {"rootfs": {"diff_ids": ["x"]}}, {"rootfs": {"diff_ids": []}, "config": []},
     {"rootfs": {"diff_ids": [ZERO] * 501}}, {"rootfs": {"diff_ids": 7}}, {"rootfs": {}, "history": {}},
     {"rootfs": {}, "config": {"Env": [1]}}, {"rootfs": {}, "config": {"Labels": {"a": 1}}}],
)  # fmt: skip
def test_what_is_no_configuration_of_an_image_is_refused(data: object) -> None:
    with pytest.raises(InvalidArgument):
        ImageConfig.parse(json.dumps(data).encode())
