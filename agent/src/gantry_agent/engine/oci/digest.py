"""Digests: the name of content is its sha256."""

import hashlib
import re
from typing import Self

from gantry_agent.engine.errors import InvalidArgument

_FORM = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Digest(str):
    """`sha256:` and 64 hexadecimal digits, checked: safe as a file name by its `hex`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raises InvalidArgument for anything but a sha256 digest in lower case."""
        if isinstance(text, cls):
            return text
        if not isinstance(text, str) or not _FORM.match(text):
            raise InvalidArgument(
                f"invalid digest: expected sha256: and 64 hexadecimal digits, found {str(text)[:100]!r}"
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The digest of `content`."""
        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def hex(self) -> str:
        """The 64 digits."""
        return self[7:]

    @property
    def short(self) -> str:
        """The twelve digits people see."""
        return self[7:19]
