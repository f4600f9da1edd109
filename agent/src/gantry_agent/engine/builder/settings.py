"""Instructions that change nothing but the image's configuration, and how history tells of them.

The words are those of Docker's classic builder, so that `docker history` of an image reads alike wherever it was built.
"""

import copy
import json
import posixpath
from collections.abc import Callable, Sequence
from typing import Any

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime.processes import signal_number

from .dockerfile import Instruction, exposed_ports
from .dockerfile import instructions as the

Config = dict[str, Any]
SHELL = ["/bin/sh", "-c"]
SECOND = 10**9


def shell_of(config: Config) -> list[str]:
    """What runs the shell form."""
    return list(config.get("Shell") or SHELL)


def environment_of(config: Config) -> dict[str, str]:
    """The image's variables."""
    return dict(each.partition("=")[::2] for each in config.get("Env") or ())


def words_of(command: the.Command, config: Config) -> list[str]:
    """A command as it is run."""
    return [*shell_of(config), command.line] if command.shell else list(command.arguments)


def changed(config: Config, instruction: Instruction, *, keeps_command: bool = False) -> tuple[Config, str]:
    """A copy of the configuration with the instruction applied, and what history says of it.

    The instruction is expanded. `keeps_command`: an ENTRYPOINT leaves the CMD, which this Dockerfile has set itself.
    Raises InvalidArgument.
    """
    found = copy.deepcopy(config)
    if isinstance(instruction, the.Entrypoint) and not keeps_command:
        found.pop("Cmd", None)
    return found, _CHANGES[type(instruction)](found, instruction)


def is_setting(instruction: Instruction) -> bool:
    """Whether `changed` knows it."""
    return type(instruction) in _CHANGES


def working_folder(config: Config, path: str) -> str:
    """Where WORKDIR leads from where the image is."""
    return posixpath.normpath(posixpath.join("/", str(config.get("WorkingDir") or "/"), path)).replace("//", "/")


def _cmd(config: Config, it: the.Cmd) -> str:
    config["Cmd"] = words_of(it.command, config)
    return f"CMD {_quoted(config['Cmd'])}"


def _entrypoint(config: Config, it: the.Entrypoint) -> str:
    config["Entrypoint"] = words_of(it.command, config)
    return f"ENTRYPOINT {_quoted(config['Entrypoint'])}"


def _env(config: Config, it: the.Env) -> str:
    env = list(config.get("Env") or ())
    for name, value in it.pairs:
        place = next((number for number, each in enumerate(env) if each.partition("=")[0] == name), len(env))
        env[place : place + 1] = [f"{name}={value}"]
    config["Env"] = env
    return "ENV" + "".join(f" {name}={value}" for name, value in it.pairs)


def _label(config: Config, it: the.Label) -> str:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(it.pairs)}
    return "LABEL" + "".join(f" {name}={value}" for name, value in it.pairs)


def _expose(config: Config, it: the.Expose) -> str:
    config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), **{port: {} for port in exposed_ports(it)}}
    return "EXPOSE " + " ".join(sorted(it.ports))


def _volume(config: Config, it: the.Volume) -> str:
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in it.paths}}
    return f"VOLUME [{' '.join(it.paths)}]"


def _user(config: Config, it: the.User) -> str:
    config["User"] = it.user
    return f"USER {it.user}"


def _stopsignal(config: Config, it: the.Stopsignal) -> str:
    signal_number(it.signal)
    config["StopSignal"] = it.signal
    return f"STOPSIGNAL {it.signal}"


def _healthcheck(config: Config, it: the.Healthcheck) -> str:
    lengths = {"Interval": it.interval, "Timeout": it.timeout, "StartPeriod": it.start_period}
    lengths["StartInterval"] = it.start_interval
    config["Healthcheck"] = {
        "Test": list(it.test),
        **{name: value for name, value in lengths.items() if value},
        **({"Retries": it.retries} if it.retries else {}),
    }
    times = " ".join(f'"{_duration(value)}"' for value in (it.interval, it.timeout, it.start_period))
    return f"HEALTHCHECK &{{{_quoted(it.test)} {times} '\\x{it.retries:02x}'}}"


def _duration(nanoseconds: int) -> str:
    """As Go prints it (time.Duration.String): 1h1m0s, 3.5s, 0s; below a second in milliseconds."""
    if 0 < nanoseconds < SECOND:
        return f"{nanoseconds / 10**6:g}ms"
    minutes, rest = divmod(nanoseconds, 60 * SECOND)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / SECOND:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _shell(config: Config, it: the.Shell) -> str:
    config["Shell"] = list(it.shell)
    return f"SHELL [{' '.join(it.shell)}]"


def _onbuild(config: Config, it: the.Onbuild) -> str:
    config["OnBuild"] = [*(config.get("OnBuild") or ()), it.expression]
    return f"ONBUILD {it.expression}"


def _maintainer(_: Config, it: the.Maintainer) -> str:
    return f"MAINTAINER {it.author}"


def _quoted(words: Sequence[str]) -> str:
    """A list of words as Go prints it with %q."""
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


_CHANGES: dict[type[Instruction], Callable[[Config, Any], str]] = {
    the.Cmd: _cmd,
    the.Entrypoint: _entrypoint,
    the.Env: _env,
    the.Label: _label,
    the.Expose: _expose,
    the.Volume: _volume,
    the.User: _user,
    the.Stopsignal: _stopsignal,
    the.Healthcheck: _healthcheck,
    the.Shell: _shell,
    the.Onbuild: _onbuild,
    the.Maintainer: _maintainer,
}


def check_env(config: Config) -> None:
    """Raises InvalidArgument for a variable no process could have."""
    for each in config.get("Env") or ():
        if "\0" in each:
            raise InvalidArgument("ENV holds a zero byte")
