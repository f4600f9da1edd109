"""Images on the disk: content by digest, unpacked layers, names, and what frees them again."""

from .images import Image
from .layers import Layer
from .store import SCHEMA, Freed, Store

__all__ = ["SCHEMA", "Freed", "Image", "Layer", "Store"]
