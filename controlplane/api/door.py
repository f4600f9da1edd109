"""The way into the API: a token, how often and how large, and no request with a key done twice.

`admit` stands around every operation. It answers for all that can be said before the operation is looked at, runs a
change in one transaction with the answer that is kept for its key, and rolls back what ends in an error.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja.operation import Operation
from ninja.parser import Parser
from ninja.security import HttpBearer

from controlplane.access import tokens
from controlplane.api import trail
from controlplane.api.models import Answer
from controlplane.api.problems import Invalid, of_error, problem
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.foreign import foreign_json
from controlplane.lib.seal import seal, unseal
from controlplane.lib.throttle import Throttle
from controlplane.operations.audit import client_ip, gathered

log = logging.getLogger(__name__)

MOST_BYTES = 2 * 1024 * 1024  # a Dockerfile of 1 MiB, as JSON
FAILURES = Throttle("api-token", most=20, seconds=300)  # tokens not let in, from one address
REQUESTS = Throttle("api-requests", most=1200, seconds=60)  # of one token
UNDER_WAY_SECONDS = 60  # a key is taken for so long when the process that works on it dies
BYTES = "application/octet-stream"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

Run = Callable[..., HttpResponseBase]
Answers = Callable[[], HttpResponseBase]
View = TypeVar("View", bound=Callable[..., Any])


class TokenAuth(HttpBearer):
    """Says in the API's description how one comes in; `admit` has let the request in already."""

    openapi_bearerFormat = "gantry_pat_… or gantry_svc_…"

    def __call__(self, request: HttpRequest) -> Any:
        return getattr(request, "token", None)

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        raise NotImplementedError


class ReadBody(Parser):
    """Gives operations what `admit` has read."""

    def parse_body(self, request: HttpRequest) -> Any:
        return request.json  # type: ignore[attr-defined]


def read_json(body: bytes) -> Any:
    """JSON in UTF-8, each name once in an object, and no text that cannot be stored. Raises InvalidArgument."""
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number)
        if foreign_json(body) != value:
            raise ValueError("text that cannot be stored")
    except (ValueError, RecursionError) as exc:
        odd = isinstance(exc, json.JSONDecodeError | UnicodeDecodeError | RecursionError)
        reason = "something else" if odd else str(exc)[:200]
        raise InvalidArgument(f"Expected one JSON value in UTF-8, found {reason}.") from exc
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("one object with a name twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text}, which is no number")


def only_reads(view: View) -> View:
    """Marks what is asked by POST and changes nothing: it needs no transaction, which would wait for a host."""
    view.only_reads = True  # type: ignore[attr-defined]
    return view


def repeatable(view: View) -> View:
    """Marks a change that takes long, does no harm when it is made twice, and has its own transactions: one around all
    of it would hold the database meanwhile."""
    view.repeatable = True  # type: ignore[attr-defined]
    return view


def takes_bytes(most: int) -> Callable[[View], View]:
    """Marks what takes a body of up to `most` bytes that are no JSON: `request.piece`."""

    def mark(view: View) -> View:
        view.takes_bytes = most  # type: ignore[attr-defined]
        return view

    return mark


def admit(run: Run) -> Run:
    """A decorator of ninja's, of the kind “view”: `run` is an operation's bound method."""
    operation: Operation = run.__self__  # type: ignore[attr-defined]
    queries = _queries(operation)
    has_body = any(model.__ninja_param_source__ == "body" for model in operation.models)
    view = operation.view_func
    most = getattr(view, "takes_bytes", 0)
    reads = "GET" in operation.methods or hasattr(view, "only_reads")
    do = _alone if hasattr(view, "repeatable") else _in_one

    @functools.wraps(run)
    def admitted(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        refusal = let_in(request) or _look_at(request, queries)
        refusal = refusal or (_take(request, most) if most else _read_body(request, has_body))
        if refusal is not None:
            return refusal
        try:
            inner = functools.partial(run, request, **kwargs)
            return inner() if reads else _once_only(request, inner, do)
        finally:
            trail.write_refusal(request)

    return admitted


def _queries(operation: Operation) -> set[str]:
    """The names of the query parameters that it takes."""
    found: set[str] = set()
    for model in operation.models:
        if model.__ninja_param_source__ == "query":
            found |= set(getattr(model, "__ninja_flatten_map__", None) or model.model_fields)
    return found


def let_in(request: HttpRequest) -> HttpResponse | None:
    """None once the request speaks by a good token; else why it is not let in, the same for every bad one."""
    ip = client_ip(request)
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        return _unauthorised(request, "Expected a token, found none.", 'Bearer realm="Gantry"')
    try:
        user = tokens.user_of(text.strip(), ip)
    except tokens.SecondFactorMissing as exc:
        trail.write_failure(request, exc)
        return _second_factor_missing(request)
    except tokens.Refused as exc:
        tried = FAILURES.count(ip or "")
        if tried > FAILURES.most:
            return _too_often(request, "Too many tokens from this address were not good.", FAILURES.seconds)
        trail.write_failure(request, exc)
        return _unauthorised(request, "This token is not good here.", 'Bearer realm="Gantry", error="invalid_token"')
    token = user.token
    assert token is not None
    if REQUESTS.count(str(token.pk)) > REQUESTS.most:
        return _too_often(request, f"Expected at most {REQUESTS.most} requests a minute.", REQUESTS.seconds)
    tokens.note_use(token, ip)
    request.user = user
    trail.enter(request, token)
    return None


def _unauthorised(request: HttpRequest, detail: str, challenge: str) -> HttpResponse:
    response = problem(request, 401, detail, hint="Send it as: Authorization: Bearer gantry_pat_…")
    response["WWW-Authenticate"] = challenge
    return response


def _second_factor_missing(request: HttpRequest) -> HttpResponse:
    return problem(
        request,
        403,
        "A role of the token's owner asks for a second factor, and they have none.",
        kind="second-factor-missing",
        hint="Sign in, set one up under “Your account”, then ask again: the token is good from then on.",
    )


def _too_often(request: HttpRequest, detail: str, seconds: int) -> HttpResponse:
    response = problem(request, 429, detail, hint=f"Wait up to {seconds} seconds.")
    response["Retry-After"] = str(seconds)
    return response


def _look_at(request: HttpRequest, queries: set[str]) -> HttpResponse | None:
    """What can be told of the address before its operation reads it."""
    unknown = sorted(set(request.GET) - queries)
    if unknown:
        known = ", ".join(sorted(queries)) or "none"
        return of_error(request, Invalid({name[:60]: [f"Expected one of: {known}."] for name in unknown[:20]}))
    twice = [name for name in request.GET if len(request.GET.getlist(name)) > 1]
    if twice:
        return of_error(request, Invalid({name: ["Expected it once."] for name in twice}))
    if any("\0" in value for value in request.GET.values()):
        return of_error(request, Invalid({"": ["Expected text without NUL."]}))
    return None


def _read_body(request: HttpRequest, has_body: bool) -> HttpResponse | None:
    if _says_more(request, MOST_BYTES) or len(request.body) > MOST_BYTES:
        return _too_large(request, MOST_BYTES)
    if not has_body and request.body.strip() not in (b"", b"{}"):
        return of_error(request, Invalid({"": ["Expected no body, found one: nothing can be said here."]}))
    if not has_body or not request.body:
        return None
    if request.content_type != "application/json":
        return problem(request, 415, "Expected a body of the type application/json.")
    try:
        request.json = read_json(request.body)  # type: ignore[attr-defined]
    except InvalidArgument as exc:
        return of_error(request, exc)
    return None


def _take(request: HttpRequest, most: int) -> HttpResponse | None:
    """Read a body of bytes. Django would take no such long one by itself."""
    if request.content_type != BYTES:
        return problem(request, 415, f"Expected a body of the type {BYTES}.")
    piece = b"" if _says_more(request, most) else request.read(most + 1)
    if _says_more(request, most) or len(piece) > most:
        return _too_large(request, most)
    request.piece = piece  # type: ignore[attr-defined]
    return None


def _says_more(request: HttpRequest, most: int) -> bool:
    said = str(request.META.get("CONTENT_LENGTH") or 0)
    return not said.isdigit() or int(said[:15]) > most


def _too_large(request: HttpRequest, most: int) -> HttpResponse:
    return problem(request, 413, f"Expected a body of at most {most} bytes.")


def _once_only(request: HttpRequest, run: Answers, do: Callable[..., HttpResponseBase]) -> HttpResponseBase:
    """Make a change; one with a key not again. `do`: `_in_one` or `_alone`."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return do(run)
    if not _KEY.fullmatch(key):
        return of_error(request, Invalid({"Idempotency-Key": ["Expected 1 to 255 visible ASCII characters."]}))
    claim = f"api:key:{request.token.pk}:{hashlib.sha256(key.encode()).hexdigest()}"  # type: ignore[attr-defined]
    if not _claim(claim):
        return problem(
            request, 409, "A request with this key is under way.", kind="under-way", hint="Ask again in a moment."
        )
    try:
        return _answered(request, key) or do(run, keep=functools.partial(_keep, request, key))
    except IntegrityError:  # another process came first: Redis was away, or slow
        kept = _answered(request, key)
        if kept is None:
            raise
        return kept
    finally:
        _release(claim)


def _claim(claim: str) -> bool:
    """Whether nobody else works on it. While Redis is away the database alone decides, a little later."""
    try:
        return bool(cache.add(claim, 1, UNDER_WAY_SECONDS))
    except (redis.RedisError, OSError) as exc:
        log.warning("a key could not be claimed: %s", exc)
        return True


def _release(claim: str) -> None:
    try:
        cache.delete(claim)
    except (redis.RedisError, OSError) as exc:
        log.warning("a key could not be released: %s", exc)


def _in_one(run: Answers, keep: Callable[[HttpResponseBase], None] | None = None) -> HttpResponseBase:
    """Run it in one transaction, which an answer that is an error rolls back."""
    with transaction.atomic(), gathered():
        response = run()
        if response.status_code >= 400:
            transaction.set_rollback(True)
        elif keep is not None:
            keep(response)
    return response


def _alone(run: Answers, keep: Callable[[HttpResponseBase], None] | None = None) -> HttpResponseBase:
    """Run what has its own transactions. A death before the answer is kept leaves a key that is still new: what it was
    sent with may be done twice."""
    response = run()
    if keep is not None and response.status_code < 400:
        keep(response)
    return response


def _hash(request: HttpRequest) -> str:
    piece: bytes | None = getattr(request, "piece", None)
    body = request.body if piece is None else piece
    said = b"\0".join([str(request.method).encode(), request.get_full_path().encode(), body])
    return hashlib.sha256(said).hexdigest()


def _keep(request: HttpRequest, key: str, response: HttpResponseBase) -> None:
    assert isinstance(response, HttpResponse)
    Answer.objects.create(
        token=request.token,  # type: ignore[attr-defined]
        key=key,
        request_hash=_hash(request),
        status=response.status_code,
        body=seal(response.content.decode()),
        location=response.headers.get("Location", ""),
    )


def _answered(request: HttpRequest, key: str) -> HttpResponse | None:
    """The answer there is for this key; None: it is new."""
    found = Answer.objects.filter(token=request.token, key=key).first()  # type: ignore[attr-defined]
    if found is None:
        return None
    if found.request_hash != _hash(request):
        errors = {"Idempotency-Key": ["Expected a key of its own for each request, found that of another one."]}
        return of_error(request, Invalid(errors))
    response = HttpResponse(unseal(found.body), status=found.status, content_type="application/json; charset=utf-8")
    response["Idempotency-Replayed"] = "true"
    if found.location:
        response["Location"] = found.location
    return response
