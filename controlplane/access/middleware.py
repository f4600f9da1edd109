"""Who is signed in, and from where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse

from controlplane.access import sessions
from controlplane.access.models import User

View = TypeVar("View", bound=Callable[..., Any])


def open_without_second_factor(view: View) -> View:
    """Marks a view that somebody may use who still has to set up a second factor: see
    `operations.middleware.SecondFactorRequired`."""
    view.open_without_second_factor = True  # type: ignore[attr-defined]
    return view


class SessionsNoted:
    """Middleware. Writes down which browser is signed in and when it was last seen, once the view has answered:
    a sign-in has its session only then."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.session.accessed and isinstance(request.user, User):
            sessions.note(request)
        return response


def signed_in(request: HttpRequest) -> User:
    """Who asks. Every view that is not `login_not_required` has a user; this says so to the type checker."""
    assert isinstance(request.user, User)
    return request.user
