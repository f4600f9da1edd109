from django.apps import AppConfig


class RulesConfig(AppConfig):
    """The rules of environments."""

    name = "hosts.rules"
    label = "rules"
