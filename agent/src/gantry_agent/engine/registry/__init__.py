"""Talking to registries (OCI distribution-spec v1.1, Docker Registry HTTP API V2): who they are, who we are, what
they hold.

Imports run one way: credentials, answers ← endpoints ← transport ← auth ← repository ← sources, client.
"""

from .client import Registry
from .credentials import ANONYMOUS, Credentials
from .repository import Fetched, Repository
from .transfers import Transfers

__all__ = ["ANONYMOUS", "Credentials", "Fetched", "Registry", "Repository", "Transfers"]
