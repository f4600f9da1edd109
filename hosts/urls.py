from django.urls import path

from hosts import views

app_name = "hosts"

urlpatterns = [
    path("", views.host_list, name="list"),
    path("add/", views.add, name="add"),
    path("environments/", views.environments, name="environments"),
    path("environments/<int:pk>/remove/", views.remove_environment, name="remove-environment"),
    path("<int:pk>/", views.host_detail, name="detail"),
    path("<int:pk>/edit/", views.edit, name="edit"),
    path("<int:pk>/token/", views.new_token, name="token"),
    path("<int:pk>/rotate/", views.rotate, name="rotate"),
    path("<int:pk>/remove/", views.remove, name="remove"),
]
