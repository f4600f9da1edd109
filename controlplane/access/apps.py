from django.apps import AppConfig


class AccessConfig(AppConfig):
    """People and the one decision of who may do what."""

    name = "controlplane.access"
    label = "access"
