"""What the pages of teams and those of roles do alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from controlplane.access.giving import require_everywhere
from controlplane.access.middleware import signed_in
from controlplane.access.models import Role, Team, User
from controlplane.lib.errors import GantryError, RightMissing

Named = TypeVar("Named", Team, Role)


def removal(
    get: Callable[[User, int], Named], remove: Callable[[HttpRequest, Named], None], back: str
) -> Callable[..., HttpResponse]:
    """The view that removes what `get` finds by `remove`, and then leads `back`."""

    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        require_everywhere(signed_in(request))
        found = get(signed_in(request), pk)
        remove(request, found)
        messages.success(request, f"The {found._meta.verbose_name} {found.name} is removed.")
        return redirect(back)

    return view


def say(form: BaseForm, error: GantryError, field: str | None = None) -> None:
    """A conflict stands beside the field, or above them all; a right that is missing is for the page of refusals."""
    if isinstance(error, RightMissing):
        raise error
    form.add_error(field, f"{error.message} {error.hint}".strip())
