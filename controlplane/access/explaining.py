"""Why somebody may do something, or what is missing: each thing they hold, held against the question.

The answer is made of the same parts as `decide.allows` and is tested to be the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.access.decide import Target
from controlplane.access.models import Grant, User
from controlplane.access.patterns import EVERY_REPOSITORY, EVERY_TAG, Scope
from controlplane.access.reach import Place, place_of
from controlplane.access.rights import Held, held_by, rights_of
from controlplane.access.roles import OWNER_VERBS, STANDING, WHOLE_VERBS
from controlplane.access.wording import verb_in_words

# What is missing, by how far it is from being right.
EXPIRED, TAG, REPOSITORY, NAMELESS, ENVIRONMENT, WHOLE, VERB = range(1, 8)


@dataclass(frozen=True)
class Missing:
    """One reason why a grant does not give it."""

    kind: int
    words: str


@dataclass(frozen=True)
class Line:
    """One thing that somebody holds (`grant`; None: by standing), and what keeps it from giving what is asked."""

    grant: Grant | None
    missing: tuple[Missing, ...]
    by_owning: bool = False

    @property
    def gives(self) -> bool:
        return not self.missing

    @property
    def distance(self) -> tuple[int, int]:
        return len(self.missing), sum(each.kind for each in self.missing)


@dataclass(frozen=True)
class Explanation:
    """The answer. `lines`: those that give it, then the others, the nearest miss first. `barred`: why nothing of it
    counts: the account is deactivated, or the token in use does not carry it."""

    actor: User
    verb: str
    lines: tuple[Line, ...]
    barred: str = ""

    @property
    def allowed(self) -> bool:
        return not self.barred and any(line.gives for line in self.lines)

    @property
    def giving(self) -> list[Line]:
        return [line for line in self.lines if line.gives]

    def sentence(self, what: str = "") -> str:
        """The answer in words; `what`: the thing, as one calls it."""
        deed = f"{verb_in_words(self.verb)} ({self.verb}){f' on {what}' if what else ''}"
        who = self.actor.display
        if self.barred:
            return f"{who} may not {deed}: {self.barred}."
        if self.allowed:
            return f"{who} may {deed}: {by(self.giving[0], self.actor)} gives it."
        if not self.lines:
            return f"{who} may not {deed}: there is no grant to them or a team of theirs, and no standing."
        nearest = self.lines[0]
        lacks = " and ".join(each.words for each in nearest.missing)
        return f"{who} may not {deed}. The nearest is {by(nearest, self.actor)}: {lacks}."


def by(line: Line, actor: User) -> str:
    """What gives it, as part of a sentence."""
    if line.grant is None:
        return f"the standing of {actor.get_standing_display().lower()}"
    to = f"the team {line.grant.team}" if line.grant.team_id else "them"
    return f"the grant of {line.grant.role} to {to}"


def explain(actor: User, verb: str, target: Target | None = None) -> Explanation:
    """What of `actor`'s gives `verb` on `target` (None: anywhere at all), and what does not, and why."""
    place = None if target is None else place_of(target)
    standing = Held(STANDING.get(actor.standing, frozenset()))
    lines = [_line(actor, None, standing, verb, place)] if standing.verbs else []
    grants = Grant.objects.of(actor).select_related("user", "team", "role").prefetch_related("environments")
    rows = {grant.pk: grant for grant in grants}
    lines += [_line(actor, rows[held.grant], held, verb, place) for held in held_by(grants) if held.grant is not None]
    lines.sort(key=lambda line: line.distance)
    return Explanation(actor, verb, tuple(lines), _barred(actor, verb, place))


def _barred(actor: User, verb: str, place: Place | None) -> str:
    if not actor.is_active:
        return "the account is deactivated"
    rights = rights_of(actor)
    further = type(rights)(actor.pk, rights.layers[1:])
    if not (further.hold(verb) if place is None else further.allow(verb, place)):
        return "the token in use does not carry it"
    return ""


def _line(actor: User, grant: Grant | None, held: Held, verb: str, place: Place | None) -> Line:
    missing: list[Missing] = []
    if not held.is_live:
        missing.append(Missing(EXPIRED, f"it ended on {held.expires_at:%d %b %Y, %H:%M} UTC"))
    if verb not in held.verbs:
        role = grant.role if grant else actor.get_standing_display()
        missing.append(Missing(VERB, f"{role} does not include {verb}"))
    if verb in WHOLE_VERBS and not held.scope.is_whole:
        missing.append(Missing(WHOLE, f"{verb} is given only by a grant over every repository and tag"))
    owning = place is not None and place.owner == actor.pk and verb in OWNER_VERBS
    somewhere = held.environments is None or bool(held.environments)
    if not somewhere:
        missing.append(Missing(ENVIRONMENT, "its environments have been removed"))
    elif place is not None and not owning:
        missing += _elsewhere(grant, held, verb, place)
    return Line(grant, tuple(missing), owning)


def _elsewhere(grant: Grant | None, held: Held, verb: str, place: Place) -> Iterable[Missing]:
    if not held.in_environment(place.environment):
        there = ", ".join(each.name for each in grant.environments.all()) if grant else ""
        yield Missing(ENVIRONMENT, f"it holds in {there} alone")
    if verb in WHOLE_VERBS or held.on_image(verb, place):
        return
    if not place.names:
        yield Missing(NAMELESS, "the image has no name, and only a grant over everything reaches it")
        return
    yield min((_uncovered(held.scope, *name) for name in place.names), key=lambda found: found.kind)


def _uncovered(scope: Scope, repository: str, tag: str) -> Missing:
    """Why `scope` leaves out this name: the repository, or, that being right, the tag."""

    def by_repository(pattern: str) -> bool:
        return Scope((pattern,), EVERY_TAG).covers(repository, tag)

    def by_tag(pattern: str) -> bool:
        return Scope(EVERY_REPOSITORY, (pattern,)).covers(repository, tag)

    for kind, patterns, covers, what in (
        (REPOSITORY, scope.repositories, by_repository, f"the repository {repository}"),
        (TAG, scope.tags, by_tag, f"the tag {tag}" if tag else "an image named by digest, without a tag,"),
    ):
        if out := [each for each in patterns if each[0] == "!" and covers(each[1:])]:
            return Missing(kind, f"{what} is excepted by {out[0]}")
        if not any(covers(each) for each in patterns if each[0] != "!"):
            return Missing(kind, f"{what} is not covered by {' '.join(each for each in patterns if each[0] != '!')}")
    raise AssertionError("a name that nothing leaves out is covered")
