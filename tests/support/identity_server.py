"""A real OpenID Connect provider, of Authlib's server: `python -m tests.support.identity_server PORT`.

Code flow with PKCE demanded, clients by secret, id_tokens signed with RS256. GET /authorize shows a page with a
button a person; POST /people puts somebody there; POST /lie makes it lie from then on, in one of the ways of `LIES`.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin, OpenIDCode
from flask import Flask, Response, abort, jsonify, redirect, request
from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "gantry", "a secret between us"
SCOPES = {"openid", "profile", "email"}

KEY = RSAKey.generate_key(2048, {"kid": "right", "use": "sig", "alg": "RS256"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "right", "use": "sig", "alg": "RS256"})


@dataclass
class Person:
    sub: str
    claims: dict[str, Any] = field(default_factory=dict)


class Client(ClientMixin):
    redirect_uris: set[str] = set()

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(sorted(set(scope.split()) & SCOPES))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.endswith("/login/by/sso/callback/")

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, CLIENT_SECRET)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    person: Person
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class World:
    """All that the provider remembers."""

    issuer = ""
    lie = ""
    people: dict[str, Person] = {}
    codes: dict[str, Code] = {}
    tokens: dict[str, Person] = {}
    nonces: set[str] = set()


class Codes(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

    def save_authorization_code(self, code: str, request: Any) -> None:
        said = request.payload.data
        World.nonces.add(said["nonce"])
        World.codes[code] = Code(
            request.user,
            request.payload.redirect_uri,
            request.scope,
            said.get("nonce"),
            said["code_challenge"],
            said["code_challenge_method"],
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return World.codes.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        for code in [code for code, held in World.codes.items() if held is authorization_code]:
            del World.codes[code]

    def authenticate_user(self, authorization_code: Code) -> Person:
        return authorization_code.person


class IdTokens(OpenIDCode):
    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return nonce in World.nonces

    def resolve_client_private_key(self, client: Client) -> Any:
        return KEY

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        return {"iss": World.issuer, "aud": [CLIENT_ID]}

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": "right"}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:
        return {"sub": user.sub, **user.claims}

    def encode_id_token(self, token: dict[str, Any], request: Any) -> str:
        honest: str = super().encode_id_token(token, request)
        if World.lie not in LIES:
            return honest
        return LIES[World.lie](dict(jwt.decode(honest, KEY).claims))


def signed(claims: dict[str, Any], key: Any = KEY, **header: str) -> str:
    header = {"alg": "RS256", "kid": "right", **header}
    algorithm = header["alg"]
    registry = jws.JWSRegistry(algorithms=[algorithm])
    return jwt.encode(header, claims, key, registry=registry)


def _unsigned(claims: dict[str, Any]) -> str:
    _, body, _ = signed(claims).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"right"}').rstrip(b"=").decode()
    return f"{none}.{body}."


def _changed(claims: dict[str, Any]) -> str:
    head, _, tail = signed(claims).split(".")
    body = signed({**claims, "sub": "root"}).split(".")[1]
    return f"{head}.{body}.{tail}"


def _by_secret(claims: dict[str, Any], secret: bytes) -> str:
    """HS256 by hand: no library signs with a public key as its secret, which is what somebody would do."""
    body = signed(claims).split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"right"}').rstrip(b"=").decode()
    tail = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{base64.urlsafe_b64encode(tail).rstrip(b'=').decode()}"


def _without(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda claims: signed({key: value for key, value in claims.items() if key != name})


def _with(**other: Any) -> Callable[[dict[str, Any]], str]:
    return lambda claims: signed({**claims, **other})


LIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "another issuer": _with(iss="https://evil.example"),
    "no issuer": _without("iss"),
    "another audience": _with(aud=["somebody else"]),
    "no audience": _without("aud"),
    "two audiences, made for the other": _with(aud=[CLIENT_ID, "other"], azp="other"),
    "two audiences, made for nobody": _with(aud=[CLIENT_ID, "other"]),
    "another nonce": _with(nonce="x" * 43),
    "no nonce": _without("nonce"),
    "a nonce that is no text": _with(nonce=None),
    "expired": _with(exp=int(time.time()) - 3600),
    "never expires": _without("exp"),
    "made tomorrow": lambda claims: signed({**claims, "iat": int(time.time()) + 86_400}),
    "nobody": _without("sub"),
    "a number for a person": _with(sub=1),
    "no signature": _unsigned,
    "somebody else's signature": lambda claims: signed(claims, OTHER_KEY),
    "claims changed after signing": _changed,
    "a key nobody knows": lambda claims: signed(claims, kid="left"),
    "signed with our shared secret": lambda claims: _by_secret(claims, CLIENT_SECRET.encode()),
    "signed with the public key as secret": lambda claims: _by_secret(claims, KEY.as_pem(private=False)),
    "not a token": lambda claims: "x.y.z",
}
# Those that the endpoints themselves tell.
OTHER_LIES = (
    "no id_token",
    "userinfo of somebody else",
    "userinfo is no object",
    "another issuer in the document",
    "keys over http",
    "token endpoint leads elsewhere",
    "keys lead elsewhere",
    "endless document",
    "no document",
)


def save_token(token: dict[str, Any], request: Any) -> None:
    World.tokens[token["access_token"]] = request.user


app = Flask(__name__)
server = AuthorizationServer(app, lambda client_id: Client() if client_id == CLIENT_ID else None, save_token)
server.register_grant(Codes, [IdTokens(require_nonce=True), CodeChallenge(required=True)])


@app.get("/.well-known/openid-configuration")
def document() -> Any:
    if World.lie == "no document":
        abort(500)
    if World.lie == "endless document":
        return Response((b" " * 65536 for _ in range(2000)), content_type="application/json")
    is_another = World.lie == "another issuer in the document"
    keys = "http://keys.example/keys" if World.lie == "keys over http" else f"{World.issuer}/keys"
    return jsonify(
        issuer="https://evil.example" if is_another else World.issuer,
        authorization_endpoint=f"{World.issuer}/authorize",
        token_endpoint=f"{World.issuer}/token",
        userinfo_endpoint=f"{World.issuer}/userinfo",
        jwks_uri=keys,
        token_endpoint_auth_methods_supported=["client_secret_basic"],
        response_types_supported=["code"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["RS256"],
    )


@app.get("/keys")
def keys() -> Any:
    if World.lie == "keys lead elsewhere":
        return redirect(f"{World.issuer}/keys?")
    return jsonify(KeySet([KEY]).as_dict(private=False))


@app.route("/authorize", methods=["GET", "POST"])
def authorize() -> Any:
    person = World.people.get(request.form.get("sub", ""))
    if request.form.get("sub") == "nobody":
        return server.create_authorization_response(grant_user=None)
    if person is not None:
        return server.create_authorization_response(grant_user=person)
    grant = server.get_consent_grant(end_user=None)
    assert grant
    buttons = "".join(f"<button name=sub value={sub}>{sub}</button>" for sub in [*World.people, "nobody"])
    return f"<!doctype html><title>The provider</title><h1>Who are you?</h1><form method=post>{buttons}</form>"


@app.post("/token")
def token() -> Any:
    if World.lie == "token endpoint leads elsewhere":
        return redirect(f"{World.issuer}/elsewhere", 307)
    answer = server.create_token_response()
    if World.lie == "no id_token":
        said = answer.get_json()
        said.pop("id_token")
        return jsonify(said)
    return answer


@app.get("/userinfo")
def userinfo() -> Any:
    person = World.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    if person is None:
        abort(401)
    if World.lie == "userinfo is no object":
        return jsonify([])
    sub = "root" if World.lie == "userinfo of somebody else" else person.sub
    return jsonify({"sub": sub, **person.claims})


@app.route("/elsewhere", methods=["GET", "POST"])
def elsewhere() -> Any:
    World.people["caught"] = Person("caught", {"secret": request.headers.get("Authorization")})
    return jsonify({})


@app.get("/people")
def people() -> Any:
    return jsonify(sorted(World.people))


@app.post("/people")
def add() -> Any:
    said = request.get_json()
    World.people[said["sub"]] = Person(said["sub"], said["claims"])
    return jsonify({})


@app.post("/lie")
def lie() -> Any:
    World.lie = request.get_json()["lie"]
    return jsonify({})


def main() -> None:
    port = int(sys.argv[1])
    World.issuer = f"http://127.0.0.1:{port}"
    app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    main()
