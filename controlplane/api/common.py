"""What several resources say alike."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

from controlplane.access.models import User
from controlplane.access.roles import ALL_VERBS
from controlplane.api.problems import Invalid
from controlplane.operations.audit import client_ip
from controlplane.operations.models import Operation
from hosts.access import environments

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Line = Annotated[str, Field(max_length=4000, pattern=r"^[^\r\n]*$")]
Note = Annotated[str, Field(max_length=200, pattern=r"^[^\r\n]*$")]


def _known(verb: str) -> str:
    if verb not in ALL_VERBS:
        raise ValueError(f"expected a right, found “{verb[:60]}”")
    return verb


Verb = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(ALL_VERBS)})]


class Body(Schema):
    """A body: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid")


class Ref(Schema):
    """One row of ours, named."""

    id: int
    name: str


def caller(request: HttpRequest) -> User:
    """Who asks, with the token they ask by."""
    assert isinstance(request.user, User)
    return request.user


def ip_of(request: HttpRequest) -> str | None:
    return client_ip(request)


def environment_id(actor: User, verb: str, slug: str) -> int:
    """The id of an environment where `actor` holds `verb`, as forms have it. Raises Invalid."""
    found = environments(actor, verb).filter(slug=slug).first()
    if found is None:
        raise Invalid({"environment": [f"Expected an environment's slug, found “{slug}”."]})
    return found.pk


def accepted(response: HttpResponse, operation: Operation) -> Operation:
    """The answer to a change that goes on: 202, with where its operation is. It is the caller's own."""
    response["Location"] = f"/api/v1/operations/{operation.pk}"
    return operation


def example(body: Any = None, **answer: Any) -> dict[str, Any]:
    """For the description of an operation: a body that works."""
    if body is None:
        return {}
    return {"requestBody": {"content": {"application/json": {"example": body}}}}
