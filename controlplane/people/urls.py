from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.urls import path, reverse_lazy

from controlplane.people import views

app_name = "access"

urlpatterns = [
    path("login/", views.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("setup/<str:token>/", views.setup, name="setup"),
    path("people/", views.people, name="people"),
    path("people/invite/", views.invite, name="invite"),
    path("people/<int:pk>/", views.person, name="person"),
    path("people/invitations/<int:pk>/withdraw/", views.withdraw, name="withdraw"),
    path(
        "profile/password/",
        PasswordChangeView.as_view(template_name="access/password.html", success_url=reverse_lazy("overview")),
        name="password",
    ),
]
