"""Secrets at rest: sealed with a key made from Django's secret key (Fernet: AES-128-CBC with HMAC-SHA256)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from controlplane.lib.errors import Internal


def _box() -> Fernet:
    key = hashlib.sha256(b"gantry seal v1\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def seal(text: str) -> str:
    return _box().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Raises Internal when it was sealed with another key."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken as exc:
        raise Internal(
            "A stored secret cannot be read: it was sealed with another secret key.",
            "Restore GANTRY_HOME/secret_key, or enter the secret again.",
        ) from exc
