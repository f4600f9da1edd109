"""A container's OCI configuration (config.json), made from what Docker's API was asked for."""

from .document import Surroundings, build
from .process import exec_process

__all__ = ["Surroundings", "build", "exec_process"]
