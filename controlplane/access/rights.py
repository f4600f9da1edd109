"""What somebody holds: their standing, the grants to them and their teams; narrowed by a token's, if there is one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from controlplane.access.models import Grant, User
from controlplane.access.models.grants import known_verbs
from controlplane.access.patterns import Scope
from controlplane.access.reach import Place, Reach
from controlplane.access.roles import OWNER_VERBS, STANDING, WHOLE_VERBS
from controlplane.lib.among import Among

KEPT_SECONDS = 2.0  # what was read of somebody's grants may be asked again for so long
MOST_KEPT = 4096  # decisions of one `Rights`
M = TypeVar("M", bound=Model)
EVERYTHING = Scope()
_ASKED = (
    *("pk", "repositories", "tags", "every_environment", "expires_at"),
    *("role", "role__slug", "role__verbs", "role__built_in"),
)


@dataclass(frozen=True)
class Held:
    """One set of verbs over one scope. `environments`: their ids, None for every one; `grant`: None: by standing."""

    verbs: frozenset[str]
    scope: Scope = EVERYTHING
    environments: frozenset[int] | None = None
    expires_at: datetime | None = None
    grant: int | None = None

    @property
    def is_live(self) -> bool:
        return self.expires_at is None or self.expires_at > timezone.now()

    def gives(self, verb: str) -> bool:
        """Whether it gives `verb` anywhere at all, while it lasts."""
        somewhere = self.environments is None or bool(self.environments)  # they may have been removed
        return verb in self.verbs and somewhere and (verb not in WHOLE_VERBS or self.scope.is_whole)

    def in_environment(self, environment: int | None) -> bool:
        return self.environments is None or (environment is not None and environment in self.environments)

    def on_image(self, verb: str, place: Place) -> bool:
        if verb in WHOLE_VERBS:
            return self.scope.is_whole
        if place.any_image or self.scope.is_whole:
            return True
        return any(self.scope.covers(repository, tag) for repository, tag in place.names)


Layer = tuple[Held, ...]


@dataclass
class Rights:
    """Layers of what is held, each of which must allow: a person's, then, where one is used, a narrowed token's."""

    user: int
    layers: tuple[Layer, ...]
    token: int | None = None
    kept: dict[tuple[str, Place], bool] = field(default_factory=dict)
    by_verb: dict[str, tuple[Layer, ...]] = field(default_factory=dict)
    reached: dict[tuple[int, Place], Held] = field(default_factory=dict)  # of each layer, what gave something there

    def __post_init__(self) -> None:
        ends = [held.expires_at for layer in self.layers for held in layer if held.expires_at is not None]
        self.first_end = min(ends, default=None)

    def of(self, verb: str) -> tuple[Layer, ...]:
        """For each layer, what it holds of `verb` now."""
        found = self.by_verb.get(verb)
        if found is None:
            found = tuple(tuple(held for held in layer if held.gives(verb)) for layer in self.layers)
            self.by_verb[verb] = found
        if self.first_end is None or timezone.now() < self.first_end:
            return found
        return tuple(tuple(held for held in layer if held.is_live) for layer in found)

    def hold(self, verb: str) -> bool:
        """Whether `verb` is held over anything at all."""
        return all(self.of(verb))

    def allow(self, verb: str, place: Place) -> bool:
        """Whether `verb` may be done to what lies at `place`."""
        answer = self.kept.get((verb, place))
        if answer is None:
            answer = all(
                (own and bool(layer) and verb in OWNER_VERBS) or self._in_layer(number, layer, verb, place)
                for number, (layer, own) in enumerate(zip(self.of(verb), self._own(place), strict=False))
            )
            if len(self.kept) < MOST_KEPT:
                self.kept[verb, place] = answer
        return answer

    def _own(self, place: Place) -> tuple[bool, bool]:
        """Whether it is the person's own; whether the token's."""
        return place.owner == self.user, self.token is not None and place.token == self.token

    def _in_layer(self, number: int, layer: Layer, verb: str, place: Place) -> bool:
        """Whether something of `layer` gives `verb` there: first what gave another one, which is nearly always it."""
        last = self.reached.get((number, place))
        if last is not None and last.gives(verb) and last.is_live:
            return True
        for held in layer:
            if held.in_environment(place.environment) and held.on_image(verb, place):
                if len(self.reached) < MOST_KEPT:
                    self.reached[number, place] = held
                return True
        return False

    def narrow(self, verb: str, queryset: QuerySet[M], reach: Reach) -> QuerySet[M]:
        """Those rows of `queryset` to which `verb` may be done."""
        own = (Q(**{reach.owner: self.user}) if reach.owner else None, self._by_token(reach))
        for layer, mine in zip(self.of(verb), own, strict=False):
            if not layer:
                return queryset.none()
            if any(held.environments is None and _whole(held, verb, reach) for held in layer):
                continue
            wanted = self._where(layer, verb, reach)
            if mine is not None and verb in OWNER_VERBS:
                wanted |= mine
            if reach.many:
                rows = queryset.model._default_manager.filter(wanted).order_by().values("pk")
                queryset = queryset.filter(pk__in=rows)
            else:
                queryset = queryset.filter(wanted)
        return queryset

    def _by_token(self, reach: Reach) -> Q | None:
        return Q(**{reach.token: self.token}) if reach.token and self.token is not None else None

    def _where(self, layer: Layer, verb: str, reach: Reach) -> Q:
        """As SQL: the rows of environments that are reached whole; those of the others by the names covered there."""
        everywhere = [held for held in layer if held.environments is None]
        wanted = Q(pk=None) | _named(everywhere, verb, reach)
        if not reach.environment:
            return wanted
        alike: dict[frozenset[int], list[int]] = {}
        whole: list[int] = []
        by_id = {held.grant: held for held in layer if held.grant is not None}
        for environment in sorted(set().union(*(held.environments or () for held in layer))):
            there = [held for held in layer if held.environments is not None and environment in held.environments]
            if any(_whole(held, verb, reach) for held in there):
                whole.append(environment)
            else:
                grants = frozenset(held.grant for held in there if held.grant is not None)
                alike.setdefault(grants, []).append(environment)
        if whole:
            wanted |= Q(**{f"{reach.environment}__in": whole})
        for grants, environments in alike.items():
            named = _named([by_id[grant] for grant in grants], verb, reach)
            wanted |= Q(**{f"{reach.environment}__in": environments}) & named
        return wanted


def _whole(held: Held, verb: str, reach: Reach) -> bool:
    """Whether, environments aside, `held` reaches every row."""
    return held.scope.is_whole or (reach.any_image and verb not in WHOLE_VERBS)


def _named(layer: Iterable[Held], verb: str, reach: Reach) -> Q:
    """The rows whose name one of `layer` covers."""
    grants = {held.grant for held in layer if held.grant is not None and not held.scope.is_whole}
    if not grants or not reach.name or verb in WHOLE_VERBS:
        return Q(pk=None)
    covered = Grant.names.through.objects.filter(Among("grant_id", grants)).values("imagename_id")
    return Q(**{f"{reach.name}__in": covered})


def rights_of(user: User) -> Rights:
    """What `user` holds now. Read once for a while, kept on the object: one query or two for a page."""
    kept: tuple[float, Rights] | None = getattr(user, "_rights", None)
    now = time.monotonic()
    if kept is None or now - kept[0] > KEPT_SECONDS:
        layers: tuple[Layer, ...] = (standing_and_grants(user),)
        token = user.token
        if token is not None and not token.is_live:
            layers += ((),)
        elif token is not None and token.is_narrowed:
            layers += (tuple(held_by(Grant.objects.live().filter(token=token))),)
        kept = (now, Rights(user.pk, layers, token.pk if token else None))
        user._rights = kept  # type: ignore[attr-defined]
    return kept[1]


def forget(user: User) -> None:
    """Read `user`'s rights again at the next question: something about them has just been changed."""
    if hasattr(user, "_rights"):
        del user._rights


def standing_and_grants(user: User) -> Layer:
    """What the account itself holds, and the grants to `user` and their teams."""
    standing = STANDING.get(user.standing, frozenset())
    own = (Held(standing),) if standing else ()
    return own if user.is_administrator else (*own, *held_by(Grant.objects.live().of(user)))


def held_by(grants: QuerySet[Grant]) -> Sequence[Held]:
    """The grants, as they are decided by. Read as plain values: somebody may have hundreds, and every request asks."""
    through = Grant.environments.through
    environments: dict[int, list[int]] = {}
    for grant, environment in through.objects.filter(grant__in=grants.order_by()).values_list("grant", "environment"):
        environments.setdefault(grant, []).append(environment)
    roles: dict[int, frozenset[str]] = {}
    found = []
    for row in grants.order_by("pk").values(*_ASKED):
        role = row["role"]
        if role not in roles:
            roles[role] = known_verbs(row["role__slug"], row["role__verbs"], built_in=row["role__built_in"])
        found.append(
            Held(
                verbs=roles[role],
                scope=Scope(tuple(row["repositories"]), tuple(row["tags"])),
                environments=None if row["every_environment"] else frozenset(environments.get(row["pk"], ())),
                expires_at=row["expires_at"],
                grant=row["pk"],
            )
        )
    return found
