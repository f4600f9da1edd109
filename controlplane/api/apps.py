from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The API, and what it remembers of requests that must not be done twice."""

    name = "controlplane.api"
    label = "api"
