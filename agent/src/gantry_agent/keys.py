"""The host's own key pair (Ed25519): made here, kept here, used to answer challenges.

What is signed is spelled the same in the gateway (`hosts/gateway/keys.py`); docs/tunnel.md is the source.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .errors import NotEnrolled

CONTEXT = b"gantry-agent-v1"


def generate() -> Ed25519PrivateKey:
    """A new private key."""
    return Ed25519PrivateKey.generate()


def public_text(key: Ed25519PrivateKey) -> str:
    """The raw 32-byte public key in base64, as the control plane stores it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey, purpose: str, gateway: str, nonce: bytes, host: str) -> str:
    """Answer to a challenge: base64 of the signature over purpose, gateway, nonce and host.

    The purpose keeps a signature made for one kind of connection from serving on another.
    """
    signed = b"\0".join((CONTEXT, purpose.encode(), gateway.encode(), nonce + host.encode()))
    return base64.b64encode(key.sign(signed)).decode()


def load(path: Path) -> Ed25519PrivateKey:
    """Read a private key file. Raises NotEnrolled when it is missing or not an Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, UnsupportedAlgorithm) as exc:
        raise NotEnrolled(f"The key file {path} cannot be read: {exc}", "Enrol this host again.") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise NotEnrolled(f"The key file {path} holds another kind of key.", "Enrol this host again.")
    return key


def save(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key durably, mode 0600 from its first byte."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, pem)


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that after a crash it is either the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
