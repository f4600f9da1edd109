"""`RUN --mount=type=cache,target=/root/.cache,sharing=locked`.

Rules: Dockerfile reference, "RUN --mount"; BuildKit's instructions/commands_runmount.go. Values may hold variables,
known when the instruction is carried out, so only `from` is read before.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import Fault, did_you_mean, quoted

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_KEYS = {
    "type": "type",
    "from": "from_",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "readonly": "read_only",
    "ro": "read_only",
    "readwrite": "writable",
    "rw": "writable",
    "id": "id",
    "sharing": "sharing",
    "required": "required",
    "size": "size",
    "mode": "mode",
    "uid": "uid",
    "gid": "gid",
    "env": "env",
}
_ONLY_FOR = {"required": ("secret", "ssh"), "size": ("tmpfs",)}
_OWNED = ("secret", "ssh", "cache")  # what mode, uid and gid are for
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(?:([kmgtp])(?:i?b)?|b)?\Z", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount. Until `ready`, variables wait: then only `text` and `from_` say something."""

    text: str
    from_: str = ""  # a stage or an image; "" is the build context
    ready: bool = False
    type: str = "bind"
    source: str = ""
    target: str = ""
    read_only: bool = True
    id: str = ""
    sharing: str = ""  # "" is shared
    required: bool = False
    size: int = 0  # bytes, 0 for no limit
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None  # the secret's variable; "" names it as the secret


def parse_mount(text: str) -> Mount:
    """As far as can be said before variables are known: at once when there are none. Raises Fault."""
    if not re.search(r"[$\\`'\"]", text):
        return expand_mount(text, lambda value: value)
    origin = ""
    for field in split_fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            if "$" in value[:-1]:
                raise Fault("'from' doesn't support variable expansion, define alias stage instead")
            origin = value
    return Mount(text, origin)


def expand_mount(text: str, expand: Callable[[str], str]) -> Mount:
    """The mount with its values expanded. Raises Fault."""
    found: dict[str, Any] = {"type": "bind"}
    for field in split_fields(text):
        key, equals, value = field.partition("=")
        name = _KEYS.get(key.lower())
        if equals:
            value = expand(value)
        elif name in ("read_only", "writable", "required"):
            value = "true"
        else:
            raise Fault(f"invalid field '{field[:100]}' must be a key=value pair")
        if name is None:
            raise Fault(f"unexpected key '{key[:100]}' in '{field[:100]}'{did_you_mean(key.lower(), _KEYS)}")
        if found["type"] not in _ONLY_FOR.get(name, TYPES):
            raise Fault(f"unexpected key '{key}' for mount type '{found['type']}'")
        if name == "writable":
            found["read_only"] = not _value(key, name, value)
        else:
            found[name] = _value(key, name, value)
    found.setdefault("read_only", found["type"] not in ("cache", "tmpfs"))
    mount = Mount(text, ready=True, **found)
    _check(mount)
    return mount


def split_fields(text: str) -> list[str]:
    """A line of CSV (RFC 4180): a field in double quotes may hold commas, "" in it is a quote. Raises Fault."""
    fields, pos = [], 0
    if not text:
        raise Fault("failed to parse csv mounts: it is empty")
    while True:
        if text[pos : pos + 1] == '"':
            match = re.compile('"((?:[^"]|"")*+)"(?=,|\\Z)').match(text, pos)
            if not match:
                raise Fault('failed to parse csv mounts: extraneous or missing " in quoted-field')
            fields.append(match[1].replace('""', '"'))
            pos = match.end()
        else:
            end = text.find(",", pos)
            end = len(text) if end < 0 else end
            fields.append(text[pos:end])
            if '"' in fields[-1]:
                raise Fault('failed to parse csv mounts: bare " in non-quoted-field')
            pos = end
        if pos >= len(text):
            return fields
        pos += 1


def _value(key: str, name: str, value: str) -> Any:
    """One option's value in its own type."""
    if name in ("read_only", "writable", "required"):
        if value not in _TRUTHS:
            raise Fault(f"invalid value for {key}: {value[:100]}")
        return _TRUTHS[value]
    if name in ("type", "sharing"):
        options = TYPES if name == "type" else SHARING
        if value.lower() not in options:
            what = "mount type" if name == "type" else "sharing value"
            raise Fault(f"unsupported {what} {quoted(value)}{did_you_mean(value, options)}")
        return value.lower()
    if name == "size":
        return _bytes(key, value)
    if name in ("mode", "uid", "gid"):
        if not re.fullmatch(r"[0-7]{1,20}" if name == "mode" else r"[0-9]{1,20}", value):
            raise Fault(f"invalid value {value[:100]} for {name}")
        number = int(value, 8 if name == "mode" else 10)
        if number >= 1 << 32:
            raise Fault(f"invalid value {value[:100]} for {name}")
        return number
    return value


def _bytes(key: str, value: str) -> int:
    """64m, 1g, 1.5GiB, 1024 (docker/go-units, RAMInBytes)."""
    if not (match := _SIZE.match(value)):
        raise Fault(f"invalid value for {key}: {value[:100]}")
    return int(float(match[1]) * 1024 ** _POWERS.get((match[2] or "").lower(), 0))


def _check(mount: Mount) -> None:
    """What does not go together."""
    if mount.type not in _OWNED:
        for name in ("mode", "uid", "gid"):
            if getattr(mount, name) is not None:
                raise Fault(f"{name} not allowed for {quoted(mount.type)} type mounts")
    if mount.type == "secret":
        if mount.from_:
            raise Fault("secret mount should not have a from")
        if mount.sharing:
            raise Fault("secret mount should not define sharing")
        if not (mount.source or mount.target or mount.id):
            raise Fault("invalid secret mount. one of source, target required")
        if mount.source and mount.id:
            raise Fault("both source and id can't be set")
    if mount.sharing and mount.type != "cache":
        raise Fault(f"invalid cache sharing set for {mount.type} mount")
