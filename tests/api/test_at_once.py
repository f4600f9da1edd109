"""Two who change a part of the same thing at once: neither undoes what the other did."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client

from controlplane.access.models import Role
from tests.api.conftest import client_with, issue, send
from tests.granting.conftest import Shop, make_shop
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time"),
]


@pytest.fixture
def shop(transactional_db: None) -> Shop:
    return make_shop()


@pytest.fixture
def ada(shop: Shop) -> Client:
    return client_with(issue(shop.ada)[1])


def while_another(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Do `first`, and end its transaction once `second` waits for it; what `second` gives."""

    def ask() -> Any:
        try:
            return second()
        finally:
            connection.close()
            for kept in cache._cache._pools.values():  # this thread's own, which nobody closes for it
                kept.disconnect()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            other = pool.submit(ask)
            eventually(lambda: other.done() or _somebody_waits(), what="the second waits for the first")
            assert not other.done()
        return other.result(20)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_right_that_is_taken_from_a_role_stays_taken(ada: Client) -> None:
    role = Role.objects.create(name="Enters", slug="enters", verbs=["container.exec", "container.see"])

    def take() -> None:
        Role.objects.filter(pk=role.pk).update(verbs=["container.see"])

    answer = while_another(take, lambda: send(ada, "patch", f"/roles/{role.pk}", description="sees"))
    assert answer.status_code == 200, answer.content
    role.refresh_from_db()
    assert (role.description, role.verbs) == ("sees", ["container.see"])


def test_a_tag_that_is_taken_from_a_grant_stays_taken(shop: Shop, ada: Client) -> None:
    grant = shop.grant(shop.bob, "developer", shop.staging, tags="dev-* v*")

    def take() -> None:
        type(grant).objects.filter(pk=grant.pk).update(tags=["dev-*"])

    answer = while_another(take, lambda: send(ada, "patch", f"/grants/{grant.pk}", reason="for a week"))
    assert answer.status_code == 200, answer.content
    grant.refresh_from_db()
    assert (grant.reason, grant.tags) == ("for a week", ["dev-*"])
