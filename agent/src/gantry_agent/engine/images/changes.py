"""Dockerfile instructions that change an image's configuration, as `commit --change` and `import --change` take them.

CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, USER, VOLUME, WORKDIR, STOPSIGNAL, SHELL, HEALTHCHECK.
"""

import copy
import json
import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

from gantry_agent.engine.errors import InvalidArgument

from .moments import duration_of

Config = dict[str, Any]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?\Z")
_WORD = re.compile(r"""((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)\s*""")
_VARIABLE = r"\$(?:\{(?P<braced>\w+)(?::(?P<how>[-+])(?P<other>[^}]*))?\}|(?P<name>\w+))"
_TOKEN = re.compile(rf"""\\(?P<escaped>.)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|{_VARIABLE}""")
_INSIDE = re.compile(rf"""\\(?P<escaped>["\\$])|{_VARIABLE}""")
SHELL = ["/bin/sh", "-c"]


def apply_changes(config: Config, changes: Sequence[str]) -> Config:
    """A copy of Docker's Config with the instructions applied in order. Raises InvalidArgument naming the line."""
    changed, has_command = copy.deepcopy(config), False
    for text in changes:
        for line in re.sub(r"\\\n", " ", text).splitlines():
            if not line.strip():
                continue
            word = line.split()[0].upper()
            if word == "ENTRYPOINT" and not has_command:
                changed.pop("Cmd", None)  # it was meant for another entrypoint
            has_command |= word == "CMD"
            _apply(changed, line.strip())
    return changed


def _apply(config: Config, line: str) -> None:
    word, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(word.upper())
    if instruction is None:
        raise InvalidArgument(f"{word[:60]} is not a valid change command")
    if not rest.strip():
        raise InvalidArgument(f"{word.upper()} requires at least one argument")
    instruction(config, rest.strip())


def _command(config: Config, rest: str) -> list[str]:
    """JSON form, else a line for the shell."""
    return _json_list(rest) or [*(config.get("Shell") or SHELL), rest]


def _json_list(rest: str) -> list[str] | None:
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else None


def _cmd(config: Config, rest: str) -> None:
    config["Cmd"] = [] if rest == "[]" else _command(config, rest)


def _entrypoint(config: Config, rest: str) -> None:
    config["Entrypoint"] = None if rest == "[]" else _command(config, rest)


def _env(config: Config, rest: str) -> None:
    found = dict(each.partition("=")[::2] for each in config.get("Env") or [])
    found.update(_pairs("ENV", rest, config))
    config["Env"] = [f"{name}={value}" for name, value in found.items()]


def _label(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs("LABEL", rest, config)}


def _expose(config: Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(rest, config):
        match = _PORT.match(word.lower())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"EXPOSE: invalid containerPort: {word}")
        for port in range(first, last + 1):
            ports[f"{port}/{match[3] or 'tcp'}"] = {}
    config["ExposedPorts"] = ports


def _volume(config: Config, rest: str) -> None:
    paths = _json_list(rest) or _words(rest, config)
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(config: Config, rest: str) -> None:
    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", _plain(rest, config)))


def _user(config: Config, rest: str) -> None:
    config["User"] = _plain(rest, config)


def _stopsignal(config: Config, rest: str) -> None:
    config["StopSignal"] = _plain(rest, config)


def _shell(config: Config, rest: str) -> None:
    config["Shell"] = _json_list(rest)
    if not config["Shell"]:
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")


def _onbuild(config: Config, rest: str) -> None:
    if rest.partition(" ")[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{rest.partition(' ')[0].upper()} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), rest]


def _healthcheck(config: Config, rest: str) -> None:
    """`[--interval=…] [--timeout=…] [--start-period=…] [--start-interval=…] [--retries=…] CMD …`, or NONE."""
    check: Config = {}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        if match[1] == "retries" and match[2].isdigit():
            check["Retries"] = int(match[2])
        elif match[1] in names:
            check[names[match[1]]] = duration_of(match[2])
        else:
            raise InvalidArgument(f"HEALTHCHECK: unknown flag: {match[0].strip()[:60]}")
        rest = rest[match.end() :]
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE":
        check["Test"] = ["NONE"]
    elif kind.upper() == "CMD" and command.strip():
        words = _json_list(command.strip())
        check["Test"] = ["CMD", *words] if words else ["CMD-SHELL", command.strip()]
    else:
        raise InvalidArgument(f"HEALTHCHECK: unknown type {kind[:40]!r}, expected CMD or NONE")
    config["Healthcheck"] = check


def _pairs(instruction: str, rest: str, config: Config) -> dict[str, str]:
    """`a=b c="d e"`, or the old form `a b c`: one name, the rest its value."""
    words = _raw_words(rest)
    if "=" not in words[0]:
        name, _, value = rest.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{instruction} must have two arguments")
        return {name: _plain(value.strip(), config)}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"Syntax error - can't find = in {word[:60]!r}. Must be of the form: name=value")
        found[_plain(name, config)] = _plain(value, config)
    return found


def _raw_words(rest: str) -> list[str]:
    words = _WORD.findall(rest)
    if re.sub(r"\s", "", "".join(words)) != re.sub(r"\s", "", rest):
        raise InvalidArgument(f"unbalanced quotes in {rest[:100]!r}")
    return words


def _words(rest: str, config: Config) -> list[str]:
    return [_plain(word, config) for word in _raw_words(rest)]


def _plain(word: str, config: Config) -> str:
    """A word as a shell leaves it: quotes and backslashes gone, variables of the environment so far put in."""
    environment = dict(each.partition("=")[::2] for each in config.get("Env") or [])

    def plain(match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["escaped"] is not None:
            return str(found["escaped"])
        if found.get("single") is not None:
            return str(found["single"])
        if found.get("double") is not None:
            return _INSIDE.sub(plain, found["double"])
        value = environment.get(found["braced"] or found["name"], "")
        if found["how"] == "-":
            return value or str(found["other"])
        return (str(found["other"]) if value else "") if found["how"] == "+" else value

    return _TOKEN.sub(plain, word)


_INSTRUCTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
