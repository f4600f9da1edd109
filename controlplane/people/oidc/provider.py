"""Our kind of provider, as allauth knows it: where it is, what is asked of it, who somebody is there."""

from __future__ import annotations

import hashlib
from typing import Any

import requests
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import ProviderAccount
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from allauth.utils import build_absolute_uri
from django.http import HttpRequest
from django.urls import reverse

from controlplane.lib.logs import printable
from controlplane.lib.providers import is_safe
from controlplane.people.oidc.claims import clean_groups, verified

DISCOVERY = "/.well-known/openid-configuration"
MOST_BYTES = 1024 * 1024
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class OidcAdapter(OAuth2Adapter):
    """One sign-in's talk with the provider. The issuer is the environment's; every other address is the issuer's."""

    def __init__(self, request: HttpRequest, provider_id: str) -> None:
        super().__init__(request)
        self.provider_id = provider_id
        self.nonce = ""
        self._document: dict[str, Any] | None = None

    @property
    def document(self) -> dict[str, Any]:
        """What the issuer says of itself (OpenID Connect Discovery 1.0, 4). Raises OAuth2Error."""
        if self._document is None:
            issuer = self.get_provider().app.settings["server_url"].rstrip("/")
            document = fetch(issuer + DISCOVERY)
            said = document.get("issuer")
            if not isinstance(said, str) or said.rstrip("/") != issuer:
                raise OAuth2Error(f"expected the issuer {issuer}, found {said!r}")
            for name in ENDPOINTS:
                if not isinstance(document.get(name), str) or not is_safe(document[name]):
                    raise OAuth2Error(f"expected an address with https:// as {name}, found {document.get(name)!r}")
            self._document = document
        return self._document

    @property
    def access_token_url(self) -> str:
        return str(self.document["token_endpoint"])

    @property
    def authorize_url(self) -> str:
        return str(self.document["authorization_endpoint"])

    @property
    def basic_auth(self) -> bool:
        # What a provider that says nothing takes is client_secret_basic (Discovery 1.0, 3).
        return "client_secret_post" not in self.document.get("token_endpoint_auth_methods_supported", [])

    def parse_token(self, data: dict[str, Any]) -> Any:
        """The access token is used once, here; how long it would be good for does not matter."""
        if not isinstance(data.get("access_token"), str):
            raise OAuth2Error("expected an access token, found none")
        return super().parse_token({"access_token": data["access_token"]})

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> SocialLogin:
        """Who has signed in, by the token that the provider has given us for the code. Raises OAuth2Error."""
        id_token = kwargs["response"].get("id_token")
        if not isinstance(id_token, str):
            raise OAuth2Error("expected an id_token beside the access token, found none")
        keys = fetch(self.document["jwks_uri"])
        issuer = self.document["issuer"]
        claims = verified(id_token, keys, issuer=issuer, client_id=app.client_id, nonce=self.nonce)
        return self.get_provider().sociallogin_from_response(request, {**self._more(token.token, claims), **claims})

    def _more(self, access_token: str, claims: dict[str, Any]) -> dict[str, Any]:
        """What the provider says besides, at its userinfo endpoint; it must speak of the same person."""
        url = self.document.get("userinfo_endpoint")
        if not isinstance(url, str) or not is_safe(url):
            return {}
        said = fetch(url, access_token)
        if said.get("sub") != claims["sub"]:
            raise OAuth2Error("userinfo speaks of somebody else than the id_token")
        return said

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return str(build_absolute_uri(request, reverse("oidc_callback", args=[self.provider_id])))


def fetch(url: str, access_token: str = "") -> dict[str, Any]:
    """The JSON object at `url`, an address of the issuer's. No redirect is followed. Raises OAuth2Error."""
    headers = {"Accept": "application/json"}
    if access_token:
        headers["Authorization"] = f"Bearer {access_token}"
    try:
        with (
            get_adapter().get_requests_session() as session,
            session.get(url, headers=headers, allow_redirects=False, stream=True) as answer,
        ):
            if answer.status_code != 200:
                raise OAuth2Error(f"{url}: expected status 200, found {answer.status_code}")
            body = answer.raw.read(MOST_BYTES + 1, decode_content=True)
            if len(body) > MOST_BYTES:
                raise OAuth2Error(f"{url}: expected at most {MOST_BYTES} bytes, found more")
            said = requests.models.complexjson.loads(body)
    except (requests.RequestException, ValueError, OSError) as exc:
        raise OAuth2Error(f"{url}: {exc}") from exc
    if not isinstance(said, dict):
        raise OAuth2Error(f"{url}: expected a JSON object, found {type(said).__name__}")
    return said


class OidcAccount(ProviderAccount):
    """Somebody's identity at the provider."""


class OidcProvider(OAuth2Provider):
    """One provider of the environment (`lib.providers`)."""

    id = "oidc"
    name = "OpenID Connect"
    account_class = OidcAccount
    pkce_enabled_default = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = self.app.name

    def get_oauth2_adapter(self, request: HttpRequest) -> OidcAdapter:
        return OidcAdapter(request, self.app.provider_id)

    def get_login_url(self, request: HttpRequest, **kwargs: Any) -> str:
        return reverse("oidc_login", args=[self.app.provider_id])

    def get_callback_url(self) -> str:
        return reverse("oidc_callback", args=[self.app.provider_id])

    def extract_uid(self, data: dict[str, Any]) -> str:
        """`sub` is one's own at one issuer alone: another issuer under the same name must not meet its people."""
        return hashlib.sha256(f"{data['iss']}\0{data['sub']}".encode()).hexdigest()

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """What is kept of all that was said."""
        groups = clean_groups(data.get(self.app.settings["groups_claim"]))
        return {"iss": data["iss"], "sub": data["sub"], "groups": groups}

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        names = {
            "email": "email",
            "username": "preferred_username",
            "name": "name",
            "first_name": "given_name",
            "last_name": "family_name",
        }
        said = {ours: data.get(theirs) for ours, theirs in names.items()}
        return {ours: printable(value)[:150] for ours, value in said.items() if isinstance(value, str)}


provider_classes = [OidcProvider]
