"""What an identity provider says of somebody, and whether to believe it (OpenID Connect Core 1.0, 3.1.3.7 and 5.3)."""

from __future__ import annotations

import hmac
from typing import Any

import jwt
from allauth.socialaccount.providers.oauth2.client import OAuth2Error

# Signatures by a private key alone: no "none", and no HS…, for which our own secret or a public key would do.
KEY_TYPES = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
LEEWAY_SECONDS = 30
MOST_GROUPS = 500


def verified(id_token: str, keys: dict[str, Any], *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of `id_token`. Raises OAuth2Error unless every one of the rules holds."""
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            _key(jwt.get_unverified_header(id_token), keys),
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as exc:
        raise OAuth2Error(f"the id_token cannot be trusted: {exc}") from exc
    if not isinstance(claims.get("nonce"), str) or not hmac.compare_digest(claims["nonce"].encode(), nonce.encode()):
        raise OAuth2Error("the id_token is not the answer to our question: its nonce is another")
    audience = claims["aud"]
    authorised = claims.get("azp", client_id if isinstance(audience, str) or len(audience) == 1 else None)
    if authorised != client_id:
        raise OAuth2Error(f"the id_token was made for {authorised!r}, expected {client_id!r} (azp)")
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise OAuth2Error("the id_token names nobody: expected a text as sub")
    return claims


def _key(header: dict[str, Any], keys: dict[str, Any]) -> jwt.PyJWK:
    """The provider's key that the header names, bound to the header's algorithm."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in KEY_TYPES:
        raise ValueError(f"expected a signature by one of {', '.join(KEY_TYPES)}, found {algorithm!r}")
    fitting = [
        key
        for key in keys["keys"]
        if key.get("kty") == KEY_TYPES[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise ValueError(f"expected one key of the provider that fits {algorithm} and {kid!r}, found {len(fitting)}")
    return jwt.PyJWK(fitting[0], algorithm=algorithm)


def clean_groups(said: object) -> list[str]:
    """The groups that were named, each once, in their order. Anything that is no name is left out."""
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    good = [name for name in names if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 200]
    return list(dict.fromkeys(good))[:MOST_GROUPS]
