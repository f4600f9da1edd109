"""What a joining machine asks of the web. Nobody is signed in here: the token, once, is the credential."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from django.contrib.auth.decorators import login_not_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from controlplane.operations.audit import client_ip
from hosts import enrolment, wheels
from hosts.install import script
from hosts.tls import NO_TLS, NO_TLS_HINT, is_private, pinned_fingerprint

MAX_BODY = 16 * 1024  # bytes


@csrf_exempt
@login_not_required
@require_POST
def enrol(request: HttpRequest) -> HttpResponse:
    """Token and public key in; host id, name and gateways out."""
    if not is_private(request):
        return _refusal(403, NO_TLS, NO_TLS_HINT)
    body = request.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        return _refusal(413, "Expected a short JSON document.", "")
    try:
        host = enrolment.enrol(enrolment.parse(body, client_ip(request)))
    except enrolment.EnrolmentRefused as exc:
        return _refusal(exc.status, exc.message, exc.hint)
    return JsonResponse({"host": host.pk, "name": host.name, "gateways": enrolment.gateways(request)})


@login_not_required
@require_GET
def install_script(request: HttpRequest) -> HttpResponse:
    """The script behind the pasted line. It holds no secret: the token is its argument."""
    if not is_private(request):
        return HttpResponse(f"{NO_TLS}\n{NO_TLS_HINT}\n", status=403, content_type="text/plain; charset=utf-8")
    text = script(enrolment.base_url(request), pinned_fingerprint())
    return HttpResponse(text, content_type="text/x-shellscript; charset=utf-8")


@login_not_required
@require_GET
def wheels_index(request: HttpRequest) -> HttpResponse:
    """PEP 503: the projects served here; as JSON with every file and its digest for the install script."""
    standing = wheels.standing()
    if standing.state != "ready":
        answer = _refusal(503, standing.message, "Try again in a minute.")
        if standing.state == "collecting":
            answer["Retry-After"] = "2"  # the install script waits for this
        return answer
    files = wheels.files()
    if request.GET.get("format") == "json":
        return JsonResponse({"files": files})
    projects = sorted({found["project"] for found in files})
    return HttpResponse(_page((f"{name}/", name) for name in projects))


@login_not_required
@require_GET
def wheel_file(request: HttpRequest, name: str) -> HttpResponseBase:
    """One wheel, or PEP 503's page of one project (`name` ends with a slash)."""
    files = wheels.files()
    if name.endswith("/"):
        found = [file for file in files if file["project"] == name.rstrip("/")]
        if not found:
            raise Http404
        return HttpResponse(_page((f"../{file['name']}#sha256={file['sha256']}", file["name"]) for file in found))
    # Only names from the index are opened: nothing of the path is taken from the request.
    for file in files:
        if file["name"] == name:
            return FileResponse(Path(wheels.folder() / file["name"]).open("rb"), content_type="application/zip")
    raise Http404


def _page(links: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f'<a href="{escape(href)}">{escape(text)}</a><br>\n' for href, text in links)
    return f"<!DOCTYPE html>\n<title>Wheels of the Gantry agent</title>\n{rows}"


def _refusal(status: int, message: str, hint: str) -> JsonResponse:
    return JsonResponse({"message": message, "hint": hint}, status=status)
