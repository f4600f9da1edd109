"""What a builder made: the files, the configuration and the history of an image, read from its `docker save`."""

import hashlib
import io
import json
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

KEYS = (
    *("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes"),
    *("Healthcheck", "StopSignal", "Shell", "OnBuild"),
)
SHORT = 200  # bytes of a file that differences show
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
DIGEST = re.compile(r"(--chown=\S*?)? ?(file|dir|multi):[0-9a-f+]+")  # Docker forgets the space behind --chown


@dataclass(frozen=True)
class Node:
    """A file of an image. `group`: the other names of a file with several."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    content: str = ""
    """The text of a short file, a digest of a long one, the target of a link."""
    group: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """As `ls -n` tells it, with the content behind."""
        letter = {tarfile.REGTYPE: "-", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l"}.get(self.kind, "?")
        return f"{letter}{stat.filemode(self.mode)[1:]} {self.owner[0]}:{self.owner[1]} {self.content}".strip()


@dataclass(frozen=True)
class Outcome:
    """An image, or why there is none."""

    error: str = ""
    tree: Mapping[str, Node] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[tuple[str, bool], ...] = ()
    """What each step was, digests masked, and whether it brought a layer."""


def read(archive: bytes) -> Outcome:
    """The image of a `docker save`."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:

        def content(name: str) -> bytes:
            found = saved.extractfile(name)
            assert found
            return found.read()

        (entry,) = json.loads(content("manifest.json"))
        document = json.loads(content(entry["Config"]))
        tree: dict[str, Node] = {}
        for name in entry["Layers"]:
            _apply(tree, _layer(content(name)))
    config = {key: document["config"].get(key) or None for key in KEYS}
    history = tuple(
        (DIGEST.sub(r"\1 \2:…", each.get("created_by", "")), not each.get("empty_layer"))
        for each in document.get("history") or ()
    )
    return Outcome("", _grouped(tree), config, history)


def differences(ours: Outcome, theirs: Outcome, *, history: bool) -> dict[str, str]:
    """What is not alike, by name ("file etc/x", "config Env", "history 3", "fails"), with both sides."""
    if ours.error or theirs.error:
        return {} if ours.error and theirs.error else {"fails": f"{ours.error!r} | {theirs.error!r}"}
    pairs: dict[str, tuple[Any, Any]] = {}
    for path in sorted({*ours.tree, *theirs.tree}):
        pairs[f"file {path}"] = ours.tree.get(path), theirs.tree.get(path)
    for key in KEYS:
        pairs[f"config {key}"] = ours.config[key], theirs.config[key]
    if history:
        pairs["history length"] = len(ours.history), len(theirs.history)
        for number, pair in enumerate(zip(ours.history, theirs.history, strict=False)):
            pairs[f"history {number}"] = pair
    return {name: f"{a!r} | {b!r}" for name, (a, b) in pairs.items() if a != b}


@lru_cache(maxsize=64)
def _layer(content: bytes) -> tuple[tuple[str, Node | str], ...]:
    """The entries of a layer; a hard link is its target's name."""
    found: list[tuple[str, Node | str]] = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = posixpath.normpath(member.name).lstrip("/")
            if member.islnk():
                found.append((name, posixpath.normpath(member.linkname).lstrip("/")))
                continue
            content_of = member.linkname
            if member.isreg() and (file := archive.extractfile(member)):
                content_of = _text(file.read())
            kind = tarfile.REGTYPE if member.isreg() else member.type
            mode = 0o777 if member.issym() else member.mode & 0o7777
            found.append((name, Node(kind, mode, (member.uid, member.gid), content_of)))
    return tuple(found)


def _text(content: bytes) -> str:
    return content.decode(errors="replace") if len(content) < SHORT else hashlib.sha256(content).hexdigest()


def _apply(tree: dict[str, Any], layer: tuple[tuple[str, Node | str], ...]) -> None:
    """Put a layer on top (OCI image-spec, layer.md); what it deletes is of the layers below."""
    for name, _ in layer:
        folder, base = posixpath.split(name)
        if base == OPAQUE:
            _remove(tree, folder, itself=False)
        elif base.startswith(WHITEOUT):
            _remove(tree, posixpath.join(folder, base.removeprefix(WHITEOUT)), itself=True)
    for name, node in layer:
        if name in (".", "") or posixpath.basename(name).startswith(WHITEOUT):
            continue
        if not (isinstance(node, Node) and node.kind == tarfile.DIRTYPE):
            _remove(tree, name, itself=False)
        if isinstance(node, str):
            tree[name] = _Shared(tree[node].node if isinstance(tree[node], _Shared) else tree[node], node)
            tree[node] = _Shared(tree[name].node, node)
        else:
            tree[name] = node


@dataclass(frozen=True)
class _Shared:
    """A file with several names; `first` tells which belong together."""

    node: Node
    first: str


def _remove(tree: dict[str, Any], path: str, *, itself: bool) -> None:
    for each in [name for name in tree if name.startswith(f"{path}/") or (itself and name == path)]:
        del tree[each]


def _grouped(tree: Mapping[str, Any]) -> dict[str, Node]:
    return dict(_nodes(tree))


def _nodes(tree: Mapping[str, Any]) -> Iterator[tuple[str, Node]]:
    names: dict[str, list[str]] = {}
    for name, node in tree.items():
        if isinstance(node, _Shared):
            names.setdefault(node.first, []).append(name)
    for name, node in tree.items():
        if isinstance(node, _Shared):
            group = tuple(sorted(names[node.first]))
            yield name, Node(node.node.kind, node.node.mode, node.node.owner, node.node.content, group)
        else:
            yield name, node
