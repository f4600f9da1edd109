"""Every address of Gantry."""

from django.urls import include, path

from controlplane.health import healthz
from controlplane.people.urls import sign_in_urlpatterns
from controlplane.views import overview

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("", overview, name="overview"),
    path("", include(sign_in_urlpatterns)),
    path("", include("controlplane.people.urls")),
    path("access/", include("controlplane.granting.urls")),
    path("operations/", include("controlplane.operations.urls")),
    path("hosts/environments/", include("containers.rules_urls")),
    path("hosts/", include("hosts.urls")),
    path("agent/", include("hosts.agent_urls")),
    path("images/", include("images.urls")),
    path("builds/", include("images.builds.urls")),
    path("containers/", include("containers.urls")),
    path("api/v1/", include("controlplane.api.urls")),
    path("recordings/", include("containers.recordings.urls")),
]

handler400 = "controlplane.views.bad_request"
handler403 = "controlplane.views.forbidden"
handler404 = "controlplane.views.not_found"
handler500 = "controlplane.views.server_error"
