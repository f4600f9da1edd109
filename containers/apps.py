from django.apps import AppConfig


class ContainersConfig(AppConfig):
    name = "containers"

    def ready(self) -> None:
        from containers import keeping, mirror, usage, work  # noqa: F401  each registers what this app has of it
