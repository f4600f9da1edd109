"""Which containers keep to the rules of their environment, as far as the mirror can tell.

It is for pages, and for refusing at once what the worker would refuse: before a container is started the host itself
is asked (`running.require_standing`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from containers.access import seen_by
from containers.models import Container
from controlplane.access.decide import Actor
from controlplane.lib.errors import Internal
from controlplane.lib.live import publish
from controlplane.lib.references import name_of
from hosts.models import Environment
from hosts.rules import following
from hosts.rules.facts import Facts, ImageFacts, Violation
from hosts.rules.judge import judge, standing
from hosts.rules.models import EnvironmentRules
from hosts.rules.rules import NO_RULES, Rules
from images.models import Image

log = logging.getLogger(__name__)

LONGEST = 32 * 1024  # characters of what is kept of a container's settings
UNREADABLE = {"unreadable": True}
AT_ONCE = 2000
MOST_SHOWN = 50


def settings_of(inspection: dict[str, Any]) -> dict[str, Any]:
    """What rules speak of in a container's settings, to be kept in the mirror. A host may say anything."""
    found = standing(inspection)
    return found if len(json.dumps(found)) <= LONGEST else UNREADABLE


def broken(rules: Rules, container: Container, digests: Mapping[str, Iterable[str]]) -> list[Violation]:
    """What of `rules` the container breaks. `digests`: what registries call the host's images, by their ids."""
    if rules.is_empty:
        return []
    repository, tag = name_of(container.image_ref)
    known = frozenset({container.image_id, *digests.get(container.image_id, ())})
    body = container.settings or {}
    image = ImageFacts(repository, tag, known, str(body.get("User") or ""))
    # Before it has been inspected only its image is known.
    return judge(rules if container.settings is not None else Rules(images=rules.images), body, Facts(image))


def broken_by(container: Container) -> list[Violation]:
    """The same of one container, with the rules of its environment, for its page."""
    environment = container.host.environment_id
    row = EnvironmentRules.objects.filter(environment=environment).first() if environment else None
    if row is None:
        return []
    rules = row.rules
    return broken(rules, container, _digests(Image.objects.filter(host=container.host_id)) if _pins(rules) else {})


def breaking(rules: Rules, environment: int) -> Iterator[tuple[Container, list[Violation]]]:
    """The containers of an environment that `rules` would be broken by."""
    if rules.is_empty:
        return
    digests = _digests(Image.objects.filter(host__environment=environment)) if _pins(rules) else {}
    rows = Container.objects.filter(host__environment=environment).select_related("host", "image_name")
    for row in rows.order_by("name", "pk").iterator(chunk_size=AT_ONCE):
        if found := broken(rules, row, digests):
            yield row, found


@dataclass
class Preview:
    """What runs there now that rules would be broken by. `more`: beyond those that are shown, or not to be seen."""

    rows: list[tuple[Container, list[Violation]]] = field(default_factory=list)
    more: int = 0

    @property
    def count(self) -> int:
        return len(self.rows) + self.more


def preview(actor: Actor, environment: Environment, wanted: Rules) -> Preview:
    """What `wanted` would come to in `environment`. Names are shown of what `actor` may see; the rest is counted."""
    seen = set(seen_by(actor).filter(host__environment=environment).values_list("pk", flat=True))
    found = Preview()
    for container, violations in breaking(wanted, environment.pk):
        if container.pk in seen and len(found.rows) < MOST_SHOWN:
            found.rows.append((container, violations))
        else:
            found.more += 1
    return found


def _pins(rules: Rules) -> bool:
    return any(allowed.digests for allowed in rules.images)


def _digests(images: Any) -> dict[str, list[str]]:
    rows = images.exclude(repo_digests=[]).values_list("engine_id", "repo_digests")
    return {engine_id: [each.rpartition("@")[2] for each in found] for engine_id, found in rows}


def mark(rows: Iterable[Container], environment: int | None) -> None:
    """Set `breaks_rules` of rows of one environment; they are saved by the caller."""
    row = EnvironmentRules.objects.filter(environment=environment).first() if environment else None
    try:
        rules = row.rules if row else NO_RULES
    except Internal as exc:  # those of a newer version: the mirror goes on, and at the doors nothing is let through
        log.warning("the rules of environment %s cannot be read: %s", environment, exc)
        return
    digests = _digests(Image.objects.filter(host__environment=environment)) if _pins(rules) else {}
    for each in rows:
        each.breaks_rules = bool(broken(rules, each, digests))


def judge_again(hosts: list[int]) -> None:
    """Other rules hold on these hosts: mark their containers anew."""
    rows = Container.objects.filter(host__in=hosts).only("image_ref", "image_id", "settings", "breaks_rules", "host")
    with transaction.atomic():
        for environment in set(rows.values_list("host__environment", flat=True)):
            there = list(rows.filter(host__environment=environment))
            before = {row.pk: row.breaks_rules for row in there}
            mark(there, environment)
            for value in (True, False):
                ids = [row.pk for row in there if row.breaks_rules is value is not before[row.pk]]
                for start in range(0, len(ids), AT_ONCE):
                    Container.objects.filter(pk__in=ids[start : start + AT_ONCE]).update(breaks_rules=value)
    publish("containers")


following.register(judge_again)
