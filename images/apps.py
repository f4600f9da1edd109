from django.apps import AppConfig


class ImagesConfig(AppConfig):
    name = "images"

    def ready(self) -> None:
        from images import mirror, work  # noqa: F401  registers this app's mirror and kinds of operation
