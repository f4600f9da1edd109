"""Changing people: the last administrator stays, and whoever is kept out is out at once."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.test import Client

from controlplane.access.actions import set_active, set_standing
from controlplane.access.models import Standing, User
from controlplane.lib.errors import Conflict
from controlplane.operations.models import AuditEntry, Outcome


@pytest.fixture
def administrator(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


@pytest.mark.parametrize(
    "change",
    [
        {"standing": "viewer", "is_active": "on"},
        {"standing": "administrator"},
        {"standing": "viewer"},
    ],
)
def test_the_last_administrator_stays(administrator: Client, ada: User, vic: User, change: dict[str, str]) -> None:
    assert administrator.post(f"/people/{ada.pk}/", change).status_code == 409
    ada.refresh_from_db()
    assert ada.is_administrator


def test_another_who_is_deactivated_does_not_count(administrator: Client, ada: User, vic: User) -> None:
    administrator.post(f"/people/{vic.pk}/", {"standing": "administrator"})
    vic.refresh_from_db()
    assert (vic.standing, vic.is_active) == (Standing.ADMINISTRATOR, False)
    assert administrator.post(f"/people/{ada.pk}/", {"standing": "viewer", "is_active": "on"}).status_code == 409


def test_with_a_second_one_the_first_may_go(administrator: Client, ada: User, vic: User) -> None:
    administrator.post(f"/people/{vic.pk}/", {"standing": "administrator", "is_active": "on"})
    assert administrator.post(f"/people/{ada.pk}/", {"standing": "viewer", "is_active": "on"}).status_code == 302
    assert administrator.post(f"/people/{vic.pk}/", {"standing": "viewer", "is_active": "on"}).status_code == 403
    vic.refresh_from_db()
    assert vic.is_administrator


@pytest.mark.django_db(transaction=True)
def test_two_who_demote_each_other_at_once_leave_one() -> None:
    people = [User.objects.create(username=name, standing=Standing.ADMINISTRATOR) for name in ("one", "two")]
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def demote(user: User) -> None:
        try:
            start.wait(10)
            set_standing(user, Standing.VIEWER)
            outcomes.append("demoted")
        except Conflict:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=demote, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["demoted", "refused"]
    assert User.objects.filter(standing=Standing.ADMINISTRATOR).count() == 1


def test_what_the_form_does_not_ask_is_not_taken(administrator: Client, vic: User) -> None:
    more = {"is_staff": "on", "is_superuser": "on", "username": "root", "password": "x", "id": "99"}
    administrator.post(f"/people/{vic.pk}/", {"standing": "viewer", "is_active": "on"} | more)
    after = User.objects.get(pk=vic.pk)
    assert (after.is_staff, after.is_superuser, after.username) == (False, False, "vic")
    assert after.password == vic.password


@pytest.mark.parametrize("standing", ["root", "", "Administrator", "administrator\0"])
def test_a_standing_that_is_none_changes_nothing(administrator: Client, vic: User, standing: str) -> None:
    administrator.post(f"/people/{vic.pk}/", {"standing": standing, "is_active": "on"})
    administrator.post("/people/invite/", {"standing": standing})
    vic.refresh_from_db()
    assert (vic.standing, vic.is_active) == (Standing.VIEWER, True)
    assert not vic.invitations_made.exists()


def test_whoever_is_deactivated_is_out_with_the_next_click(administrator: Client, vic: User) -> None:
    theirs = Client()
    theirs.force_login(vic)
    assert theirs.get("/").status_code == 200
    administrator.post(f"/people/{vic.pk}/", {"standing": "viewer"})
    assert theirs.get("/")["Location"].startswith("/login/")
    set_active(vic, True)


def test_whoever_is_demoted_changes_nothing_with_the_next_click(administrator: Client, ada: User, vic: User) -> None:
    set_standing(vic, Standing.ADMINISTRATOR)
    theirs = Client()
    theirs.force_login(vic)
    assert theirs.get("/people/").status_code == 200
    administrator.post(f"/people/{vic.pk}/", {"standing": "viewer", "is_active": "on"})
    assert theirs.get("/people/").status_code == 403
    entry = AuditEntry.objects.latest("pk")
    assert (entry.actor, entry.verb, entry.outcome) == (vic, "access.manage", Outcome.REFUSED)


def test_a_new_password_ends_the_other_sessions(vic: User) -> None:
    vic.set_password("correct horse battery")
    vic.save()
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        client.force_login(vic)
    words = {"old_password": "correct horse battery", "new_password1": "staple tyre lorry", "new_password2": ""}
    assert here.post("/account/password/", words).status_code == 200, "the second does not fit the first"
    words["new_password2"] = words["new_password1"]
    assert here.post("/account/password/", words).status_code == 302
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302


def test_signing_out_takes_a_post(vic: User) -> None:
    client = Client()
    client.force_login(vic)
    assert client.get("/logout/").status_code == 405
    assert client.get("/").status_code == 200
    client.post("/logout/")
    assert client.get("/").status_code == 302


@pytest.fixture
def crowd(ada: User) -> None:
    User.objects.bulk_create(
        User(username=f"p{n:03}", first_name="Grace" if n == 7 else "", password="!", is_active=n != 9)
        for n in range(60)
    )


def names(client: Client, query: str) -> list[str]:
    response = client.get(f"/people/?{query}")
    assert response.status_code == 200
    return [person.username for person in response.context["listing"].rows]


def test_people_are_found_put_in_order_and_paged(administrator: Client, crowd: None) -> None:
    assert names(administrator, "")[:2] == ["ada", "p000"]
    assert names(administrator, "size=25&page=3") == [f"p{n:03}" for n in range(49, 60)]
    assert names(administrator, "sort=-username")[0] == "p059"
    assert names(administrator, "q=grace") == ["p007"]
    assert names(administrator, "q=p00+9") == ["p009"]
    assert names(administrator, "state=deactivated") == ["p009"]
    assert names(administrator, "standing=administrator") == ["ada"]
    assert "Nobody matches" in administrator.get("/people/?q=nobody+at+all").content.decode()


def test_after_a_change_the_page_is_where_it_was(administrator: Client, crowd: None) -> None:
    person = User.objects.get(username="p007")
    change = {"standing": "viewer", "is_active": "on", "next": "/people/?q=grace"}
    assert administrator.post(f"/people/{person.pk}/", change).headers["Location"] == "/people/?q=grace"
    foreign = change | {"next": "https://elsewhere.example/"}
    assert administrator.post(f"/people/{person.pk}/", foreign).headers["Location"] == "/people/"
