"""The identity providers (OpenID Connect) that the environment names.

    GANTRY_OIDC_ISSUER         https://id.example.org/realms/main, as its discovery document has it
    GANTRY_OIDC_CLIENT_ID      what Gantry is called there
    GANTRY_OIDC_CLIENT_SECRET  what it proves that by
    GANTRY_OIDC_NAME           the button's word; "single sign-on" unless given
    GANTRY_OIDC_GROUPS_CLAIM   the claim that lists a person's groups; "groups" unless given
    GANTRY_OIDC_SCOPES         asked for beside openid, profile and email

A second one has a word of its own after GANTRY_OIDC_: GANTRY_OIDC_PARTNER_ISSUER and so on. Nothing else says where a
provider is: neither a page nor the database.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

NAME = re.compile(
    r"GANTRY_OIDC_(?:(?P<word>[A-Z0-9]+)_)?(?P<what>ISSUER|CLIENT_ID|CLIENT_SECRET|NAME|GROUPS_CLAIM|SCOPES)"
)
SCOPES = ["openid", "profile", "email"]


@dataclass(frozen=True)
class Provider:
    """One of them. `slug` stands in its addresses."""

    slug: str
    issuer: str
    client_id: str
    client_secret: str
    name: str
    groups_claim: str
    scopes: list[str]

    def as_app(self) -> dict[str, Any]:
        """As allauth wants to have it."""
        return {
            "provider_id": self.slug,
            "name": self.name,
            "client_id": self.client_id,
            "secret": self.client_secret,
            "settings": {
                "server_url": self.issuer,
                "groups_claim": self.groups_claim,
                "scope": self.scopes,
                "oauth_pkce_enabled": True,
            },
        }


def from_environment(environment: Mapping[str, str]) -> list[Provider]:
    """The providers in the order of their words, the one without a word first. Raises ValueError."""
    given: dict[str, dict[str, str]] = {}
    for variable, value in environment.items():
        if value and (match := NAME.fullmatch(variable)):
            given.setdefault(match["word"] or "", {})[match["what"]] = value.strip()
    return [_provider(word, given[word]) for word in sorted(given)]


def _provider(word: str, given: dict[str, str]) -> Provider:
    prefix = f"GANTRY_OIDC_{word}_" if word else "GANTRY_OIDC_"
    for what in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"):
        if what not in given:
            raise ValueError(f"{prefix}{what}: expected a value beside the other {prefix}… settings, found none")
    if not is_safe(given["ISSUER"]):
        raise ValueError(f"{prefix}ISSUER: expected an address that begins with https://, found {given['ISSUER']!r}")
    return Provider(
        slug=word.lower() or "sso",
        issuer=given["ISSUER"],
        client_id=given["CLIENT_ID"],
        client_secret=given["CLIENT_SECRET"],
        name=given.get("NAME", word.capitalize() or "single sign-on"),
        groups_claim=given.get("GROUPS_CLAIM", "groups"),
        scopes=[*SCOPES, *given.get("SCOPES", "").replace(",", " ").split()],
    )


def is_safe(url: str) -> bool:
    """Whether what is fetched from `url` comes from whom it names: TLS, or this very machine (for trying it out)."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username or parts.fragment or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
