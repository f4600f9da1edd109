"""A registry as one user sees it: whether it speaks HTTPS, what it asks for, and the tokens it gave.

Token authentication is that of https://distribution.github.io/distribution/spec/auth/token/ and, with an identity
token, of …/auth/oauth/.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterable

import aiohttp
from yarl import URL

from gantry_agent.engine.errors import Unauthorized

from .answers import Unreachable, error_of
from .credentials import Credentials
from .endpoints import Endpoint
from .transport import Call, Origin, Transport, reason, shown

MAX_ANSWER = 1 << 20  # bytes of an error, a token or a list
TOKEN_LIFE = 60  # seconds, when the server does not say
TOKEN_MARGIN = 10  # seconds before its end a token is not used any more
MAX_TOKENS = 256
CLIENT_ID = "gantry"

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9._~+-]*)(?=\s|,|$)(?!\s*=)")
_PARAMETER = re.compile(r'\s*,?\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')

Scopes = tuple[str, ...]


class Site:
    """One endpoint for one user. Made by `Registry`, which keeps it from one pull to the next."""

    def __init__(self, transport: Transport, endpoint: Endpoint, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._transport = transport
        self._origin: Origin | None = None
        self._base: URL | None = None
        self._challenges: dict[str, dict[str, str]] = {}
        self._tokens: dict[Scopes, tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    @property
    def is_met(self) -> bool:
        """Whether it has answered us: what fails now may be a passing fault, and is tried again."""
        return self._base is not None

    async def base(self) -> URL:
        """`https://HOST/PATH`, after a first ping. Raises Unreachable."""
        if self._base is None:
            async with self._lock:
                if self._base is None:
                    self._base = await self._ping()
        return self._base

    async def send(self, call: Call, scopes: Scopes) -> aiohttp.ClientResponse:
        """One request with authorization, once more with a new token when the registry asks for it.

        A `call` whose body is a stream must not meet a first challenge: ask for something else before.
        Raises Unreachable, Unauthorized.
        """
        base = await self.base()
        assert self._origin
        for last in (False, True):
            if call.url.origin() == base.origin() and (header := await self._authorization(scopes)):
                call.headers["Authorization"] = header
            try:
                response = await self._transport.send(self._origin, call)
            except Unreachable:
                self._base = None  # it may come back as another: ask again who it is
                raise
            if response.status != 401 or last or not self._learn(response):
                return response
            if call.body is not None and not isinstance(call.body, bytes):
                return response
            response.release()
            self._tokens.pop(scopes, None)
        raise AssertionError("unreachable")

    async def login(self) -> str:
        """Check the credentials; an identity token when the server gives one, else "". Raises Unauthorized."""
        url = (await self.base()) / "v2/"
        token, identity = "", ""
        if "bearer" in self._challenges:
            token, identity, _ = await self._fetch_token((), offline=True)
        elif self.credentials.username:
            token = self.credentials.basic
        assert self._origin
        header = f"Bearer {token}" if "bearer" in self._challenges else token
        headers = {"Authorization": header} if header else {}
        response = await self._transport.send(self._origin, Call("GET", url, headers))
        response.release()
        if response.status != 200:
            raise Unauthorized(
                f"login attempt to {shown(url)} failed with status: {response.status} {response.reason or ''}".strip()
            )
        return identity

    async def _ping(self) -> URL:
        """Find out scheme and challenge. The last scheme's failure is the one told."""
        self._origin = await self._transport.origin(self.endpoint)
        for number, scheme in enumerate(self.endpoint.schemes, 1):
            base = URL(f"{scheme}://{self.endpoint.host}{self.endpoint.path}")
            try:
                response = await self._transport.send(self._origin, Call("GET", base / "v2/"))
            except Unreachable:
                if number == len(self.endpoint.schemes):
                    raise
                continue
            if response.status >= 500:
                raise error_of(response.status, await read_limited(response), f"GET {shown(base / 'v2/')}")
            response.release()
            self._learn(response)
            return base
        raise AssertionError("an endpoint has at least one scheme")

    def _learn(self, response: aiohttp.ClientResponse) -> bool:
        """Remember what a 401 asks for; whether there is something we can do about it."""
        if response.status == 401:
            self._challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        return bool(self._challenges.keys() & {"bearer", "basic"})

    async def _authorization(self, scopes: Scopes) -> str:
        """The Authorization header; "" when nothing is asked for. Raises Unauthorized when we have nothing to say."""
        if self.credentials.registry_token:
            return f"Bearer {self.credentials.registry_token}"
        if "bearer" in self._challenges:
            return f"Bearer {await self._token(scopes)}"
        if "basic" in self._challenges:
            if not self.credentials.username:
                raise Unauthorized("no basic auth credentials")
            return self.credentials.basic
        return ""

    async def _token(self, scopes: Scopes) -> str:
        async with self._lock:
            token, until = self._tokens.get(scopes, ("", 0.0))
            if time.monotonic() < until:
                return token
            token, _, life = await self._fetch_token(scopes)
            if len(self._tokens) >= MAX_TOKENS:
                self._tokens.clear()
            self._tokens[scopes] = token, time.monotonic() + life - TOKEN_MARGIN
            return token

    async def _fetch_token(self, scopes: Scopes, *, offline: bool = False) -> tuple[str, str, float]:
        """Access token, refresh token ("" unless asked for), seconds it lives."""
        call = self._token_request(scopes, offline)
        assert self._origin
        response = await self._transport.send(self._origin, call)
        content = await read_limited(response)
        if response.status != 200:
            raise error_of(response.status, content, f"{call.method} {shown(call.url)}")
        try:
            found = json.loads(content)
            token = found.get("token") or found.get("access_token")
            life = float(found.get("expires_in") or TOKEN_LIFE)
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            raise Unauthorized(f"{shown(call.url)} gave no token: its answer is not understood") from exc
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise Unauthorized(f"{shown(call.url)} gave no token")
        return token, str(found.get("refresh_token") or ""), max(life, TOKEN_LIFE)

    def _token_request(self, scopes: Scopes, offline: bool) -> Call:
        challenge = self._challenges["bearer"]
        try:
            realm = URL(challenge.get("realm", ""))
        except ValueError as exc:
            raise Unauthorized(f"{self.endpoint.host} names no usable token server") from exc
        if realm.scheme not in ("http", "https") or not realm.host:
            raise Unauthorized(f"{self.endpoint.host} names no usable token server")
        fields = [("service", challenge["service"])] if "service" in challenge else []
        if self.credentials.identity_token:
            fields += [("grant_type", "refresh_token"), ("refresh_token", self.credentials.identity_token)]
            fields += [("client_id", CLIENT_ID), ("scope", " ".join(scopes))]
            body = aiohttp.FormData(fields)().decode().encode()
            return Call("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)
        fields += [("scope", scope) for scope in scopes]
        headers = {}
        if self.credentials.username:
            fields.append(("account", self.credentials.username))
            headers["Authorization"] = self.credentials.basic
        if offline:
            fields += [("offline_token", "true"), ("client_id", CLIENT_ID)]
        return Call("GET", realm.extend_query(fields), headers)


async def read_limited(response: aiohttp.ClientResponse, most: int = MAX_ANSWER) -> bytes:
    """A whole answer of at most `most` bytes; what is longer is cut there. Raises Unreachable for a cut connection."""
    parts, size = [], 0
    try:
        while size < most and (chunk := await response.content.read(most - size)):
            parts.append(chunk)
            size += len(chunk)
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise Unreachable(f"{response.method} {shown(response.url)}: {reason(exc)}") from exc
    finally:
        response.release() if response.content.at_eof() else response.close()
    return b"".join(parts)


def lacks_scope(response: aiohttp.ClientResponse) -> bool:
    """Whether a registry knows who we are, and that this is not for us (RFC 6750): no such repository, often."""
    if response.status != 401:
        return False
    challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
    return challenges.get("bearer", {}).get("error") == "insufficient_scope"


def parse_challenges(values: Iterable[str]) -> dict[str, dict[str, str]]:
    """WWW-Authenticate headers (RFC 7235) as scheme → parameters, both in lower case; the first of a scheme counts."""
    found: dict[str, dict[str, str]] = {}
    for value in values:
        at = 0
        parameters: dict[str, str] = {}
        while at < len(value):
            if scheme := _SCHEME.match(value, at):
                parameters = found.setdefault(scheme[1].lower(), {})
                at = scheme.end()
            elif parameter := _PARAMETER.match(value, at):
                text = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
                parameters.setdefault(parameter[1].lower(), text)
                at = parameter.end()
            else:
                break
    return found
