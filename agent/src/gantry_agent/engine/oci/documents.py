"""JSON of unknown origin: manifests, indexes and configs, read with limits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gantry_agent.engine.errors import InvalidArgument, NotFound, Unsupported

from .digest import Digest
from .platform import Platform

MAX_DOCUMENT = 4 << 20  # bytes, as distribution and containerd limit it
MAX_DEPTH = 64
MAX_LAYERS = 500  # what an overlay can stack
MAX_ENTRIES = 1000  # manifests in an index

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

MANIFESTS = (DOCKER_MANIFEST, OCI_MANIFEST)
INDEXES = (DOCKER_INDEX, OCI_INDEX)
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
MAX_SIZE = 1 << 62


def read_json(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object of at most MAX_DOCUMENT bytes and MAX_DEPTH levels. Raises InvalidArgument."""
    if len(raw) > MAX_DOCUMENT:
        raise InvalidArgument(f"{what} has {len(raw)} bytes; at most {MAX_DOCUMENT} are read")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument(f"{what} is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    _bound(found, what)
    return found


def _bound(found: Any, what: str) -> None:
    """Refuse deep nesting, without recursion."""
    level = [found]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise InvalidArgument(f"{what} is nested more than {MAX_DEPTH} levels deep")


@dataclass(frozen=True)
class Descriptor:
    """A pointer to content: what it is, its name, its length in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    artifact_type: str = ""

    @classmethod
    def of(cls, found: Any) -> Self:
        """From a document's JSON. Raises InvalidArgument."""
        if not isinstance(found, dict):
            raise InvalidArgument("invalid descriptor: not a JSON object")
        size, media_type = found.get("size"), found.get("mediaType") or ""
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            raise InvalidArgument(f"invalid descriptor: size is {str(size)[:40]!r}, not a number of bytes")
        if not isinstance(media_type, str):
            raise InvalidArgument("invalid descriptor: mediaType is not a string")
        annotations, urls = found.get("annotations") or {}, found.get("urls") or []
        if not isinstance(annotations, dict) or not isinstance(urls, list):
            raise InvalidArgument("invalid descriptor: annotations or urls are of another type")
        return cls(
            media_type,
            Digest.parse(found.get("digest")),
            size,
            {str(name): str(value) for name, value in annotations.items()},
            tuple(str(url) for url in urls),
            Platform.of(found.get("platform")),
            str(found.get("artifactType") or ""),
        )

    def to_json(self) -> dict[str, Any]:
        """As a document holds it."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            found["urls"] = list(self.urls)
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        if self.platform:
            found["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                found["platform"]["variant"] = self.platform.variant
        return found


@dataclass(frozen=True)
class Manifest:
    """One image for one platform. `raw` are the exact bytes its digest names."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    @classmethod
    def parse(cls, raw: bytes, content_type: str = "") -> Self:
        """Raises InvalidArgument, also for an index."""
        document = parse(raw, content_type)
        if not isinstance(document, cls):
            raise InvalidArgument("expected an image manifest, found an index")
        return document

    @classmethod
    def make(cls, config: Descriptor, layers: tuple[Descriptor, ...], media_type: str = DOCKER_MANIFEST) -> Self:
        """A new manifest of these parts."""
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        return cls(json.dumps(document, indent=3).encode(), media_type, config, layers)


@dataclass(frozen=True)
class Index:
    """Manifests of one image for several platforms."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)

    def choose(self, wanted: Platform) -> Descriptor:
        """The manifest that fits best. Raises NotFound in Docker's words."""
        fitting = [
            (rank, position)
            for position, entry in enumerate(self.manifests)
            if entry.platform and (rank := entry.platform.serves(wanted)) is not None
        ]
        if fitting:
            return self.manifests[min(fitting)[1]]
        images = [entry for entry in self.manifests if not entry.artifact_type]
        if len(images) == 1 and images[0].platform is None:
            return images[0]
        raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")


def parse(raw: bytes, content_type: str = "") -> Manifest | Index:
    """A manifest or an index, of Docker's schema 2 or OCI's; `content_type` is the transport's word, if any.

    Raises InvalidArgument for a document that is both, or that says of itself what the transport does not
    (CVE-2021-41190); Unsupported for schema 1.
    """
    found = read_json(raw, "the manifest")
    said = content_type.partition(";")[0].strip().lower()
    inner = found.get("mediaType") or ""
    if not isinstance(inner, str):
        raise InvalidArgument("the manifest's mediaType is not a string")
    if said in SCHEMA_1 or inner in SCHEMA_1 or found.get("schemaVersion") == 1:
        raise Unsupported("image manifests of schema 1 are not supported; push the image again with a current client")
    known = (*MANIFESTS, *INDEXES)
    if said in known and inner and said != inner:
        raise InvalidArgument(f"the manifest says it is {inner[:100]}, the registry says {said}")
    has_layers = "layers" in found or "config" in found or "fsLayers" in found
    if "manifests" in found and has_layers:
        raise InvalidArgument("the document has both manifests and layers: it is neither an index nor a manifest")
    media_type = inner or (said if said in known else "")
    if not media_type:
        media_type = OCI_INDEX if "manifests" in found else OCI_MANIFEST
    if found.get("schemaVersion") != 2:
        raise InvalidArgument(f"the manifest's schemaVersion is {str(found.get('schemaVersion'))[:40]}, expected 2")
    if media_type in INDEXES:
        return Index(raw, media_type, _descriptors(found.get("manifests"), "manifests", MAX_ENTRIES))
    if media_type in MANIFESTS:
        layers = _descriptors(found.get("layers"), "layers", MAX_LAYERS)
        return Manifest(raw, media_type, Descriptor.of(found.get("config")), layers)
    raise InvalidArgument(f"{media_type[:100]!r} is not a manifest of an image")


def _descriptors(found: Any, name: str, most: int) -> tuple[Descriptor, ...]:
    if not isinstance(found, list):
        raise InvalidArgument(f"the document has no list of {name}")
    if len(found) > most:
        raise InvalidArgument(f"the document has {len(found)} {name}; at most {most} are read")
    return tuple(Descriptor.of(each) for each in found)
