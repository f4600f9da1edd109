"""The rules that environments have."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from controlplane.access.reach import Reach
from hosts.models import Environment
from hosts.rules.rules import NO_RULES, Rules


class EnvironmentRules(models.Model):
    """The rules of one environment. `body`: `Rules.as_json`."""

    environment = models.OneToOneField(Environment, on_delete=models.CASCADE, related_name="rules")
    body = models.JSONField(default=dict)
    changed_at = models.DateTimeField(default=timezone.now)
    changed_by = models.CharField(max_length=200, blank=True)

    reach = Reach(environment="environment")

    class Meta:
        verbose_name_plural = "rules of environments"

    def __str__(self) -> str:
        return f"rules of {self.environment}"

    @property
    def rules(self) -> Rules:
        return Rules.of_json(self.body)


def rules_of(environment: int | None) -> Rules:
    """Those that hold in an environment, by its id. A host in none has none."""
    found = EnvironmentRules.objects.filter(environment=environment).first() if environment else None
    return found.rules if found else NO_RULES
