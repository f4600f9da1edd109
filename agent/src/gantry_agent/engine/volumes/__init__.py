"""Volumes: named and anonymous folders that outlive containers, and the mounts a container asks for."""

from .manager import Volumes
from .model import SCHEMA, Volume
from .sizes import tree_size

__all__ = ["SCHEMA", "Volume", "Volumes", "tree_size"]
