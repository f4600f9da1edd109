"""Rendering: a page, or for htmx the one fragment of it that was asked for."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme


def page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render `template`; an htmx request that targets `#name` gets the partial `name`, if the page has it.

    Boosted requests and those that restore history get the whole page.
    """
    names = [template]
    if is_fragment(request):
        names = [f"{template}#{request.htmx.target}", template]  # type: ignore[attr-defined]
    response = render(request, names, context, status=status)
    response["Vary"] = "HX-Request, HX-Target"
    return response


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page."""
    htmx = request.htmx  # type: ignore[attr-defined]
    return bool(htmx and not htmx.boosted and not htmx.history_restore_request and htmx.target)


def shown_once(request: HttpRequest, key: str) -> Any:
    """What the session keeps under `key` for the next whole page, and for that alone; None: nothing.

    A page that is about to be left refreshes its parts still: they must not take it away.
    """
    return None if is_fragment(request) else request.session.pop(key, None)


def back(request: HttpRequest, to: str, **kwargs: Any) -> HttpResponse:
    """To the page that asked (`next` of the form); without one of ours, to the page named `to`."""
    asked = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(asked)  # not redirect(), which would take a word for the name of a page
    return redirect(to, **kwargs)
