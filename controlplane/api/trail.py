"""What the API leaves in the audit trail beyond what its actions do: who was refused. The one place that says so."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest

from controlplane.access.models import Token
from controlplane.access.tokens import Refused as TokenRefused
from controlplane.access.tokens import SecondFactorMissing
from controlplane.lib import origin
from controlplane.lib.errors import Refused
from controlplane.operations import refusals


def enter(request: HttpRequest, token: Token) -> None:
    """From here on the request speaks by `token`, and so does the trail."""
    request.token = token  # type: ignore[attr-defined]
    origin.enter(door=origin.Door.API, token_id=token.pk, token_name=token.name)


def note_refusal(request: HttpRequest, exc: Exception) -> None:
    """What was refused, or not there. Kept until the transaction that it broke off has ended: see `write_refusal`."""
    if isinstance(exc, Refused | Http404):
        request.refusal = exc  # type: ignore[attr-defined]


def write_refusal(request: HttpRequest) -> None:
    """Write down what was noted."""
    exc = request.__dict__.pop("refusal", None)
    if exc is not None:
        refusals.note(request.user, exc, f"{request.method} {request.path}")


def write_failure(request: HttpRequest, refused: TokenRefused) -> None:
    """A token that was not let in; the first few of a minute, then a number."""
    token = refused.token
    refusals.refused(
        token.owner if token and isinstance(refused, SecondFactorMissing) else AnonymousUser(),
        "access.token",
        target_kind="token" if token else "",
        target_id=token.pk if token else "",
        target_name=f"{token.name} of {token.owner.display}" if token else "",
        detail=f"{refused.why}: {request.method} {request.path}",
        door=origin.Door.API,
    )
