"""The addresses a page's script sends files to: begin, pieces, finish. JSON both ways, errors too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from controlplane.access.decide import require
from controlplane.access.middleware import signed_in
from controlplane.lib.errors import GantryError, InvalidArgument, RightMissing
from controlplane.lib.lists import row_ids
from images.builds import uploading
from images.builds.forms import read_json

View = Callable[..., HttpResponse]


def said_in_json(view: View) -> View:
    """A script reads {"message", "hint"}. A right that is missing goes on to where it is audited."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except RightMissing:
            raise
        except GantryError as exc:
            return JsonResponse({"message": exc.message, "hint": exc.hint}, status=exc.status)

    return wrapped


@require_POST
@said_in_json
def begin(request: HttpRequest) -> HttpResponse:
    require(request.user, "image.build")
    name = read_json(request.body).get("name", "")
    upload = uploading.begin(signed_in(request), name if isinstance(name, str) else "")
    return JsonResponse({"id": upload.pk, "url": reverse("builds:upload", args=[upload.pk])}, status=201)


@require_http_methods(["PUT", "DELETE"])
@said_in_json
def upload(request: HttpRequest, ident: str) -> HttpResponse:
    """PUT `?offset=N`: one piece, 409 with what there is when it is not the next one. DELETE: forget it."""
    require(request.user, "image.build")
    found = uploading.find(signed_in(request), ident)
    if request.method == "DELETE":
        uploading.drop(found)
        return HttpResponse(status=204)
    offset = row_ids([request.GET.get("offset", "")])
    piece = request.read(uploading.LARGEST_PIECE + 1)
    if not offset or len(piece) > uploading.LARGEST_PIECE:
        raise InvalidArgument(f"Expected ?offset=N and at most {uploading.LARGEST_PIECE >> 20} MiB.")
    received = uploading.append(found, offset[0], piece)
    return JsonResponse({"received": received}, status=200 if received == offset[0] + len(piece) else 409)


@require_POST
@said_in_json
def finish(request: HttpRequest, ident: str) -> HttpResponse:
    require(request.user, "image.build")
    found = uploading.find(signed_in(request), ident)
    size = read_json(request.body).get("size")
    if not isinstance(size, int):
        raise InvalidArgument("Expected the size in bytes.")
    return JsonResponse(uploading.as_json(uploading.finish(found, size)))
