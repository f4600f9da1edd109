"""One-time links: good once, in time, and only while somebody with the right to invite stands behind them."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from controlplane.access.actions import accept_invitation, first_administrator_link, set_active, set_standing
from controlplane.access.models import Invitation, Standing, User
from controlplane.lib.errors import NotFound
from controlplane.operations.models import AuditEntry

ACCOUNT = {"username": "new", "password1": "correct horse battery", "password2": "correct horse battery"}


def accept(client: Client, token: str, **more: str) -> int:
    return client.post(f"/setup/{token}/", ACCOUNT | more).status_code


def refused(client: Client, token: str) -> bool:
    """Neither the form nor its sending gets anywhere."""
    before = User.objects.count()
    answers = [client.get(f"/setup/{token}/").status_code, accept(client, token)]
    return answers == [404, 404] and User.objects.count() == before


def test_it_lets_in_once_with_the_role_it_was_made_for(client: Client, ada: User) -> None:
    invitation, token = Invitation.issue(Standing.VIEWER, created_by=ada)
    assert accept(client, token) == 302
    new = User.objects.get(username="new")
    assert new.standing == Standing.VIEWER
    invitation.refresh_from_db()
    assert invitation.used_by == new
    assert AuditEntry.objects.get(verb="access.join").actor == new
    assert refused(Client(), token)


def test_what_the_form_does_not_ask_is_not_taken(client: Client, ada: User) -> None:
    _, token = Invitation.issue(Standing.VIEWER, created_by=ada)
    more = {"standing": "administrator", "is_staff": "on", "is_superuser": "on", "is_active": "", "id": str(ada.pk)}
    assert accept(client, token, **more) == 302
    new = User.objects.get(username="new")
    assert (new.standing, new.is_staff, new.is_superuser, new.is_active) == (Standing.VIEWER, False, False, True)
    assert new.pk != ada.pk


@pytest.mark.parametrize("name", ["Ada\nadmin approved", "a\x1b[2Jb", "‮nimda"])
def test_a_name_stays_on_its_line(client: Client, ada: User, name: str) -> None:
    _, token = Invitation.issue(Standing.VIEWER, created_by=ada)
    assert accept(client, token, first_name=name) == 422
    assert accept(client, token, last_name=name) == 422
    assert accept(client, token, first_name="Ádá", last_name="O’Neil") == 302


@pytest.mark.parametrize("token", ["", "x", "../people", "%00", "a" * 5000, "\ud7ff"])
def test_a_forged_one_is_refused(client: Client, ada: User, token: str) -> None:
    Invitation.issue(Standing.ADMINISTRATOR, created_by=ada)
    assert client.get(f"/setup/{token}/").status_code in (302, 404)
    assert User.objects.count() == 1


def test_its_hash_is_no_token(client: Client, ada: User) -> None:
    invitation, _ = Invitation.issue(Standing.ADMINISTRATOR, created_by=ada)
    assert refused(client, invitation.token_hash)


def test_an_expired_one_is_refused(client: Client, ada: User) -> None:
    _, token = Invitation.issue(Standing.VIEWER, created_by=ada, lifetime=timedelta(seconds=-1))
    assert refused(client, token)


def test_a_withdrawn_one_is_refused(client: Client, ada: User) -> None:
    invitation, token = Invitation.issue(Standing.VIEWER, created_by=ada)
    administrator = Client()
    administrator.force_login(ada)
    path = f"/people/invitations/{invitation.pk}/withdraw/"
    assert administrator.post(path).status_code == 302
    assert refused(client, token)
    assert administrator.post(path).status_code == 404


@pytest.mark.parametrize("how", ["demoted", "deactivated", "removed"])
def test_it_ends_with_its_makers_right(client: Client, ada: User, vic: User, how: str) -> None:
    """Otherwise somebody who is kept out comes back by a link made before."""
    set_standing(vic, Standing.ADMINISTRATOR)
    _, token = Invitation.issue(Standing.ADMINISTRATOR, created_by=vic)
    if how == "demoted":
        set_standing(vic, Standing.VIEWER)
    elif how == "deactivated":
        set_active(vic, False)
    else:
        vic.delete()
    assert refused(client, token)


@pytest.mark.django_db
def test_the_first_administrators_link_works_once_and_then_there_is_none(client: Client) -> None:
    link = first_administrator_link("http://testserver")
    assert link
    assert client.get(link).status_code == 200
    assert client.post(link, ACCOUNT).status_code == 302
    assert User.objects.get().standing == Standing.ADMINISTRATOR
    assert Client().post(link, ACCOUNT | {"username": "second"}).status_code == 404
    assert first_administrator_link("http://testserver") is None


@pytest.mark.django_db
def test_an_older_start_printed_a_link_that_is_dead(client: Client) -> None:
    first, second = (first_administrator_link("http://testserver") for _ in range(2))
    assert first
    assert second
    assert client.get(first).status_code == 404
    assert client.get(second).status_code == 200


@pytest.mark.django_db
def test_the_first_administrators_link_dies_when_one_comes_by_another_way(client: Client) -> None:
    link = first_administrator_link("http://testserver")
    assert link
    User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)
    assert client.get(link).status_code == 404
    assert client.post(link, ACCOUNT).status_code == 404
    assert User.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_once_make_one_account() -> None:
    ada = User.objects.create(username="ada", standing=Standing.ADMINISTRATOR)
    _, token = Invitation.issue(Standing.ADMINISTRATOR, created_by=ada)
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def come_in(name: str) -> None:
        try:
            start.wait(10)
            accept_invitation(token, User(username=name, password="!"))
            outcomes.append("in")
        except NotFound:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=come_in, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["in", "refused"]
    assert User.objects.count() == 2
    assert Invitation.objects.get().used_at <= timezone.now()  # type: ignore[operator]
