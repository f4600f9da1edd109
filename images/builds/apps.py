from django.apps import AppConfig


class BuildsConfig(AppConfig):
    """Builds, what defines them, and the credentials they use."""

    name = "images.builds"
    label = "builds"

    def ready(self) -> None:
        from images.builds import work  # noqa: F401  registers this app's kinds of operation
