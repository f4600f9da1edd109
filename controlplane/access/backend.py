"""Who may be signed in at all: asked at each sign-in by a password, and of each session at each request and stream."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from controlplane.access.models import User


class People(ModelBackend):
    """Django's backend; `User.can_sign_in` says who. Of the rights that Django keeps, none is asked for anywhere."""

    def user_can_authenticate(self, user: Any) -> bool:
        return isinstance(user, User) and user.can_sign_in
