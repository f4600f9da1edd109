"""A person with second factors, without a browser: codes from the very secret, sign-in as by the pages."""

from __future__ import annotations

import time

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.test import Client

from controlplane.access.models import User

PASSWORD = "correct horse battery"


def with_app(user: User) -> str:
    """Give `user` an app for codes and recovery codes; its secret."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


def code_of(secret: str, steps: int = 0) -> str:
    """What the app shows now, or so many half minutes later."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def recovery_code(user: User) -> str:
    code: str = Authenticator.objects.get(user=user, type="recovery_codes").wrap().get_unused_codes()[0]
    return code


def signed_in(name: str, secret: str = "") -> Client:
    """A browser that has come in by the front door."""
    client = Client()
    answer = client.post("/login/", {"username": name, "password": PASSWORD})
    if secret:
        assert answer["Location"] == "/login/second/"
        answer = client.post("/login/second/", {"code": code_of(secret)})
    assert answer.status_code == 302
    assert answer["Location"] == "/"
    return client
