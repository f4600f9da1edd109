"""Rendering: a page, or for htmx the one fragment of it that was asked for."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render `template`; an htmx request that targets `#name` gets the partial `name`, if the page has it.

    Boosted requests and those that restore history get the whole page.
    """
    htmx = request.htmx  # type: ignore[attr-defined]
    names = [template]
    if htmx and not htmx.boosted and not htmx.history_restore_request and htmx.target:
        names = [f"{template}#{htmx.target}", template]
    response = render(request, names, context, status=status)
    response["Vary"] = "HX-Request, HX-Target"
    return response
