from django.urls import path

from controlplane.granting import grant_views, role_views, team_views, why_views

app_name = "grants"

urlpatterns = [
    path("teams/", team_views.teams, name="teams"),
    path("teams/<int:pk>/", team_views.team, name="team"),
    path("teams/<int:pk>/add/", team_views.add, name="add-members"),
    path("teams/<int:pk>/take/", team_views.take, name="take-member"),
    path("teams/<int:pk>/remove/", team_views.remove, name="remove-team"),
    path("roles/", role_views.roles, name="roles"),
    path("roles/new/", role_views.new, name="new-role"),
    path("roles/<int:pk>/", role_views.role, name="role"),
    path("roles/<int:pk>/remove/", role_views.remove, name="remove-role"),
    path("grants/", grant_views.grants, name="list"),
    path("grants/new/", grant_views.new, name="new"),
    path("grants/preview/", grant_views.preview, name="preview"),
    path("grants/<int:pk>/", grant_views.grant, name="grant"),
    path("grants/<int:pk>/remove/", grant_views.remove, name="remove"),
    path("people/<int:pk>/", why_views.person, name="person"),
    path("why/", why_views.why, name="why"),
]
