"""What went wrong, as RFC 9457 says it: application/problem+json."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from controlplane.api import trail
from controlplane.lib.errors import GantryError, InvalidArgument, NotModified, Refused

MEDIA_TYPE = "application/problem+json"
NOTHING_HERE = "Nothing here, or nothing you may see."


class Invalid(InvalidArgument):
    """What was sent cannot be right: `errors` says why, for each field."""

    status = 422

    def __init__(self, errors: dict[str, list[str]], message: str = "Some of what was sent cannot be right.") -> None:
        super().__init__(message, "See `errors`: each says what was expected.")
        self.errors = errors

    @classmethod
    def of_form(cls, form: BaseForm) -> Invalid:
        """What a form of the pages has found; "" stands for what concerns more than one field."""
        return cls({name.replace("__all__", ""): [str(each) for each in found] for name, found in form.errors.items()})


def problem(request: HttpRequest, status: int, detail: str, *, kind: str = "", **more: Any) -> HttpResponse:
    """The answer. `kind`: what a program tells it by, else the status' own name; `more`: further members."""
    title = HTTPStatus(status).phrase
    said: dict[str, Any] = {
        "type": f"urn:gantry:problem:{kind or re.sub('[^a-z]+', '-', title.lower())}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.path,
        **{name: value for name, value in more.items() if value or value == 0},
    }
    response = HttpResponse(json.dumps(said, ensure_ascii=False), status=status, content_type=MEDIA_TYPE)
    response["Cache-Control"] = "no-store"
    return response


def of_error(request: HttpRequest, error: GantryError) -> HttpResponse:
    """The answer to an error that was raised on purpose."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    if isinstance(error, Refused):
        return problem(request, error.status, error.message, kind=kind, hint=error.hint, verb=error.verb)
    errors = error.errors if isinstance(error, Invalid) else None
    # An engine's error has the engine's status, and a host may answer with any number.
    status = error.status if 400 <= error.status < 600 else 502
    if isinstance(error, NotModified):
        status = 409
    return problem(request, status, error.message, kind=kind, hint=error.hint, errors=errors)


def not_found(request: HttpRequest) -> HttpResponse:
    return problem(request, 404, NOTHING_HERE)


def register(api: NinjaAPI) -> None:
    """Have `api` answer so. What nobody foresaw goes on to Django, which logs it; `door` answers for it."""

    @api.exception_handler(GantryError)
    def raised(request: HttpRequest, exc: GantryError) -> HttpResponse:
        trail.note_refusal(request, exc)
        return of_error(request, exc)

    @api.exception_handler(Http404)
    def unseen(request: HttpRequest, exc: Http404) -> HttpResponse:
        trail.note_refusal(request, exc)
        return not_found(request)

    @api.exception_handler(HttpError)
    def refused(request: HttpRequest, exc: HttpError) -> HttpResponse:
        return problem(request, exc.status_code, exc.message)

    @api.exception_handler(ValidationError)
    def invalid(request: HttpRequest, exc: ValidationError) -> HttpResponse:
        return of_error(request, Invalid(_by_field(exc)))


def _by_field(exc: ValidationError) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in exc.errors:
        where, *path = (str(part) for part in each["loc"])
        if where == "body" and path:
            path = path[1:]  # the name of our own argument
        found.setdefault(".".join(path), []).append(str(each["msg"])[:300])
    return found
