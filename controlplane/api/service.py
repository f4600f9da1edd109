"""The API, put together: its operations, its description, its addresses."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path
from django.views.decorators.http import require_safe
from ninja import NinjaAPI

from controlplane.api import (
    account,
    audit,
    builds,
    containers,
    credentials,
    definitions,
    description,
    grants,
    hosts,
    images,
    logs,
    operations,
    overview,
    people,
    problems,
    recordings,
    roles,
    rules,
    teams,
    tokens,
    uploads,
    why,
)
from controlplane.api.door import ReadBody, TokenAuth, admit, let_in
from controlplane.lib.pages import page

log = logging.getLogger(__name__)

api = NinjaAPI(
    title="Gantry",
    version=settings.VERSION,
    description=description.ABOUT,
    urls_namespace="api",
    docs_url=None,
    openapi_url="",
    auth=TokenAuth(),
    parser=ReadBody(),
)
problems.register(api)
api.add_decorator(admit, mode="view")
for prefix, router in (
    ("/overview", overview.router),
    ("/hosts", hosts.router),
    ("/environments", hosts.environments),
    ("/environments", rules.router),
    ("/containers", logs.router),  # before the verbs: /7/logs would be one of them
    ("/containers", containers.router),
    ("/images", images.router),
    ("/builds", builds.router),
    ("/build-definitions", definitions.router),
    ("/build-uploads", uploads.router),
    ("/build-credentials", credentials.router),
    ("/recordings", recordings.router),
    ("/operations", operations.router),
    ("/audit", audit.router),
    ("/people", people.people),
    ("/teams", teams.router),
    ("/roles", roles.router),
    ("/grants", grants.router),
    ("/why", why.router),
    ("/invitations", people.invitations),
    ("/service-accounts", tokens.services),
    ("/tokens", tokens.router),
    ("/me", account.router),
):
    api.add_router(prefix, router)


View = Callable[..., HttpResponseBase]


def answering(view: View) -> View:
    """`view` outside of sign-in and of forms, whose every error is a problem."""

    @functools.wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except Exception:  # the outermost: nothing else stands between this and a page of HTML
            log.exception("%s %s", request.method, request.path)
            return problems.problem(request, 500, "Gantry failed at this. It is in the log of the web process.")
        if response.status_code == 405:
            said = problems.problem(request, 405, f"{request.method} is not for this address.")
            said["Allow"] = response["Allow"]
            return said
        if "Cache-Control" not in response:
            response["Cache-Control"] = "no-store"
        return response

    answered.csrf_exempt = True  # type: ignore[attr-defined]  # a cookie is no way in
    answered.open_without_second_factor = True  # type: ignore[attr-defined]
    return login_not_required(answered)


def unknown(request: HttpRequest) -> HttpResponseBase:
    return problems.not_found(request)


def openapi(request: HttpRequest) -> HttpResponseBase:
    """The description of the API, for whoever sends a token or is signed in."""
    if "Authorization" in request.headers:
        refusal = let_in(request)
        if refusal is not None:
            return refusal
    elif not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    response = JsonResponse(described(), json_dumps_params={"ensure_ascii": False})
    response["Cache-Control"] = "private, max-age=300"
    return response


@functools.cache
def described() -> dict[str, Any]:
    """The description as OpenAPI 3.1."""
    return description.complete(api.get_openapi_schema(path_prefix="/api/v1/"))


def docs(request: HttpRequest) -> HttpResponse:
    """The description as a page."""
    return page(request, "api/docs.html", {"groups": description.groups(described())})


def addresses() -> list[URLPattern]:
    """Every address below /api/v1/."""
    found = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern)]
    for pattern in found:
        pattern.callback = answering(cast(View, pattern.callback))
    return [
        path("openapi.json", answering(openapi), name="openapi"),
        path("docs", require_safe(docs), name="docs"),
        *found,
        re_path(r"", answering(unknown), name="nothing"),
    ]
