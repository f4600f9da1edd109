"""The rules of an environment: what they are, saying them anew, what would break them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from containers import keeping
from controlplane.api.common import Body, caller, example, ip_of
from controlplane.api.door import only_reads
from controlplane.api.problems import Invalid
from controlplane.lib.typed import LEAST_MEMORY
from hosts.models import Environment
from hosts.rules.access import get_environment
from hosts.rules.actions import save
from hosts.rules.forms import BILLION, SWITCHES, RulesForm
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import MOST_LINES, NO_RULES, Rules, lines

router = Router(tags=["environments"])

# Neither empty nor a comment: what the form passes over must not be taken for a rule.
Entry = Annotated[str, Field(max_length=4000, pattern=r"^[^\s#][^\r\n]*$")]
Images = Annotated[
    list[Entry], Field(max_length=MOST_LINES, description="REPOSITORIES : TAGS @ DIGESTS; none: every image.")
]
Binds = Annotated[list[Entry], Field(max_length=MOST_LINES)] | None
Capabilities = Annotated[list[Annotated[str, Field(pattern="^[A-Za-z_]{1,60}$")]], Field(max_length=MOST_LINES)] | None


class RuleFields(Schema):
    """What rules can say. `binds`: paths of the host below which folders may be mounted; `capabilities`: those that
    may be added. `memory` (bytes), `cpus`, `pids`: a limit each container must have, and its most. Null: no rule."""

    images: Images = []
    for_bases: bool = False
    binds: Binds = None
    capabilities: Capabilities = None
    memory: Annotated[int, Field(ge=LEAST_MEMORY, lt=2**63)] | None = None
    cpus: Annotated[float, Field(ge=0.01, lt=100_000)] | None = None
    pids: Annotated[int, Field(ge=1, le=2**22)] | None = None
    no_privileged: bool = False
    own_namespaces: bool = False
    plain_volumes: bool = False
    no_devices: bool = False
    confined: bool = False
    safe_sysctls: bool = False
    plain_runtime: bool = False
    read_only_root: bool = False
    not_root: bool = False


class RulesBody(RuleFields, Body):
    """All of them: what is left out is no rule."""

    @property
    def rules(self) -> Rules:
        """As the page's form reads it. Raises Invalid."""
        data = self.model_dump()
        for name in ("binds", "capabilities"):
            data[f"limit_{name}"] = data[name] is not None
        for name in ("images", "binds", "capabilities"):
            data[name] = lines(data[name] or ())
        for name in ("memory", "cpus", "pids"):
            data[name] = str(data[name] or "")
        form = RulesForm(data)
        if not form.is_valid():
            raise Invalid.of_form(form)
        return form.rules


class RulesOut(RuleFields):
    """The rules of one environment; who changed them last, and when."""

    environment: str
    changed_at: datetime | None
    changed_by: str


class Breaker(Schema):
    """A container that rules would be broken by, and how."""

    id: int
    name: str
    host: str
    broken: list[str]


class RulesPreviewOut(Schema):
    """`more`: beyond those that are named, or not to be seen."""

    count: int
    containers: list[Breaker]
    more: int


RULES = {
    "images": ["registry.example/shop/** : v*"],
    "no_privileged": True,
    "binds": ["/srv/shop"],
    "memory": 2147483648,
}


def _said(environment: Environment) -> dict[str, Any]:
    row = EnvironmentRules.objects.filter(environment=environment).first()
    rules = row.rules if row else NO_RULES
    said: dict[str, Any] = {name: getattr(rules, name) for name in (*SWITCHES, "for_bases", "binds", "capabilities")}
    return said | {
        "images": [str(each) for each in rules.images],
        "memory": rules.memory or None,
        "cpus": rules.nano_cpus / BILLION or None,
        "pids": rules.pids or None,
        "environment": environment.slug,
        "changed_at": row.changed_at if row else None,
        "changed_by": row.changed_by if row else "",
    }


@router.get("/{int:pk}/rules", response=RulesOut, operation_id="get_rules")
def get_rules(request: HttpRequest, pk: int) -> Any:
    """The rules that hold in an environment."""
    return _said(get_environment(request.user, pk))


@router.put("/{int:pk}/rules", response=RulesOut, operation_id="change_rules", openapi_extra=example(RULES))
def change_rules(request: HttpRequest, pk: int, body: RulesBody) -> Any:
    """Say all of them anew. What runs already and breaks them runs on, and is not started again."""
    environment = get_environment(request.user, pk)
    save(caller(request), environment, body.rules, ip=ip_of(request))
    return _said(environment)


@router.post(
    "/{int:pk}/rules/preview", response=RulesPreviewOut, operation_id="preview_rules", openapi_extra=example(RULES)
)
@only_reads
def preview_rules(request: HttpRequest, pk: int, body: RulesBody) -> Any:
    """What would break such rules, of what runs there now. Nothing is changed."""
    environment = get_environment(request.user, pk)
    found = keeping.preview(request.user, environment, body.rules)
    named = [
        {"id": row.pk, "name": row.name, "host": row.host.name, "broken": [str(each) for each in broken]}
        for row, broken in found.rows
    ]
    return {"count": found.count, "containers": named, "more": found.more}
