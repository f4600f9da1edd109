"""Nothing is shown to somebody who has not signed in, but for a pinned list."""

from __future__ import annotations

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest

from controlplane.access.models import User


class SignInRequired(LoginRequiredMiddleware):
    """Django's middleware; public views say so with `@login_not_required`."""


def signed_in(request: HttpRequest) -> User:
    """Who asks. Every view behind `SignInRequired` has a user; this says so to the type checker."""
    assert isinstance(request.user, User)
    return request.user
