"""What the frame of every page needs to know of access."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest

from controlplane.access.decide import allows
from controlplane.access.giving import EVERYTHING
from controlplane.access.reach import Place


def managing(request: HttpRequest) -> dict[str, Any]:
    """`sees_recordings`, `manages_access`: anywhere; `manages_people`: everywhere. Asked when a page says them, not
    before.
    """

    def may(verb: str, target: Place | None = None) -> bool:
        try:
            return hasattr(request, "user") and allows(request.user, verb, target)
        except DatabaseError:  # the page that says so has this frame too
            return False

    return {
        "sees_recordings": lambda: may("recording.see"),
        "manages_access": lambda: may("access.manage"),
        "manages_people": lambda: may("access.manage", EVERYTHING),
    }
