"""Files that are sent for as long as whoever asked for them may have them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from django.http import Http404, HttpRequest

from controlplane.access.middleware import signed_in
from controlplane.access.models import User
from controlplane.lib import sockets
from controlplane.lib.threads import in_thread


async def while_allowed(
    request: HttpRequest, pieces: AsyncIterator[bytes], ask: Callable[[User], object]
) -> AsyncIterator[bytes]:
    """`pieces`, broken off when the session ends, or when `ask` raises: it is asked every RECHECK_SECONDS, and never
    sent a piece later than that. The browser shows it as a download that failed."""
    asked = time.monotonic()
    async with aclosing(pieces):  # type: ignore[type-var]
        async for data in pieces:
            if time.monotonic() - asked >= sockets.RECHECK_SECONDS:
                await in_thread(_ask_again, request, ask)
                asked = time.monotonic()
            yield data


def _ask_again(request: HttpRequest, ask: Callable[[User], object]) -> None:
    """Raise Http404 or Forbidden when whoever began the download may have no more of it."""
    user = User.objects.filter(pk=signed_in(request).pk).first()
    if user is None or not user.can_sign_in or not sockets.is_alive(request.session):
        raise Http404("The session has ended.")
    if any(keeps(user) for keeps in sockets.KEPT_OUT):
        raise Http404("The session has ended.")
    ask(user)
