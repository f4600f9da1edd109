"""Images of all hosts: the list, pulling, removing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from controlplane.access.decide import require
from controlplane.api.common import Body, Id, Ref, accepted, caller, example, ip_of
from controlplane.api.operations import OperationOut
from controlplane.api.paging import Page, paged, query_of
from controlplane.api.problems import Invalid
from controlplane.lib.lists import row_ids
from hosts.access import environments
from hosts.models import Environment, Host
from images import actions, catalogue
from images.access import not_seen, select
from images.filters import SORTS, ImageFilter
from images.forms import PullForm

router = Router(tags=["images"])


class ImageOut(Schema):
    """One image under one name (none: `reference` is empty), on all the hosts that hold it so."""

    key: Annotated[str, Field(description="How `remove` knows it, on every host.")]
    reference: str
    repository: str
    tag: str
    id: str
    size: int
    created_at: datetime | None
    digest: str
    host_count: int
    user_count: int
    hosts: Annotated[list[Ref], Field(description="The first by name.")]
    users: Annotated[list[Ref], Field(description="The first containers made from it.")]

    @staticmethod
    def resolve_id(row: catalogue.Row) -> str:
        return row.engine_id

    @staticmethod
    def resolve_created_at(row: catalogue.Row) -> datetime | None:
        return row.created

    @staticmethod
    def resolve_users(row: catalogue.Row) -> list[dict[str, Any]]:
        return [{"id": user.pk, "name": user.name} for user in row.users]


class PullBody(Body):
    """A reference, and where it is to be; hosts and environments are added up."""

    reference: Annotated[str, Field(max_length=1000)]
    hosts: Annotated[list[Id], Field(max_length=1000)] = []
    environments: Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=100)] = []
    everywhere: bool = False
    registry_user: Annotated[str, Field(max_length=250)] = ""
    registry_password: Annotated[str, Field(max_length=4000)] = ""


class RemoveBody(Body):
    """`images`: keys, `HOST|ID|REFERENCE` for one host, `|ID|REFERENCE` for every host. `force`: also when stopped
    containers use it."""

    images: Annotated[list[Annotated[str, Field(max_length=500)]], Field(min_length=1, max_length=500)]
    force: bool = False


ImageQuery = query_of("ImageQuery", ImageFilter, SORTS, "name")


@router.get("", response=Page[ImageOut], operation_id="list_images")
def list_images(request: HttpRequest, query: Query[ImageQuery]) -> Any:  # type: ignore[valid-type]
    """Images of all hosts, by name and id."""
    require(request.user, "image.see")

    def rows(groups: list[Any]) -> list[catalogue.Row]:
        host = Host.objects.filter(pk__in=row_ids([request.GET.get("host", "")])).first()
        environment = Environment.objects.filter(slug=request.GET.get("environment", "")).first()
        return catalogue.rows(request.user, groups, host=host, environment=environment)

    groups = catalogue.grouped(request.user)
    return paged(request, ImageFilter, groups, query, sorts=SORTS, last=catalogue.GROUP, rows=rows)


@router.post(
    "/pull",
    response={202: OperationOut},
    operation_id="pull_image",
    openapi_extra=example({"reference": "nginx:1.27", "hosts": [1]}),
)
def pull(request: HttpRequest, response: HttpResponse, body: PullBody) -> Any:
    """Pull an image; one operation, or one with a child for each host."""
    require(request.user, "image.pull")
    data = body.model_dump()
    known = environments(request.user, "image.pull").filter(slug__in=body.environments)
    found = dict(known.values_list("slug", "pk"))
    if unknown := [slug for slug in body.environments if slug not in found]:
        raise Invalid({"environments": [f"Expected environments' slugs, found “{unknown[0]}”."]})
    data["environments"] = list(found.values())
    form = PullForm(data, actor=request.user)
    if not form.is_valid():
        raise Invalid.of_form(form)
    operation = actions.pull(
        caller(request),
        form.cleaned_data["reference"],
        form.cleaned_data["chosen"],
        login=form.login,
        ip=ip_of(request),
    )
    return accepted(response, operation)


@router.post(
    "/remove",
    response={202: OperationOut},
    operation_id="remove_images",
    openapi_extra=example({"images": ["|sha256:" + "a" * 64 + "|web"]}),
)
def remove(request: HttpRequest, response: HttpResponse, body: RemoveBody) -> Any:
    """Remove names of images from hosts, and an image with its last name."""
    require(request.user, "image.delete")
    selected = select(request.user, body.images)
    if not selected:
        raise not_seen(body.images[0])
    return accepted(response, actions.remove(caller(request), selected, force=body.force, ip=ip_of(request)))
