"""Every route × everybody × one's own, what lies beside it, and another's: the answer is what the table says.

The table is `tests/security/routes.py`; what each person holds is said in `tests/security/tenants.py`, in words of its
own, so that the decision is not its own judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import get_resolver

from controlplane.operations import refusals
from controlplane.operations.models import AuditEntry, Operation, Outcome
from tests.security.routes import (
    ACTS,
    KEEPER,
    NEVER,
    OWNER,
    PUBLIC,
    SIGNED_IN,
    SOCKETS,
    TABLE,
    Rule,
    address,
    form_for,
    walk,
)
from tests.security.tenants import BESIDE, CANARY, CANARY_WORDS, FOREIGN, HELD, OWN, PEOPLE, Tenants, reaches

GUARDED = [route for route, rule in TABLE.items() if not rule.is_public]
WELL = "well"  # whatever the page answers to somebody who may


def expected(rule: Rule, method: str, person: str, where: str, tenants: Tenants) -> int | str:
    """What the table says of one request."""
    verb = getattr(rule, method)
    if person == "anonymous":
        return 302
    if verb == NEVER:
        return 405
    if verb == SIGNED_IN and rule.see != KEEPER:
        return WELL
    held = verb in HELD[person]
    whole = method in rule.whole and person == "steward"
    if whole and (not rule.row or rule.first):
        return 403
    if not rule.row:
        return WELL if held else 403
    if rule.first and not held:
        return 403
    if not _sees(rule, person, where, tenants):
        if rule.chosen:
            return 409 if held else 403
        return 404
    if whole:
        return 403
    if rule.see == OWNER or verb == SIGNED_IN:
        return WELL
    return WELL if reaches(person, verb, where, rule.row) else 403


def _sees(rule: Rule, person: str, where: str, tenants: Tenants) -> bool:
    if rule.see == KEEPER:
        row = getattr(tenants.fleets[where], rule.row)
        keeper = row.responsible if rule.row == "service" else row.owner
        return person == "administrator" or bool(keeper == tenants.person(person))
    if rule.see == OWNER:
        owner = getattr(tenants.fleets[where], rule.row).owner
        return bool(owner == tenants.person(person))
    return reaches(person, rule.see, where, rule.row)


def ask(tenants: Tenants, person: str, method: str, path: str, form: dict[str, str] | None = None) -> Any:
    """One request of a browser of theirs; what it changes is undone."""
    client: Any = Client()
    if (user := tenants.person(person)) is not None:
        client.force_login(user)
    with transaction.atomic():
        answer = client.get(path) if method == "get" else client.post(path, form or {})
        answer.entry = AuditEntry.objects.order_by("pk").last()
        answer.operations = Operation.objects.count()
        transaction.set_rollback(True)
    return answer


def test_every_address_with_a_row_says_how_it_is_seen() -> None:
    """A route that leads to one row must say to which, and what it takes to see it."""
    unsaid = [route for route in GUARDED if "<" in route and not (TABLE[route].row and TABLE[route].see)]
    assert unsaid == []
    assert sorted(walk()) == sorted(TABLE), "a route that is not in the table"


def test_the_people_hold_what_is_said_of_them(tenants: Tenants) -> None:
    from controlplane.access.decide import allows

    rows = {"container": "container.see", "host": "host.see", "tag": "image.see", "operation": "operation.see"}
    for person, where, (row, see) in product(PEOPLE[1:], (OWN, BESIDE, FOREIGN), rows.items()):
        user = tenants.person(person)
        assert user is not None
        target = getattr(tenants.fleets[where], row)
        for verb in (see, *HELD["administrator"]):
            said = reaches(person, verb, where, row)
            if row != "operation":
                assert allows(user, verb, target) == said, (person, verb, where, row)


def _cases(rule: Rule) -> Iterator[tuple[str, str, str]]:
    """Everybody with everything; where it can make no difference, once."""
    for person, method, where in product(PEOPLE, ("get", "post"), (OWN, BESIDE, FOREIGN)):
        never = getattr(rule, method) == NEVER
        if where != OWN and (never or not rule.row or person == "anonymous"):
            continue
        if not never or person in ("anonymous", "developer"):
            yield person, method, where


@pytest.mark.parametrize("route", GUARDED)
def test_the_matrix(tenants: Tenants, route: str) -> None:
    rule = TABLE[route]
    before = Operation.objects.count()
    for person, method, where in _cases(rule):
        fleet = tenants.fleets[where]
        wanted = expected(rule, method, person, where, tenants)
        path, form = address(route, fleet), form_for(route, fleet)
        answer = ask(tenants, person, method, path, form)
        case = f"{person}: {method} {path} ({where}) gave {answer.status_code}, expected {wanted}"
        if wanted == WELL:
            assert answer.status_code not in (401, 403, 404, 405, 500), case
            continue
        assert answer.status_code == wanted, case
        assert answer.operations == before, case
        body = answer.content.decode()
        if person == "anonymous":
            assert answer["Location"].startswith("/login/?next="), case
        if wanted == 403:
            verb = getattr(rule, method)
            assert verb in body, f"{case}: the verb is not named"
            assert (answer.entry.verb, answer.entry.outcome) == (verb, Outcome.REFUSED), case
        if person == "developer":
            assert CANARY not in body.replace(path, ""), case


@pytest.mark.parametrize("act", ACTS)
def test_every_act_asks_for_its_own_verb(tenants: Tenants, act: str) -> None:
    verb = ACTS[act]
    for person, where in product(PEOPLE[1:], (OWN, BESIDE, FOREIGN)):
        answer = ask(
            tenants,
            person,
            "post",
            f"/containers/do/{act}/",
            form_for("containers/do/<slug:verb>/", tenants.fleets[where]),
        )
        if reaches(person, verb, where, "container"):
            assert answer.status_code in (302, 409), (person, where)
        elif verb in HELD[person] and not reaches(person, "container.see", where, "container"):
            assert answer.status_code == 409, (person, where)
        else:
            assert answer.status_code == 403, (person, where)
            assert verb in answer.content.decode()


@pytest.mark.usefixtures("clocks_aside")
def test_what_is_not_there_and_what_is_not_seen_give_the_same_answer(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, but for the address, and by the same questions to the database."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    # Refusals are counted by the minute, and only so many of one are written down.
    monkeypatch.setattr(refusals, "this_minute", lambda: 30_000_000)
    client = Client()
    client.force_login(tenants.developer)
    client.get("/")  # the first request of a session writes down where it comes from
    for route in [route for route in GUARDED if "<int:pk>" in route and TABLE[route].row]:
        if expected(TABLE[route], "get", "developer", FOREIGN, tenants) != 404:
            continue
        answers = []
        for path in (address(route, tenants.foreign), "/" + route.replace("<int:pk>", "999999")):
            with CaptureQueriesContext(connection) as asked:
                answer = client.get(path)
            sql = [_kind_of(each["sql"]) for each in asked.captured_queries]
            body = answer.content.decode().replace(path, "PATH")
            answers.append((answer.status_code, _without_tokens(body), sql))
        assert answers[0][:2] == answers[1][:2], route
        assert answers[0][2] == answers[1][2], route


def _kind_of(sql: str) -> tuple[str, str]:
    """What is done to which table."""
    table = re.search(r'(?:FROM|INTO|UPDATE) "(\w+)"', sql)
    return sql.split()[0], table[1] if table else ""


def _without_tokens(body: str) -> str:
    return re.sub(r'(csrfmiddlewaretoken" value=|X-CSRFToken": )"[^"]*"', "", body)


def test_the_streams_are_in_the_table() -> None:
    assert get_resolver().url_patterns
    assert all(verb == SIGNED_IN or verb in HELD["administrator"] for verb in SOCKETS.values())
    assert PUBLIC not in SOCKETS.values()
    assert CANARY_WORDS
