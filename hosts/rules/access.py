"""Fetching an environment for the sake of its rules."""

from __future__ import annotations

from controlplane.access.decide import Actor, fetch, visible
from hosts.models import Environment


def get_environment(actor: Actor, pk: int) -> Environment:
    """One environment whose rules `actor` may make. Raises Http404 for whoever sees nothing in it, and RightMissing
    for one who does without the right to its rules."""
    every = Environment.objects.all()
    found = visible(actor, "rules.manage", every).filter(pk=pk).first()
    return found or fetch(actor, "rules.manage", every, see="host.see", pk=pk)
