from django.apps import AppConfig


class OperationsConfig(AppConfig):
    """Changes as operations, and the audit trail."""

    name = "controlplane.operations"
    label = "operations"
