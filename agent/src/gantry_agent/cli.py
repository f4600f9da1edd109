"""The command line: enrol, run, status, unit, parts, engine."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from . import __version__, daemon, native
from .enrol import enrol
from .errors import AgentError
from .state import State, default_folder
from .unit import unit_text

ENGINE_HELP = (
    "native, or unix:///path of an engine's socket (default: the first Docker or Podman that answers, else native)"
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status. Errors go to standard error with their hint."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["engine"]:
        native.become(words[1:])
    options = parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    state = State(getattr(options, "state", default_folder()))
    try:
        return _run(options, state)
    except AgentError as exc:
        print(f"gantry-agent: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)
        return 1
    except PermissionError as exc:
        print(f"gantry-agent: {exc}. Run it as the user that owns {state.folder}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, state: State) -> int:
    if options.command == "enrol":
        enrolment = asyncio.run(
            enrol(
                state,
                options.url,
                options.token,
                fingerprint=options.fingerprint,
                name=options.name,
                replace=options.replace,
            )
        )
        print(f"Enrolled as {enrolment.name}.")
    elif options.command == "run":
        places = daemon.places_of(state, options.engine_root, options.engine_socket)
        asyncio.run(daemon.run(state, options.engine, places))
    elif options.command == "status":
        print(daemon.describe(state))
    elif options.command == "parts":
        print(" ".join(asyncio.run(native.lacking_for(options.engine, native.Places()))))
    else:
        is_native = asyncio.run(native.is_choice(options.engine, native.Places()))
        print(unit_text(options.program, state.folder, options.engine, native=is_native), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", type=Path, default=default_folder(), help="folder of this host's key")
    top = argparse.ArgumentParser(prog="gantry-agent", description="Joins this container host to Gantry.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    command = commands.add_parser("enrol", parents=[shared], help="trade a token for this host's own key")
    command.add_argument("--url", required=True, help="address of Gantry")
    command.add_argument("--token", required=True, help="the token that “Add host” showed")
    command.add_argument("--fingerprint", default="", help="sha256:… of a self-made certificate")
    command.add_argument("--name", default="", help="name to show (default: this host's name)")
    command.add_argument("--replace", action="store_true", help="forget an earlier enrolment of this host")
    command = commands.add_parser("run", parents=[shared], help="stay connected")
    command.add_argument("--engine", default="", help=ENGINE_HELP)
    command.add_argument(
        "--engine-root", type=Path, default=native.ROOT, help="folder of the native engine's images and containers"
    )
    command.add_argument("--engine-socket", type=Path, default=native.SOCKET, help="unix socket of the native engine")
    commands.add_parser("status", parents=[shared], help="say how the running agent is doing")
    command = commands.add_parser("unit", parents=[shared], help="print a systemd unit")
    command.add_argument("--program", default=sys.argv[0], help="path of this program")
    command.add_argument("--engine", default="", help=ENGINE_HELP)
    command = commands.add_parser(
        "parts", help="print the packages that the native engine lacks here, if it is the choice"
    )
    command.add_argument("--engine", default="", help=ENGINE_HELP)
    commands.add_parser("engine", add_help=False, help="serve the native engine alone, or check its store")
    return top
