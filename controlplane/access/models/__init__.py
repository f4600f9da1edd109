"""People and the links that let them in; teams, roles, grants; tokens."""

from controlplane.access.models.grants import Grant, ImageName, Role, Team
from controlplane.access.models.people import BrowserSession, Invitation, User, hash_token
from controlplane.access.models.tokens import Token
from controlplane.access.roles import Standing

__all__ = [
    "BrowserSession",
    "Grant",
    "ImageName",
    "Invitation",
    "Role",
    "Standing",
    "Team",
    "Token",
    "User",
    "hash_token",
]
