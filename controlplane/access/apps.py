from django.apps import AppConfig


class AccessConfig(AppConfig):
    """People and the one decision of who may do what."""

    name = "controlplane.access"
    label = "access"

    def ready(self) -> None:
        from controlplane.access.second_factor import lacks_second_factor
        from controlplane.lib import sockets

        sockets.KEPT_OUT.append(lacks_second_factor)
