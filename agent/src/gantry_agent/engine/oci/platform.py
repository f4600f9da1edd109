"""Platforms: which machine an image is for."""

import os
import platform as machine
from dataclasses import dataclass
from typing import Any, Self

from gantry_agent.engine.errors import InvalidArgument

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
}
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}


@dataclass(frozen=True)
class Platform:
    """Operating system, architecture and variant in Go's words."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def host(cls) -> Self:
        """This machine."""
        name = machine.machine()
        architecture, variant = _MACHINES.get(name, (name, ""))
        return cls(os.uname().sysname.lower(), architecture, variant)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`linux/arm64/v8`; the system or the architecture alone is completed from this machine.

        Raises InvalidArgument.
        """
        parts = text.strip().lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(
            part.isascii() and part.replace("_", "").replace("-", "").replace(".", "").isalnum() for part in parts
        ):
            raise InvalidArgument(f"{text!r} is not a platform: expected os/architecture[/variant]")
        here = cls.host()
        if len(parts) == 1:
            if parts[0] in ("linux", "windows", "darwin", "freebsd"):
                return cls(parts[0], here.architecture, here.variant)
            parts.insert(0, here.os)
        architecture = _SAME.get(parts[1], parts[1])
        return cls(parts[0], architecture, parts[2] if len(parts) == 3 else _usual_variant(architecture))

    @classmethod
    def of(cls, found: Any) -> Self | None:
        """From a descriptor's or a config's fields; None when they are not there."""
        if not isinstance(found, dict) or not isinstance(found.get("architecture"), str):
            return None
        return cls(str(found.get("os") or "linux"), found["architecture"], str(found.get("variant") or ""))

    def serves(self, wanted: "Platform") -> int | None:
        """How well an image of this platform runs on `wanted`: 0 exactly, more is worse, None not at all."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return None
        have = self.variant or _usual_variant(self.architecture)
        want = wanted.variant or _usual_variant(wanted.architecture)
        if have == want:
            return 0
        if self.architecture in ("arm", "amd64", "arm64") and have[1:].isdigit() and (want or "v1")[1:].isdigit():
            behind = int((want or "v1")[1:]) - int(have[1:])  # an older variant runs on a newer machine
            return behind if behind >= 0 else None
        return None if have else 50

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _usual_variant(architecture: str) -> str:
    return {"arm64": "v8", "arm": "v7"}.get(architecture, "")
