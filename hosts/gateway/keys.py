"""Admission: a challenge that only the holder of a host's key can answer, once.

What is signed is spelled the same in the agent (`gantry_agent/keys.py`); docs/tunnel.md is the source.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT = b"gantry-agent-v1"


def new_nonce() -> bytes:
    """32 random bytes, used once and only on the connection they were sent on."""
    return secrets.token_bytes(32)


def parse_public_key(text: str) -> Ed25519PublicKey:
    """Base64 of the 32 raw bytes. Raises ValueError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise ValueError("expected an Ed25519 public key: 32 bytes in base64") from exc


def is_signed_by(public_key: str, signature: object, *, purpose: str, gateway: str, nonce: bytes, host: str) -> bool:
    """Did the holder of `public_key` sign this very challenge, for this purpose, gateway and host?"""
    if not public_key or not isinstance(signature, str):
        return False
    signed = b"\0".join((CONTEXT, purpose.encode(), gateway.encode(), nonce + host.encode()))
    try:
        parse_public_key(public_key).verify(base64.b64decode(signature, validate=True), signed)
    except (ValueError, InvalidSignature):
        return False
    return True
