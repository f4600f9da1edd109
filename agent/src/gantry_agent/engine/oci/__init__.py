"""What the OCI and Docker image formats say, as values: no disk, no network."""

from .digest import Digest
from .documents import Descriptor, Index, Manifest
from .image_config import ImageConfig, chain_ids
from .platform import Platform
from .reference import Reference

__all__ = ["Descriptor", "Digest", "ImageConfig", "Index", "Manifest", "Platform", "Reference", "chain_ids"]
