"""What every page's frame needs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, Any]:
    """`app`: the section of the page, for the navigation; `version`: Gantry's own."""
    match = request.resolver_match
    return {"app": (match.app_name or match.url_name) if match else "", "version": settings.VERSION}
