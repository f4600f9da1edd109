from django.urls import path

from controlplane.operations import audit_views, views

app_name = "operations"

urlpatterns = [
    path("", views.operation_list, name="list"),
    path("audit/", audit_views.trail, name="audit"),
    path("audit/export/", audit_views.export, name="audit-export"),
    path("audit/<int:pk>/", audit_views.entry, name="audit-entry"),
    path("<int:pk>/", views.operation_detail, name="detail"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/retry/", views.retry, name="retry"),
]
