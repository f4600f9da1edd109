from django.urls import path

from containers import rules_views

app_name = "rules"

urlpatterns = [
    path("<int:pk>/rules/", rules_views.rules, name="edit"),
]
