"""A page made by a test, for the scripts of a page by themselves: the real static files, the real policy."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from playwright.sync_api import Page, Request, Route

from tests.support.home import ROOT

STATIC = ROOT / "static"
SCREEN_TEXT = """(terminal) => {
  const buffer = terminal.buffer.active;
  let text = "";
  for (let row = 0; row < buffer.length; row += 1) {
    const line = buffer.getLine(row);
    text += (row && !line.isWrapped ? "\\n" : "") + line.translateToString(true);
  }
  return text;
}"""
"""All lines of an xterm, wrapped ones joined."""
HEAD = "".join(
    f'<link rel="stylesheet" href="/static/{path}">'
    for path in (
        "vendor/tabler/tabler.min.css",
        *(f"css/{name}.css" for name in ("tokens", "layout", "components", "tables", "streams", "logs", "builds")),
    )
)


def document(body: str, *scripts: str) -> str:
    tags = "".join(f'<script type="module" src="/static/js/{path}.js"></script>' for path in scripts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>parts</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{HEAD}{tags}</head>'
        f"""<body data-sprite="/static/img/icons.svg" hx-headers='{{"X-CSRFToken": "secret"}}'>"""
        f'<main class="content">{body}</main><div class="toasts" id="toasts"></div></body></html>'
    )


def policy() -> str:
    directives: dict[str, list[str]] = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    return "; ".join(f"{name} {' '.join(map(str, sources))}" for name, sources in directives.items())


class Stage:
    """A page of our own making at http://gantry.test/, with the real static files and the real policy."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.html = ""
        self.answers: dict[str, Callable[[Request], dict[str, Any]]] = {}
        self.requests: list[Request] = []
        page.route("http://gantry.test/**", self.serve)
        page.add_init_script("""
            window.complaints = [];
            addEventListener("securitypolicyviolation",
                (e) => complaints.push(`${e.violatedDirective} ${e.blockedURI}`));
            addEventListener("error", (e) => complaints.push(e.message));
            addEventListener("unhandledrejection", (e) => complaints.push(String(e.reason)));
        """)

    def serve(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if answer := self.answers.get(path):
            self.requests.append(route.request)
            route.fulfill(**answer(route.request))
        elif path.startswith("/static/"):
            file = STATIC / path.removeprefix("/static/")
            route.fulfill(content_type=mimetypes.guess_type(path)[0], body=file.read_bytes())
        else:
            route.fulfill(content_type="text/html", body=self.html, headers={"Content-Security-Policy": policy()})

    def show(self, body: str, *scripts: str, address: str = "/") -> Page:
        self.html = document(body, *scripts)
        self.page.goto(f"http://gantry.test{address}")
        return self.page
