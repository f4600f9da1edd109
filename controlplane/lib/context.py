"""What every page's frame needs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, Any]:
    """`app`: the section of the page, for the navigation; `version`: Gantry's own."""
    match = request.resolver_match
    app = (match.app_name or match.url_name) if match else ""
    if match and (match.url_name or "").startswith("audit"):
        app = "audit"  # a section of its own, among the operations' addresses
    return {"app": app, "version": settings.VERSION}
