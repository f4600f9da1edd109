from django.urls import path

from controlplane.operations import views

app_name = "operations"

urlpatterns = [
    path("", views.operation_list, name="list"),
    path("audit/", views.audit, name="audit"),
    path("<int:pk>/", views.operation_detail, name="detail"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/retry/", views.retry, name="retry"),
]
