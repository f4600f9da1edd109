"""Who we are to a registry: what the header X-Registry-Auth and the body of POST /auth say."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any, Self

from gantry_agent.engine.errors import InvalidArgument


@dataclass(frozen=True)
class Credentials:
    """A user's name and password, or a token instead of them. Secrets are never shown by repr."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """Exchanged for access tokens (OAuth 2 refresh token)."""
    registry_token: str = field(default="", repr=False)
    """An access token as it is."""
    server: str = ""
    """serveraddress, as a client wrote it."""

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)

    @classmethod
    def of_header(cls, text: str) -> Self:
        """From X-Registry-Auth: base64 (either alphabet) of a JSON object; "" is nobody. Raises InvalidArgument."""
        if not text.strip():
            return cls()
        try:
            plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
            raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
            found = json.loads(raw or b"{}")
        except (binascii.Error, ValueError, RecursionError) as exc:
            raise InvalidArgument("invalid X-Registry-Auth header: it is not base64 of a JSON object") from exc
        if not isinstance(found, dict):
            raise InvalidArgument("invalid X-Registry-Auth header: it is not a JSON object")
        return cls.of_json(found)

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Self:
        """From Docker's AuthConfig; `auth` is base64 of user:password. Raises InvalidArgument."""
        known = ("username", "password", "identitytoken", "registrytoken", "serveraddress", "auth")
        values = {key: found.get(key) or "" for key in known}
        if not all(isinstance(value, str) for value in values.values()):
            raise InvalidArgument("invalid credentials: every field must be a string")
        username, password = values["username"], values["password"]
        if values["auth"] and not username:
            try:
                username, _, password = base64.b64decode(values["auth"]).decode().partition(":")
            except (binascii.Error, ValueError) as exc:
                raise InvalidArgument("invalid credentials: auth is not base64 of user:password") from exc
        return cls(username, password, values["identitytoken"], values["registrytoken"], values["serveraddress"])

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()
