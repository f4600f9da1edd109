"""Forms that take a second factor. A code is good once: that is kept in the database, where no two requests and no
restart of the cache can undo it."""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, LoginWebAuthnForm
from django import forms
from django.db import transaction

from controlplane.access.models import User
from controlplane.lib.throttle import Throttle

# Wrong codes of one person, from wherever: whoever gets as far has the password, and six digits are few.
CODES = Throttle("second-factor", most=10, seconds=300)
WRONG = "That is not right. Look at the clock of your device, and take a code that you have not used."
TOO_MANY = "Too many wrong codes. Wait five minutes, then try again."
UNKNOWN = "That passkey is not known here, or the page was open for too long. Try again."


@transaction.atomic
def accept(user: User, code: str) -> Authenticator | None:
    """The authenticator that `code` is right for, which it is no more afterwards; None when there is none."""
    code = "".join(code.split())
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    rows = Authenticator.objects.select_for_update().filter(user=user, type__in=kinds)
    for row in rows.order_by("-type"):  # the app's code before the recovery codes
        right = _accept_totp(row, code) if row.type == Authenticator.Type.TOTP else row.wrap().validate_code(code)
        if right:
            return row
    return None


def _accept_totp(row: Authenticator, code: str) -> bool:
    """RFC 6238, 5.2: a code is good once, and none before it afterwards."""
    secret, last = decrypt(row.data["secret"]), row.data.get("last_counter", 0)
    for counter in yield_hotp_counters_from_time():
        fits = compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, counter)))
        if fits and counter > last:
            row.data["last_counter"] = counter
            row.save(update_fields=["data"])
            return True
    return False


class CodeForm(forms.Form):
    """A code of the app, or a recovery code."""

    code = forms.CharField(
        max_length=50, widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"})
    )
    reauthenticated = False

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_code(self) -> str:
        if CODES.count(str(self.user.pk)) > CODES.most:
            raise forms.ValidationError(TOO_MANY)
        code: str = self.cleaned_data["code"]
        found = accept(self.user, code)
        if found is None:
            raise forms.ValidationError(WRONG)
        CODES.forget(str(self.user.pk))
        self.authenticator = found
        return code

    def save(self) -> None:
        """Note that the person of this session has proved themselves by it."""
        self.authenticator.user = self.user
        post_authentication(context.request, self.authenticator, reauthenticated=self.reauthenticated)


class ConfirmCodeForm(CodeForm):
    reauthenticated = True


class PasskeyForm(AuthenticateWebAuthnForm):
    """What a browser says when it was asked for a passkey."""

    def clean_credential(self) -> Authenticator:
        try:
            found: Authenticator = super().clean_credential()
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:  # of any shape: a stranger sent it
            raise forms.ValidationError(UNKNOWN) from exc
        return found


class ConfirmPasskeyForm(PasskeyForm):
    reauthenticated = True


class PasskeySignInForm(PasskeyForm, LoginWebAuthnForm):
    """As above, where nobody has said yet who they are."""

    passwordless = True


def name_of_letters(name: str) -> None:
    if not name.isprintable():
        raise forms.ValidationError("Expected a name of letters, found control characters.")


class PasskeyNameForm(forms.Form):
    """What a passkey is called."""

    name = forms.CharField(
        max_length=60, validators=[name_of_letters], error_messages={"required": "Expected a name, found none."}
    )


class AddPasskeyForm(AddWebAuthnForm):
    """A passkey to be, and its name. It must know its owner (a finger, a PIN): it stands for a password too."""

    name = forms.CharField(required=False, max_length=60)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["passwordless"] = forms.BooleanField(required=False, initial=True)

    def clean_name(self) -> str:
        name: str = super().clean_name()
        name_of_letters(name)
        return name

    def clean(self) -> dict[str, Any]:
        self.cleaned_data["passwordless"] = True
        try:
            return dict(super().clean())
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:
            raise forms.ValidationError("The browser's answer could not be read. Try again.") from exc
