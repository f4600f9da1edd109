"""The certificate of `--tls` when none is given: made here once, trusted by its fingerprint."""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=825)  # the longest that browsers take of a server's certificate


def ensure_certificate(certificate: Path, key: Path, *names: str) -> bool:
    """Make `certificate` and `key` (PEM, mode 0600) unless both are there and valid for 30 days more.

    `names` are host names and addresses the certificate is for, beside this machine's own and the
    loopback's. Give back whether a new one was made: its fingerprint is then a new one too.
    """
    if certificate.exists() and key.exists():
        present = x509.load_pem_x509_certificate(certificate.read_bytes())
        if present.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30):
            return False
    certificate.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    signed = _sign(private, {"localhost", socket.gethostname(), "127.0.0.1", "::1", *filter(None, names)})
    plain = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    _write(key, pem)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM))
    return True


def _sign(private: ec.EllipticCurvePrivateKey, names: set[str]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Gantry")])
    now = datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a host's clock may lag
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(usage, False)
        .sign(private, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
