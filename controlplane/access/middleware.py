"""Nothing is shown to somebody who has not signed in, but for a pinned list."""

from __future__ import annotations

from django.contrib.auth.middleware import LoginRequiredMiddleware


class SignInRequired(LoginRequiredMiddleware):
    """Django's middleware; public views say so with `@login_not_required`."""
