"""What a joining host asks of the web: nothing here needs a person's session."""

from django.urls import path

from hosts import enrolment_views as views

app_name = "agent"

urlpatterns = [
    path("enrol", views.enrol, name="enrol"),
    path("install.sh", views.install_script, name="install"),
    path("wheels/", views.wheels_index, name="wheels"),
    path("wheels/<path:name>", views.wheel_file, name="wheel"),
]
