"""Volumes: named and anonymous folders that outlive containers, and the mounts a container asks for."""

from .manager import Volumes
from .model import SCHEMA, Volume

__all__ = ["SCHEMA", "Volume", "Volumes"]
