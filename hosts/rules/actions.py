"""Changing the rules of an environment: one transaction with its audit row."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from controlplane.access.decide import require
from controlplane.access.models import User
from controlplane.access.reach import Place
from controlplane.lib.live import publish
from controlplane.operations.audit import about, record
from hosts.models import Environment
from hosts.rules import following
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import NO_RULES, Rules
from hosts.rules.words import differences


def place_of_rules(environment: Environment) -> Place:
    """Where the right to make the rules of `environment` is asked."""
    return Place(environment.pk, any_image=True, label=str(environment))


@transaction.atomic
def save(actor: User, environment: Environment, rules: Rules, *, ip: str | None = None) -> bool:
    """Have `rules` hold in `environment` from now on; whether anything is different. Raises RightMissing."""
    require(actor, "rules.manage", place_of_rules(environment))
    row = EnvironmentRules.objects.select_for_update().filter(environment=environment).first()
    before = row.rules if row else NO_RULES
    if before == rules:
        return False
    row = row or EnvironmentRules(environment=environment)
    row.body, row.changed_at, row.changed_by = rules.as_json(), timezone.now(), actor.display
    row.save()
    record(
        actor,
        "rules.manage",
        **about(environment),
        detail=f"rules: {'; '.join(differences(before, rules))}",
        ip=ip,
    )
    following.changed(environment.hosts.values_list("pk", flat=True))
    publish("hosts", "containers")
    return True
