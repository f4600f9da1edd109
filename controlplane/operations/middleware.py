"""Turns the errors we raise on purpose into answers, and writes refusals into the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from controlplane.access.models import User
from controlplane.access.second_factor import lacks_second_factor
from controlplane.lib import origin
from controlplane.lib.errors import GantryError, RightMissing, Withheld
from controlplane.operations import refusals
from controlplane.operations.audit import client_ip


class SecondFactorRequired:
    """Middleware. Nothing is shown to somebody whose role asks for a second factor that they have not set up, but for
    where one does that: a page leads there, anything else is refused with 403."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> HttpResponse | None:
        is_open = not getattr(view, "login_required", True) or getattr(view, "open_without_second_factor", False)
        if is_open or not isinstance(request.user, User) or not lacks_second_factor(request.user):
            return None
        if request.method in ("GET", "HEAD") and "HX-Request" not in request.headers:
            return redirect("access:second-factor")
        error = Withheld(
            "access.sign-in", "A role that you hold asks for a second factor.", "Reload the page and set one up."
        )
        refusals.note(request.user, error, f"{request.method} {request.path}")
        response = render(request, "errors/toast.html", {"error": error}, status=403)
        response["HX-Retarget"], response["HX-Reswap"] = "#toasts", "beforeend"
        return response


class ExplainErrors:
    """Middleware. An htmx request gets the error as a toast; a form post returns to its page with a message."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with origin.entered(door=origin.door_of(request.path), ip=client_ip(request)):
            return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        refusals.note(request.user, exception, f"{request.method} {request.path}")
        if not isinstance(exception, GantryError):
            return None
        told_by_message = request.method == "POST" and not request.htmx and not isinstance(exception, RightMissing)  # type: ignore[attr-defined]
        if told_by_message and (back := self._page_before(request)):
            messages.error(request, f"{exception.message} {exception.hint}".strip())
            return HttpResponse(status=303, headers={"Location": back})
        return self._answer(request, exception)

    def _answer(self, request: HttpRequest, error: GantryError) -> HttpResponse:
        template = "errors/toast.html" if request.htmx else f"errors/{self._page(error)}.html"  # type: ignore[attr-defined]
        # An engine's error has the engine's status, and a host may answer with any number.
        status = error.status if 400 <= error.status < 600 else 502
        response = render(request, template, {"error": error}, status=status)
        if request.htmx:  # type: ignore[attr-defined]
            response["HX-Retarget"], response["HX-Reswap"] = "#toasts", "beforeend"
        return response

    @staticmethod
    def _page(error: GantryError) -> str:
        """The 403 page speaks of rights in Gantry: an engine's own refusal is told as any other error."""
        if isinstance(error, RightMissing):
            return "403"
        return str(error.status) if error.status in (400, 404) else "error"

    @staticmethod
    def _page_before(request: HttpRequest) -> str | None:
        referer = request.headers.get("Referer", "")
        safe = url_has_allowed_host_and_scheme(
            referer, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        )
        return referer if safe else None
