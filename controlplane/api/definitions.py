"""Build definitions: builds that are done again and again, and what starts them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import fetch, require
from controlplane.api.builds import BuildBody, options_seen
from controlplane.api.common import Body, accepted, caller, example, ip_of
from controlplane.api.operations import OperationOut
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from images.builds import actions
from images.builds.access import definitions as seen_definitions
from images.builds.filters import DEFINITION_SORTS, DefinitionFilter
from images.builds.forms import DefinitionForm
from images.builds.models import Definition

router = Router(tags=["builds"])


class DefinitionOut(Schema):
    """A build that is done again and again."""

    slug: str
    name: str
    owner: str | None
    source: dict[str, Any]
    options: dict[str, Any]
    concurrency: str
    schedule: str
    next_run_at: datetime | None
    follows_base: bool
    has_webhook: bool
    refused_at: datetime | None
    refused_why: str

    @staticmethod
    def resolve_owner(row: Definition) -> str | None:
        return row.owner.username if row.owner else None

    @staticmethod
    def resolve_has_webhook(row: Definition) -> bool:
        return bool(row.hook_secret)


class WebhookOut(Schema):
    """The webhook's new secret, shown this once."""

    secret: str


class DefinitionBody(BuildBody):
    """A definition: a build with a name, and what starts it."""

    name: Annotated[str, Field(max_length=80)]
    concurrency: Literal["queue", "cancel"] = "queue"
    schedule: Annotated[str, Field(max_length=100, description="Five fields of crontab(5), in UTC.")] = ""
    follows_base: bool = False


class HookBody(Body):
    on: bool = True


def _definition(request: HttpRequest, slug: str, verb: str = "image.see") -> Definition:
    rows = Definition.objects.select_related("owner", "host", "image_name")
    return fetch(request.user, verb, rows, see="image.see", slug=slug)


DefinitionQuery = query_of("DefinitionQuery", DefinitionFilter, DEFINITION_SORTS, "name")


@router.get("", response=Page[DefinitionOut], operation_id="list_definitions")
def list_definitions(request: HttpRequest, query: Query[DefinitionQuery]) -> Any:  # type: ignore[valid-type]
    """Every definition."""
    require(request.user, "image.see")
    rows = seen_definitions(request.user).select_related("owner", "host", "image_name")

    def shown(found: list[Definition]) -> list[Definition]:
        return [_as_seen(request, each) for each in found]

    return paged(request, DefinitionFilter, rows, query, sorts=DEFINITION_SORTS, rows=shown)


def _as_seen(request: HttpRequest, found: Definition) -> Definition:
    found.options = options_seen(request, found.host, found.options)
    return found


@router.post(
    "",
    response={201: DefinitionOut},
    operation_id="add_definition",
    openapi_extra=example({"name": "Shop", "kind": "git", "url": "https://git.example/shop/web.git", "host": 1}),
)
def add(request: HttpRequest, body: DefinitionBody) -> Any:
    """A new one. Its builds run with the rights of whoever saved it last."""
    require(request.user, "image.build")
    return _save(request, Definition(), body)


@router.get("/{slug:slug}", response=DefinitionOut, operation_id="get_definition")
def get_definition(request: HttpRequest, slug: str) -> Any:
    """One definition."""
    return _as_seen(request, _definition(request, slug))


@router.put("/{slug:slug}", response=DefinitionOut, operation_id="change_definition")
def change(request: HttpRequest, slug: str, body: DefinitionBody) -> Any:
    """Say all of it anew."""
    return _save(request, _definition(request, slug, "image.build"), body)


def _save(request: HttpRequest, definition: Definition, body: DefinitionBody) -> Definition:
    form = DefinitionForm(body.as_form(caller(request)), actor=caller(request), definition=definition)
    if not form.is_valid():
        raise Invalid.of_form(form)
    return actions.save_definition(caller(request), form.fill(), ip=ip_of(request))


@router.delete("/{slug:slug}", response={204: None}, operation_id="delete_definition")
def delete(request: HttpRequest, slug: str) -> Any:
    """Forget it; its builds stay."""
    actions.delete_definition(caller(request), _definition(request, slug, "image.build"), ip=ip_of(request))


@router.post("/{slug:slug}/build", response={202: OperationOut}, operation_id="build_definition")
def build(request: HttpRequest, response: HttpResponse, slug: str) -> Any:
    """Build it now."""
    operation = actions.start_defined(caller(request), _definition(request, slug), ip=ip_of(request))
    return accepted(response, operation)


@router.post(
    "/{slug:slug}/webhook", response=WebhookOut, operation_id="renew_webhook", openapi_extra=example({"on": True})
)
def webhook(request: HttpRequest, slug: str, body: HookBody) -> Any:
    """A new secret for its webhook, or none: then it is off."""
    found = _definition(request, slug, "image.build")
    return {"secret": actions.renew_hook(caller(request), found, on=body.on, ip=ip_of(request))}
