"""Your account: names, password, and the browsers one is signed in with."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controlplane.access import sessions
from controlplane.access.actions import set_active
from controlplane.access.models import BrowserSession, User
from controlplane.operations.models import AuditEntry
from controlplane.people.devices import device
from controlplane.people.sign_in import BEGUN_SECONDS, GUESSES
from tests.access.factors import PASSWORD, signed_in
from tests.security.access_changes import with_key
from tests.support.passkey import Passkey
from tests.support.redis import RedisServer

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"


@pytest.fixture(autouse=True)
def _quick(settings: object) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann", password=PASSWORD)


def browser(user: User, agent: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    client = Client(headers={"User-Agent": agent}, REMOTE_ADDR=address)
    client.force_login(user)
    assert client.get("/").status_code == 200
    return client


def is_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def row(user: User, address: str) -> int:
    return BrowserSession.objects.get(user=user, address=address).pk


def details() -> list[str]:
    return list(AuditEntry.objects.filter(verb="access.account").values_list("detail", flat=True))


def test_it_lists_where_one_is_signed_in(ann: User) -> None:
    here = browser(ann)
    browser(ann, PHONE, "192.0.2.2")
    page = here.get("/account/").content.decode()
    assert "Firefox on Linux" in page
    assert "Safari on iPhone" in page
    assert page.count("this one") == 1
    assert "192.0.2.2" in page


def test_a_sign_in_is_noted_at_once(ann: User) -> None:
    """Somebody who has only just come in can be signed out, too."""
    client = signed_in("ann")
    assert sessions.open_sessions(ann).get().key == client.cookies["gantry_session"].value


def test_nobody_elses_are_listed_or_ended(ann: User, vic: User) -> None:
    here, theirs = browser(ann), browser(vic, PHONE, "192.0.2.9")
    assert "192.0.2.9" not in here.get("/account/").content.decode()
    for ident in (row(vic, "192.0.2.9"), "x", "", "9" * 40, "-1"):
        here.post("/account/sessions/end/", {"session": ident})
    assert is_in(theirs)
    assert details() == []


def test_one_is_ended(ann: User) -> None:
    here, there, phone = browser(ann), browser(ann, address="192.0.2.2"), browser(ann, PHONE, "192.0.2.3")
    here.post("/account/sessions/end/", {"session": row(ann, "192.0.2.2")})
    assert [is_in(client) for client in (here, there, phone)] == [True, False, True]
    assert details() == ["ended the session of Firefox on Linux at 192.0.2.2"]


def test_this_one_is_ended(ann: User) -> None:
    here = browser(ann)
    assert here.post("/account/sessions/end/", {"session": row(ann, "192.0.2.1")})["Location"] == "/login/"
    assert not is_in(here)


def test_all_are_ended(ann: User, vic: User) -> None:
    clients = [browser(ann), browser(ann, address="192.0.2.2"), browser(vic, address="192.0.2.3")]
    assert clients[0].post("/account/sessions/end/", {"session": "all"})["Location"] == "/login/"
    assert [is_in(client) for client in clients] == [False, False, True]
    assert not BrowserSession.objects.filter(user=ann).exists()


def test_an_administrator_ends_somebodys(ada: User, ann: User) -> None:
    administrator, theirs = browser(ada), browser(ann, address="192.0.2.2")
    administrator.post(f"/people/{ann.pk}/sessions/end/")
    assert [is_in(administrator), is_in(theirs)] == [True, False]
    assert AuditEntry.objects.get(verb="access.manage").detail == "ended the sessions of ann (1)"


def test_they_end_with_the_account(ann: User) -> None:
    """Also for good: being let in again brings none of them back."""
    theirs = browser(ann)
    set_active(ann, False)
    set_active(ann, True)
    assert not is_in(theirs)
    assert not Session.objects.exists()


def test_the_others_end_with_the_old_password(ann: User) -> None:
    here, there = browser(ann), browser(ann, address="192.0.2.2")
    words = {"old_password": PASSWORD, "new_password1": "another long word 1", "new_password2": "another long word 1"}
    assert here.post("/account/password/", words).status_code == 302
    assert [is_in(here), is_in(there)] == [True, False]
    assert sessions.open_sessions(ann).count() == 1
    assert details() == ["changed the password"]


def test_guesses_of_the_old_password_are_few(ann: User, redis_server: RedisServer) -> None:
    """Whoever has borrowed a browser has no more of them than a stranger."""
    cache.clear()
    here = browser(ann)
    words = {"old_password": "x", "new_password1": "another long word 1", "new_password2": "another long word 1"}
    codes = [here.post("/account/password/", words).status_code for _ in range(GUESSES.most + 1)]
    assert codes == [200] * GUESSES.most + [429]
    cache.clear()


def test_a_session_lasts_its_whole_time_however_it_began(ann: User) -> None:
    client = Client()
    client.get("/login/passkey/", headers={"Accept": "application/json"})
    assert client.session.get_expiry_age() == BEGUN_SECONDS
    client.post("/login/", {"username": "ann", "password": PASSWORD})
    assert client.session.get_expiry_age() == settings.SESSION_COOKIE_AGE


def test_signing_out_leaves_no_row_in_the_list(ann: User) -> None:
    here, there = browser(ann), browser(ann, address="192.0.2.2")
    there.post("/logout/")
    assert "192.0.2.2" not in here.get("/account/").content.decode()
    sessions.forget_expired()
    assert BrowserSession.objects.count() == 1


def test_a_browser_that_goes_on_is_noted_once_a_minute(ann: User) -> None:
    here = browser(ann)
    seen = BrowserSession.objects.get().seen_at
    here.get("/account/")
    assert BrowserSession.objects.get().seen_at == seen
    sessions._noted.clear()
    here.get("/account/")
    assert BrowserSession.objects.get().seen_at > seen


@pytest.mark.parametrize("agent", ["", "\x1b[2J\r\nx", "‮" * 500, "<script>alert(1)</script>", "a" * 10_000])
def test_a_browser_of_any_name_is_only_unknown(ann: User, agent: str) -> None:
    client = Client(HTTP_USER_AGENT=agent)
    client.force_login(ann)
    client.get("/")  # from then on it is in the list
    page = client.get("/account/").content.decode()
    assert "unknown browser" in page
    assert "<script>alert" not in page
    assert BrowserSession.objects.get().agent.isprintable()


def test_names_are_changed(ann: User) -> None:
    client = browser(ann)
    form = {"save_name": "1", "first_name": "Ánn", "last_name": "O’Neil", "email": "ann@example.org"}
    assert client.post("/account/", form | {"standing": "administrator", "username": "root"}).status_code == 302
    ann.refresh_from_db()
    assert (ann.display, ann.standing, ann.username) == ("Ánn O’Neil", "member", "ann")
    assert details() == ["changed first_name, last_name, email"]
    client.post("/account/", form | {"first_name": "a\nb"})
    ann.refresh_from_db()
    assert ann.first_name == "Ánn"


@pytest.mark.usefixtures("clocks_aside")
def test_the_people_page_asks_the_same_number_of_questions_for_more_people(ada: User) -> None:
    administrator = browser(ada)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page = administrator.get("/people/").content.decode()
        assert page.count('data-key="person-') == User.objects.count()
        return len(captured)

    few = queries()
    for number in range(10):
        browser(User.objects.create(username=f"n{number}", password="!"), address=f"192.0.2.{number + 10}")
    assert queries() == few


def test_a_device_in_words() -> None:
    assert device(PHONE) == "Safari on iPhone"
    assert device("curl/8.5") == "curl"
    assert device("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0") == "Edge on Windows"


def test_a_passkey_gets_another_name(ann: User) -> None:
    client = signed_in("ann")
    with_key(client, Passkey())
    key = Authenticator.objects.get(user=ann, type="webauthn")
    client.post("/account/passkeys/rename/", {"factor": key.pk, "name": "the blue one"})
    key.refresh_from_db()
    assert key.wrap().name == "the blue one"
    assert "the blue one" in client.get("/account/").content.decode()
    details = AuditEntry.objects.filter(verb="access.account").order_by("seq").values_list("detail", flat=True)
    assert list(details)[-1] == "renamed the passkey “key ring” to “the blue one”"
    count = AuditEntry.objects.count()
    client.post("/account/passkeys/rename/", {"factor": key.pk, "name": "the blue one"})
    assert AuditEntry.objects.count() == count, "nothing was changed"


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x1b[2Jb", "a\u202eb"])
def test_a_passkey_takes_no_such_name(ann: User, name: str) -> None:
    client = signed_in("ann")
    with_key(client, Passkey())
    key = Authenticator.objects.get(user=ann, type="webauthn")
    client.post("/account/passkeys/rename/", {"factor": key.pk, "name": name})
    key.refresh_from_db()
    assert key.wrap().name == "key ring"


def test_a_passkey_is_renamed_by_its_owner_alone(ann: User) -> None:
    client = signed_in("ann")
    with_key(client, Passkey())
    key = Authenticator.objects.get(user=ann, type="webauthn")
    User.objects.create_user("bob", password=PASSWORD)
    other = signed_in("bob")
    for factor in (key.pk, "x", ""):
        assert other.post("/account/passkeys/rename/", {"factor": factor, "name": "mine"}).status_code == 404
    key.refresh_from_db()
    assert key.wrap().name == "key ring"
