"""A registry that only refuses, with or without TLS: for what Debian's registry cannot be brought to say."""

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Self

from tests.support.certificate import self_signed


class RefusingRegistry:
    """Answers every request for a manifest with ``code`` (DENIED, TOOMANYREQUESTS …); a context manager.

    With ``certificates`` (a folder) it speaks TLS under a certificate that it signed itself.
    """

    def __init__(self, code: str = "DENIED", *, host: str = "127.0.0.1", certificates: Path | None = None):
        answers = {"DENIED": 403, "TOOMANYREQUESTS": 429}
        body = json.dumps({"errors": [{"code": code, "message": "requested access is denied"}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/v2/" else answers[code])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self_signed(certificates))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
