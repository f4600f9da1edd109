"""What hosts must know of our certificate, and who may speak to us without it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from django.conf import settings
from django.http import HttpRequest

from hosts.peers import is_this_machine

NO_TLS = "Another machine can join only over TLS: without it, anybody on the way could take its place."
NO_TLS_HINT = "Start Gantry with --tls (./gantry up --tls), or put a proxy with TLS in front and set GANTRY_PUBLIC_URL."


def fingerprint(certificate: Path) -> str:
    """`sha256:<hex>` of the DER of the first certificate of a PEM file. Raises OSError, ValueError."""
    return _fingerprint(str(certificate), certificate.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _fingerprint(path: str, modified: int) -> str:
    found = x509.load_pem_x509_certificate(Path(path).read_bytes())
    return f"sha256:{found.fingerprint(hashes.SHA256()).hex()}"


def pinned_fingerprint() -> str:
    """The fingerprint hosts must pin: that of a self-signed certificate of ours; "" when an authority vouches."""
    if not settings.TLS_CERT or settings.PUBLIC_URL:
        return ""
    certificate = Path(settings.TLS_CERT)
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return fingerprint(certificate) if found.issuer == found.subject else ""


def is_private(request: HttpRequest) -> bool:
    """Is what this request carries safe from the network: encrypted, or from this very machine?"""
    if request.is_secure():
        return True
    scope = getattr(request, "scope", {})
    own = (scope.get("server") or ("", None))[0]
    return is_this_machine(request.META.get("REMOTE_ADDR"), own)
