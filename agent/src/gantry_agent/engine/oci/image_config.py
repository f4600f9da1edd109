"""An image's configuration: its exact bytes are the image, their digest its id."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from gantry_agent.engine.errors import InvalidArgument

from .digest import Digest
from .documents import MAX_LAYERS, read_json
from .platform import Platform

_LIST, _MAP = "a list of strings", "a map of strings"
_KINDS: dict[str, Any] = {
    "Env": _LIST,
    "Cmd": _LIST,
    "Entrypoint": _LIST,
    "OnBuild": _LIST,
    "Shell": _LIST,
    "Labels": _MAP,
    "Volumes": dict,
    "ExposedPorts": dict,
    "Healthcheck": dict,
    "User": str,
    "WorkingDir": str,
    "StopSignal": str,
}


@dataclass(frozen=True)
class ImageConfig:
    """The parsed configuration beside its `raw` bytes."""

    raw: bytes
    data: dict[str, Any]
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises InvalidArgument for what is not an image's configuration."""
        data = read_json(raw, "the image's configuration")
        root = data.get("rootfs")
        if not isinstance(root, dict) or not isinstance(root.get("diff_ids") or [], list):
            raise InvalidArgument("the image's configuration has no rootfs with diff_ids")
        _check_types(data, {"config": dict, "history": list})
        _check_types(data.get("config") or {}, _KINDS)
        diff_ids = tuple(Digest.parse(each) for each in root.get("diff_ids") or [])
        if len(diff_ids) > MAX_LAYERS:
            raise InvalidArgument(f"the image has {len(diff_ids)} layers; at most {MAX_LAYERS} can be stacked")
        return cls(raw, data, diff_ids)

    @cached_property
    def id(self) -> Digest:
        """The image id."""
        return Digest.of(self.raw)

    @property
    def config(self) -> dict[str, Any]:
        """Docker's Config: Env, Cmd, Entrypoint, Labels, …"""
        return self.data.get("config") or {}

    @property
    def labels(self) -> dict[str, str]:
        return self.config.get("Labels") or {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Oldest first: created, created_by, empty_layer, comment, author."""
        return [each for each in self.data.get("history") or [] if isinstance(each, dict)]

    @property
    def created(self) -> str:
        """RFC 3339, "" when not said."""
        created = self.data.get("created")
        return created if isinstance(created, str) else ""

    @property
    def platform(self) -> Platform:
        return Platform.of(self.data) or Platform("linux", "")

    @cached_property
    def chain_ids(self) -> list[Digest]:
        """One for each layer, lowest first."""
        return chain_ids(self.diff_ids)


def _check_types(found: dict[str, Any], kinds: dict[str, Any]) -> None:
    """Whoever reads the configuration later may trust its types. A command may be one string, as in old images."""
    for name, kind in kinds.items():
        value = found.get(name)
        if value is None:
            continue
        if kind is _LIST and isinstance(value, str):
            found[name] = value = [value]
        if kind is _LIST:
            fits = isinstance(value, list) and all(isinstance(each, str) for each in value)
        elif kind is _MAP:
            fits = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        else:
            fits = isinstance(value, kind)
        if not fits:
            wanted = kind if isinstance(kind, str) else f"a {kind.__name__}"
            raise InvalidArgument(f"the image's configuration: {name} must be {wanted}")


def chain_ids(diff_ids: Sequence[str]) -> list[Digest]:
    """The names of the stacks that end with each layer (OCI image-spec, config.md, "Layer ChainID")."""
    chains: list[Digest] = []
    for diff_id in diff_ids:
        if not chains:
            chains.append(Digest(diff_id))
        else:
            text = f"{chains[-1]} {diff_id}".encode()
            chains.append(Digest("sha256:" + hashlib.sha256(text).hexdigest()))
    return chains
