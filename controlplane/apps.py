from django.apps import AppConfig


class ControlPlaneConfig(AppConfig):
    """The composition root; holds `manage.py up`."""

    name = "controlplane"
