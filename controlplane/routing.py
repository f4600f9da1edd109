"""Every WebSocket a browser may open."""

from django.urls import path, re_path

from containers.consumers import LogConsumer, TerminalConsumer, WatchConsumer
from controlplane.lib.sockets import NoSuchSocket
from controlplane.live import LiveConsumer
from controlplane.operations.consumers import OutputConsumer

websocket_urlpatterns = [
    path("ws/live", LiveConsumer.as_asgi()),
    path("ws/operations/<int:pk>/output", OutputConsumer.as_asgi()),
    path("ws/containers/<int:pk>/logs", LogConsumer.as_asgi()),
    path("ws/containers/<int:pk>/terminal", TerminalConsumer.as_asgi()),
    path("ws/recordings/<int:pk>/watch", WatchConsumer.as_asgi()),
    re_path(r"", NoSuchSocket()),  # type: ignore[arg-type]
]
