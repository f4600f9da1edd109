"""The ASGI application: pages over HTTP, streams over WebSocket."""

import os
import warnings

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

# WhiteNoise answers with open files, which Django reads in a thread: static files are small.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
pages = get_asgi_application()  # sets Django up: routing imports models and must come after it

from controlplane.lib.bodies import BodyLimit  # noqa: E402
from controlplane.lib.lifespan import Lifespan  # noqa: E402
from controlplane.lib.sockets import OriginCheck  # noqa: E402
from controlplane.operations.foreign import handshake_refused  # noqa: E402
from controlplane.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(pages),
        "lifespan": Lifespan(),
        "websocket": OriginCheck(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), handshake_refused),
    }
)
