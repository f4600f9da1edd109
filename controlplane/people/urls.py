from django.urls import path

from controlplane.access.middleware import open_without_second_factor
from controlplane.people import account, factors, fresh, identities, sign_in, token_views, views
from controlplane.people.oidc import views as oidc

app_name = "access"

# allauth reaches these by their names, which stand in no namespace.
sign_in_urlpatterns = [
    path("login/", sign_in.SignIn.as_view(), name="account_login"),
    path("login/second/", sign_in.SecondStep.as_view(), name="mfa_authenticate"),
    path("login/passkey/", sign_in.PasskeySignIn.as_view(), name="mfa_login_webauthn"),
    path("login/by/<slug:slug>/", oidc.login, name="oidc_login"),
    path("login/by/<slug:slug>/callback/", oidc.callback, name="oidc_callback"),
]

urlpatterns = [
    path("logout/", open_without_second_factor(views.SignOut.as_view()), name="logout"),
    path("setup/<str:token>/", views.setup, name="setup"),
    path("people/", views.people, name="people"),
    path("people/invite/", views.invite, name="invite"),
    path("people/second-factor/", views.policies, name="policies"),
    path("people/<int:pk>/", views.person, name="person"),
    path("people/tokens/", token_views.every, name="all-tokens"),
    path("people/services/", token_views.services, name="services"),
    path("people/services/<int:pk>/", token_views.service, name="service"),
    path("people/services/<int:pk>/change/", token_views.change_service, name="change-service"),
    path("profile/tokens/", token_views.own, name="tokens"),
    path("profile/tokens/<int:pk>/revoke/", token_views.revoke, name="revoke-token"),
    path("people/<int:pk>/sessions/end/", views.end_sessions, name="end-sessions-of"),
    path("people/<int:pk>/factors/forget/", views.forget_factors, name="forget-factors-of"),
    path("people/invitations/<int:pk>/withdraw/", views.withdraw, name="withdraw"),
    path("account/", account.account, name="account"),
    path("account/password/", account.ChangePassword.as_view(), name="password"),
    path("account/sessions/end/", account.end_sessions, name="end-sessions"),
    path("account/confirm/", fresh.Confirm.as_view(), name="confirm"),
    path("account/second-factor/", factors.required, name="second-factor"),
    path("account/app/", factors.SetUpApp.as_view(), name="app"),
    path("account/passkeys/add/", factors.AddPasskey.as_view(), name="passkey"),
    path("account/passkeys/rename/", factors.rename_passkey, name="rename-passkey"),
    path("account/identities/unlink/", identities.unlink, name="unlink-identity"),
    path("account/identities/link/", oidc.link, name="link-identity"),
    path("account/factors/remove/", factors.remove, name="remove-factor"),
    path("account/recovery-codes/", factors.recovery_codes, name="recovery-codes"),
]
