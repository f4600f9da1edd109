from django.apps import AppConfig


class ContainersConfig(AppConfig):
    name = "containers"

    def ready(self) -> None:
        from containers import mirror, work  # noqa: F401  registers this app's mirror and kinds of operation
