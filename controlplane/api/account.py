"""One's own account: who one is, and where one is signed in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import one_of
from controlplane.access.models import BrowserSession, User
from controlplane.api.common import Body, caller, example
from controlplane.api.paging import Page, paged, query_of, searching
from controlplane.api.people import PersonOut
from controlplane.api.problems import Invalid
from controlplane.api.tokens import TokenOut
from controlplane.people import actions
from controlplane.people.devices import device
from controlplane.people.forms import NameForm

router = Router(tags=["your account"])


class MeOut(Schema):
    """Who one is, by the token that was sent."""

    account: PersonOut
    token: TokenOut


class MeBody(Body):
    first_name: Annotated[str, Field(max_length=150)] = ""
    last_name: Annotated[str, Field(max_length=150)] = ""
    email: Annotated[str, Field(max_length=254)] = ""


class SessionOut(Schema):
    """A browser that one is signed in with."""

    id: int
    device: Annotated[str, Field(description="What it calls itself, in a word.")]
    address: str | None
    signed_in_at: datetime
    seen_at: datetime

    @staticmethod
    def resolve_signed_in_at(row: BrowserSession) -> datetime:
        return row.began_at

    @staticmethod
    def resolve_device(row: BrowserSession) -> str:
        return device(row.agent)


@router.get("", response=MeOut, operation_id="me")
def me(request: HttpRequest) -> Any:
    """Who one is, and by which token."""
    actor = caller(request)
    return {"account": actor, "token": actor.token}


@router.patch("", response=MeOut, operation_id="change_me", openapi_extra=example({"first_name": "Ada"}))
def change_me(request: HttpRequest, body: MeBody) -> Any:
    """What one says of oneself; what is left out stays."""
    actor = caller(request)
    kept = {"first_name": actor.first_name, "last_name": actor.last_name, "email": actor.email}
    # A row of its own: the form writes into it before it has judged.
    form = NameForm(kept | body.model_dump(exclude_unset=True), instance=User.objects.get(pk=actor.pk))
    if not form.is_valid():
        raise Invalid.of_form(form)
    return {"account": actions.change_names(request, form), "token": actor.token}


SESSION_SORTS = {"seen": ("seen_at", "id"), "id": ("id",)}
SessionFilter = searching(BrowserSession)
SessionQuery = query_of("SessionQuery", SessionFilter, SESSION_SORTS, "-seen")


@router.get("/sessions", response=Page[SessionOut], operation_id="list_my_sessions")
def list_my_sessions(request: HttpRequest, query: Query[SessionQuery]) -> Any:  # type: ignore[valid-type]
    """Where one is signed in, the last seen first. A token that is narrowed is told nothing of it."""
    return paged(request, SessionFilter, actions.own_sessions(request), query, sorts=SESSION_SORTS)


@router.delete("/sessions", response={204: None}, operation_id="end_my_sessions")
def end_my_sessions(request: HttpRequest) -> Any:
    """Sign out everywhere. Tokens stay."""
    actions.end_own_sessions(request)


@router.delete("/sessions/{int:pk}", response={204: None}, operation_id="end_my_session")
def end_my_session(request: HttpRequest, pk: int) -> Any:
    """Sign one browser out."""
    actions.end_own_session(request, one_of(actions.own_sessions(request), "access.account", pk=pk))
