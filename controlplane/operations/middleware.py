"""Turns the errors we raise on purpose into answers, and writes refusals into the audit trail."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from controlplane.lib.errors import GantryError, RightMissing
from controlplane.operations.audit import client_ip, record
from controlplane.operations.models import Outcome


class ExplainErrors:
    """Middleware. An htmx request gets the error as a toast; a form post returns to its page with a message."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, GantryError):
            return None
        if isinstance(exception, RightMissing):
            self._audit(request, exception)
        elif request.method == "POST" and not request.htmx and (back := self._page_before(request)):  # type: ignore[attr-defined]
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

    @staticmethod
    def _audit(request: HttpRequest, error: RightMissing) -> None:
        target = error.target
        record(
            request.user,
            error.verb,
            target_kind=target._meta.model_name if hasattr(target, "_meta") else "",
            target_id=getattr(target, "pk", ""),
            target_name=str(target or ""),
            outcome=Outcome.REFUSED,
            detail=f"{request.method} {request.path}",
            ip=client_ip(request),
        )
