"""Every WebSocket a browser may open."""

from django.urls import path

from containers.consumers import LogConsumer, TerminalConsumer
from controlplane.live import LiveConsumer
from controlplane.operations.consumers import OutputConsumer

websocket_urlpatterns = [
    path("ws/live", LiveConsumer.as_asgi()),
    path("ws/operations/<int:pk>/output", OutputConsumer.as_asgi()),
    path("ws/containers/<int:pk>/logs", LogConsumer.as_asgi()),
    path("ws/containers/<int:pk>/terminal", TerminalConsumer.as_asgi()),
]
