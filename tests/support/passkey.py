"""A passkey without a browser: what an authenticator that knows its owner answers (WebAuthn Level 2, 6).

key = Passkey()
key.create(options)     # what navigator.credentials.create gives for the options of the page
key.get(options)        # … and navigator.credentials.get
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

FLAG = AuthenticatorData.FLAG


class Passkey:
    """One key pair of one person's, bound to `host`."""

    def __init__(self, host: str = "testserver") -> None:
        self.host = host
        self.ident = secrets.token_bytes(16)
        self.handle = b""  # whose it is: the server's id of them
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0

    def create(self, options: dict[str, Any]) -> str:
        asked = options["publicKey"]
        handle = asked["user"]["id"]
        self.handle = handle if isinstance(handle, bytes) else handle.encode()
        said = self._said("webauthn.create", asked["challenge"])
        public = ES256.from_cryptography_key(self._key.public_key())
        credential = AttestedCredentialData.create(Aaguid(bytes(16)), self.ident, public)
        data = AuthenticatorData.create(sha256(self.host.encode()), FLAG.UP | FLAG.UV | FLAG.AT, 0, credential)
        response = {
            "clientDataJSON": said.b64,
            "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
        }
        return self._as_json(response, {"credProps": {"rk": True}})

    def get(self, options: dict[str, Any]) -> str:
        said = self._said("webauthn.get", options["publicKey"]["challenge"])
        self._count += 1
        data = AuthenticatorData.create(sha256(self.host.encode()), FLAG.UP | FLAG.UV, self._count)
        response = {
            "clientDataJSON": said.b64,
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(self._key.sign(data + said.hash, ec.ECDSA(SHA256()))),
            "userHandle": self.handle.decode(),
        }
        return self._as_json(response, {})

    def _said(self, kind: str, challenge: Any) -> CollectedClientData:
        text = challenge if isinstance(challenge, str) else websafe_encode(challenge)
        return CollectedClientData.create(kind, text, f"https://{self.host}")  # type: ignore[arg-type]

    def _as_json(self, response: dict[str, str], results: dict[str, Any]) -> str:
        ident = websafe_encode(self.ident)
        shape = {"id": ident, "rawId": ident, "type": "public-key", "clientExtensionResults": results}
        return json.dumps({**shape, "response": response})
