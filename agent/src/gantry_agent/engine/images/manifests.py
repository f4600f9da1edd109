"""The manifest an image is pushed and saved with."""

from gantry_agent.engine.errors import EngineError
from gantry_agent.engine.oci import Descriptor, Manifest
from gantry_agent.engine.oci.documents import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from gantry_agent.engine.store import Image, Store

_FORMS = {
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
}


def manifest_for(store: Store, image: Image, *, oci: bool = False) -> Manifest:
    """The very manifest the image came with when all its blobs are here; else one made of the blobs that are.

    One that is made is of Docker's kind unless a layer needs OCI's, or `oci` asks for it.
    """
    if image.manifest is not None:
        try:
            manifest = Manifest.parse(store.blobs.read(image.manifest))
        except EngineError:
            manifest = None
        if manifest and all(store.blobs.has(each.digest) for each in (manifest.config, *manifest.layers)):
            return manifest
    layers = tuple(store.images.descriptors(image.id))
    size = len(image.config.raw)
    if not oci and all(each.media_type in _FORMS for each in layers):
        return Manifest.make(Descriptor(DOCKER_CONFIG, image.id, size), layers, DOCKER_MANIFEST)
    return Manifest.make(
        Descriptor(OCI_CONFIG, image.id, size),
        tuple(Descriptor(_FORMS.get(each.media_type, each.media_type), each.digest, each.size) for each in layers),
        OCI_MANIFEST,
    )


def is_zstd(layer: Descriptor) -> bool:
    """Whether older engines cannot read this layer."""
    return layer.media_type == OCI_LAYER_ZSTD
