"""The page of an environment's rules: what they are, what would break others before those are saved, who made them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from containers.keeping import preview
from controlplane.access.middleware import signed_in
from controlplane.lib.pages import page
from controlplane.operations.audit import client_ip
from controlplane.operations.models import AuditEntry, Outcome
from hosts.rules.access import get_environment
from hosts.rules.actions import save
from hosts.rules.forms import RulesForm, initial
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import NO_RULES, Rules

MOST_ENTRIES = 20


def rules(request: HttpRequest, pk: int) -> HttpResponse:
    """The form; `do=look` shows what it would come to, `do=save` saves it."""
    user = signed_in(request)
    environment = get_environment(user, pk)
    row = EnvironmentRules.objects.filter(environment=environment).first()
    present = row.rules if row else NO_RULES
    form = RulesForm(request.POST or None, initial=initial(present))
    wanted: Rules | None = present
    if request.method == "POST":
        wanted = form.rules if form.is_valid() else None
        if wanted is not None and request.POST.get("do") == "save":
            changed = save(user, environment, wanted, ip=client_ip(request))
            messages.success(
                request, f"The rules of {environment} are {'saved' if changed else 'as they were: nothing changed'}."
            )
            return redirect("rules:edit", pk=pk)
    context = {
        "environment": environment,
        "form": form,
        "row": row,
        "looked": request.method == "POST" and wanted is not None,
        "preview": preview(user, environment, wanted) if wanted is not None else None,
        "history": AuditEntry.objects.filter(
            verb="rules.manage", target_kind="environment", target_id=str(environment.pk), outcome=Outcome.ALLOWED
        )[:MOST_ENTRIES],
    }
    return page(request, "hosts/rules.html", context, status=422 if form.errors else 200)
