"""The changes of who may come in and do what, with what they leave: people, sign-in, tokens, teams, roles, grants."""

from __future__ import annotations

import re
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from controlplane.access.models import Grant, Invitation
from tests.access.factors import code_of, with_app
from tests.security.changes import Change, form, one
from tests.security.fleet import Fleet
from tests.support.passkey import Passkey

PASSWORD = "a long enough word"
PERSON = ("access.manage", "user", "page")


def _password(fleet: Fleet) -> None:
    fleet.administrator.set_password(PASSWORD)
    fleet.administrator.save()


def _again(client: Client, path: str, fleet: Fleet) -> Any:
    client.force_login(fleet.administrator)
    new = "x" + PASSWORD
    return client.post(path, {"old_password": PASSWORD, "new_password1": new, "new_password2": new})


def _sign_in(client: Client, path: str, fleet: Fleet) -> Any:
    return Client().post(path, {"username": fleet.administrator.username, "password": PASSWORD})


def _second(client: Client, path: str, fleet: Fleet) -> Any:
    secret = with_app(fleet.administrator)
    stranger = Client()
    stranger.post("/login/", {"username": fleet.administrator.username, "password": PASSWORD})
    return stranger.post(path, {"code": code_of(secret)})


def _join(client: Client, path: str, fleet: Fleet) -> Any:
    _, token = Invitation.issue("viewer", created_by=fleet.administrator)
    account = {"username": "new", "password1": PASSWORD, "password2": PASSWORD}
    return Client().post(f"/setup/{token}/", account)


def _app(client: Client, path: str, fleet: Fleet) -> Any:
    found = re.search(r"[A-Z2-7]{32}", client.get(path).content.decode())
    assert found
    return client.post(path, {"code": code_of(found[0])})


def _add_passkey(client: Client, path: str, fleet: Fleet) -> Any:
    options = client.get(path).context["options"]
    return client.post(path, {"credential": Passkey().create(options), "name": "key ring"})


def _by_passkey(client: Client, path: str, fleet: Fleet) -> Any:
    key = Passkey()
    with_key(client, key)
    stranger = Client()
    options = stranger.get(path, headers={"Accept": "application/json"}).json()
    return stranger.post(path, {"credential": key.get(options)})


def with_key(client: Client, key: Passkey) -> None:
    """Whoever is signed in with `client`, and has just proved who they are, adds `key` to their account."""
    page = "/account/passkeys/add/"
    answer = client.post(page, {"credential": key.create(client.get(page).context["options"]), "name": "key ring"})
    assert answer.status_code == 302, answer.content.decode()


def _rename(client: Client, path: str, fleet: Fleet) -> Any:
    with_key(client, Passkey())
    key = Authenticator.objects.get(user=fleet.administrator, type="webauthn")
    return client.post(path, {"factor": key.pk, "name": "the blue one"})


def _identity(fleet: Fleet) -> int:
    """One of two, so that a way in is left."""
    made = [SocialAccount.objects.create(user=fleet.administrator, provider=name, uid="1") for name in ("sso", "else")]
    return made[0].pk


def _factor(fleet: Fleet) -> int:
    with_app(fleet.administrator)
    return Authenticator.objects.get(user=fleet.administrator, type="totp").pk


def _no_grant(fleet: Fleet) -> None:
    Grant.objects.all().delete()


def _grant(fleet: Fleet) -> dict[str, Any]:
    return {
        "holder": f"user:{fleet.viewer.pk}",
        "role": fleet.role.pk,
        "environments": [fleet.environment.pk],
        "repositories": "**",
        "tags": "*",
    }


ACCESS: dict[str, Change] = {
    "login/": one("access.sign-in", "user", before=_password, post=_sign_in),
    "login/second/": one("access.sign-in", "user", before=_password, post=_second),
    "login/passkey/": Change(
        [("access.account", "user", "page"), ("access.sign-in", "user", "page")], post=_by_passkey
    ),
    "logout/": one("access.sign-out", "user"),
    "setup/<str:token>/": Change([("access.join", "user", "page"), ("access.sign-in", "user", "page")], post=_join),
    "account/": one("access.account", "user", form=form(save_name="1", first_name="Ada", last_name="L")),
    "account/password/": one("access.account", "user", before=_password, post=_again),
    "account/sessions/end/": one("access.account", "user", form=form(session="all")),
    "account/app/": one("access.account", "user", post=_app),
    "account/passkeys/add/": one("access.account", "user", post=_add_passkey),
    "account/passkeys/rename/": Change([("access.account", "user", "page")] * 2, post=_rename),
    "account/identities/unlink/": one("access.account", "user", form=form(identity=_identity)),
    "account/factors/remove/": one("access.account", "user", form=form(factor=_factor)),
    "account/recovery-codes/": one("access.account", "user", before=lambda fleet: with_app(fleet.administrator)),
    "profile/tokens/": one("access.token", "token", form=form(name="ci", days="30")),
    "profile/tokens/<int:pk>/revoke/": one("access.token", "token"),
    "people/invite/": one("access.manage", "invitation", form=form(standing="viewer")),
    "people/invitations/<int:pk>/withdraw/": one("access.manage", "invitation"),
    "people/<int:pk>/": Change([PERSON], form=form(standing="administrator", is_active="on")),
    "people/<int:pk>/sessions/end/": Change([PERSON]),
    "people/<int:pk>/factors/forget/": Change([PERSON]),
    "people/second-factor/": Change([PERSON]),
    "people/services/": Change([PERSON], form=form(name="robot", standing="member")),
    "people/services/<int:pk>/": one("access.token", "token", form=form(name="ci", days="30")),
    "people/services/<int:pk>/change/": Change([PERSON], form=form(standing="viewer", is_active="on")),
    "access/teams/": one("access.manage", "team", form=form(name="Another team")),
    "access/teams/<int:pk>/": one("access.manage", "team", form=form(name="The same team", group="ops")),
    "access/teams/<int:pk>/add/": Change([PERSON], form=form(people=lambda fleet: fleet.administrator.pk)),
    "access/teams/<int:pk>/take/": Change([PERSON], form=form(person=lambda fleet: fleet.viewer.pk)),
    "access/teams/<int:pk>/remove/": one("access.manage", "team"),
    "access/roles/new/": one("access.manage", "role", form=form(name="Reader", verbs=["image.see"])),
    "access/roles/<int:pk>/": one("access.manage", "role", form=form(name="Reader", verbs=["image.see", "host.see"])),
    "access/roles/<int:pk>/remove/": one("access.manage", "role", before=_no_grant),
    "access/grants/new/": one("access.manage", "grant", form=_grant),
    "access/grants/<int:pk>/": one("access.manage", "grant", form=lambda fleet: {**_grant(fleet), "tags": "dev-*"}),
    "access/grants/<int:pk>/remove/": one("access.manage", "grant"),
}
