"""Keeps secrets out of what a build prints."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "•••"
SHORTEST = 4
"""Characters. Shorter values would mask half of the output, and tell where they stand by it."""


class Mask:
    """Replaces every secret in a text, also where it was written in base64 or quoted for a URL.

    Output comes in lines, and so do secrets: each line of a key is masked by itself.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        longest_first = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text


def _forms(secret: str) -> set[str]:
    whole = secret.strip()
    plain = {whole, *(line.strip() for line in whole.splitlines())}
    encoded = {base64.b64encode(each.encode()).decode().rstrip("=") for each in (secret, whole)}
    encoded |= {each.replace("+", "-").replace("/", "_") for each in set(encoded)}
    return plain | encoded | {quote(whole, safe="")}
