"""What allauth asks us: how people come in, what is written down of it, where secrets are kept.

allauth leads through the steps; nothing here decides who may do what.
"""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.stagekit import clear_login
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, _build_apps_from_settings
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthProcess
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from controlplane.access.joining import LEAST_STANDING, teams_from_groups
from controlplane.access.models import User
from controlplane.lib.logs import printable
from controlplane.lib.seal import seal, unseal
from controlplane.operations.audit import about, client_ip, record
from controlplane.people.factor_forms import WRONG
from controlplane.people.identities import link
from controlplane.people.sign_in import refused

FACTORS = {"totp": "a code", "recovery_codes": "a recovery code", "webauthn": "a passkey"}


def methods_used(request: HttpRequest, user: User) -> str:
    """How somebody has just proved who they are, in words."""
    words = []
    for each in get_authentication_records(request, user):
        if each["method"] == "mfa":
            words.append(FACTORS[each["type"]])
        else:
            words.append(each.get("provider", each["method"]))
    return " and ".join(words) or "unknown"


class Accounts(DefaultAccountAdapter):
    """Accounts come by an invitation or an identity provider; Gantry sends no mail."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        return False  # our views ask by themselves (`fresh.fresh_sign_in`)

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(request) or ""

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        """Our views say what has happened in our own words."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Nobody has said by which server."""

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """As above."""

    def login(self, request: HttpRequest, user: Any) -> None:
        now = User.objects.get(pk=user.pk)  # the second step may take a while
        if not now.can_sign_in:
            raise ImmediateHttpResponse(self.respond_user_inactive(request, now))
        request.session.set_expiry(None)  # what `sign_in.begin` has made short
        super().login(request, user)

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        if not user.can_sign_in:
            clear_login(request)
            return self.respond_user_inactive(request, user)
        found: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return found

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        refused(request, "a service account" if user.is_service else "deactivated", user)
        messages.error(request, "That did not work. Ask an administrator whether your account is active.")
        return redirect("account_login")

    def post_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse:
        found: SocialLogin | None = (kwargs.get("signal_kwargs") or {}).get("sociallogin")
        detail = f"signed in with {methods_used(request, user)}"
        with transaction.atomic():
            if found is not None:
                groups = found.account.extra_data["groups"]
                detail += f"; groups: {', '.join(groups) or 'none'}{teams_from_groups(user, groups)}"
            record(user, "access.sign-in", **about(user), detail=detail, ip=client_ip(request))
        return super().post_login(request, user, **kwargs)


class Factors(DefaultMFAAdapter):
    """Second factors. Their secrets are sealed in the database, like all others."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": WRONG,
    }

    def encrypt(self, text: str) -> str:
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text)

    def get_totp_issuer(self) -> str:
        return f"Gantry ({context.request.get_host()})"

    def _get_user_identifier(self, user: Any) -> str:
        return str(user.username)

    def generate_authenticator_name(self, user: Any, type: Authenticator.Type) -> str:
        return f"Passkey {Authenticator.objects.filter(user=user, type=type).count() + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        host = context.request.get_host()
        return {"id": host if host.endswith("]") else host.rpartition(":")[0] or host, "name": "Gantry"}


class Identities(DefaultSocialAccountAdapter):
    """People of identity providers. Which those are, the environment alone says."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        apps = _build_apps_from_settings(provider=provider, client_id=client_id)
        return [app for each in apps.values() for app in each]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            link(request, sociallogin)

    def is_auto_signup_allowed(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> Any:
        user: User = super().populate_user(request, sociallogin, data)
        user.first_name, user.last_name = user.first_name[:150], user.last_name[:150]
        user.standing = LEAST_STANDING
        return user

    @transaction.atomic
    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        user: User = super().save_user(request, sociallogin, form)
        provider = sociallogin.account.provider
        detail = f"joined as {user.standing} by {provider}"
        record(user, "access.join", target_kind="user", target_id=user.pk, detail=detail, ip=client_ip(request))
        return user

    def get_requests_session(self) -> Any:
        session = super().get_requests_session()
        session.max_redirects = 0  # an address of the provider's is where it says, or it is an error
        return session

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Any = None,
        extra_context: Any = None,
    ) -> None:
        """Back to where one signs in; what was wrong is for the trail and whoever reads it."""
        told = " ".join(request.GET.get(name, "") for name in ("error", "error_description"))
        why = exception or f"{error or 'not finished'} {told}".strip()
        refused(request, f"by {provider.app.provider_id}: {printable(str(why))[:500]}")
        messages.error(request, f"Signing in by {provider.name} did not work. Try again, or ask an administrator.")
        raise ImmediateHttpResponse(redirect("access:account" if request.user.is_authenticated else "account_login"))
