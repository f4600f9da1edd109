"""The command line of `up`, turned into the environment variables that settings.py reads.

Settings are read once, when Django is imported: so this runs before (manage.py calls it) and imports
nothing of Django.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from controlplane.lib.home import gantry_home

SELF_MADE = "self-made"  # what GANTRY_TLS says when --tls came without a certificate


def address(text: str) -> str:
    """HOST:PORT, checked; `:PORT` and a bare port mean the loopback. Raises argparse.ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT with a port from 1 to 65535, found {text!r}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise argparse.ArgumentTypeError(f"an IPv6 address is written [{host}]:{port}")
    return f"{host or '127.0.0.1'}:{port}"


def split(listen: str) -> tuple[str, int]:
    """Host (without the brackets of IPv6) and port of a checked address."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(listen: str) -> bool:
    host, _ = split(listen)
    return host == "localhost" or host == "::1" or host.startswith("127.")


def is_wildcard(listen: str) -> bool:
    return split(listen)[0] in ("0.0.0.0", "::")


def engine(text: str) -> str:
    """auto, docker, podman, native, none or the URL of a unix socket. Raises argparse.ArgumentTypeError."""
    if text in ("auto", "docker", "podman", "native", "none") or text.startswith("unix:///"):
        return text
    raise argparse.ArgumentTypeError(f"expected auto, docker, podman, native, none or unix:///PATH, found {text!r}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", type=address, metavar="HOST:PORT", help="where the pages are served")
    parser.add_argument("--gateway-listen", type=address, metavar="HOST:PORT", help="where hosts dial in")
    parser.add_argument("--tls", nargs="*", metavar="PEM", help="[CERT KEY]; self-made when none is given")
    parser.add_argument("--engine", type=engine, metavar="auto|docker|podman|native|none|unix:///PATH")
    parser.add_argument("--home", type=Path, metavar="DIR", help="the folder of all state")


def apply(options: argparse.Namespace, environment: MutableMapping[str, str]) -> None:
    """Write the options given into `environment`. Raises SystemExit for a wrong --tls."""
    if options.home is not None:
        environment["GANTRY_HOME"] = str(options.home.expanduser().absolute())
    if options.listen is not None:
        environment["GANTRY_LISTEN"] = options.listen
    if options.gateway_listen is not None:
        environment["GANTRY_GATEWAY_LISTEN"] = options.gateway_listen
    if options.engine is not None:
        environment["GANTRY_ENGINE"] = options.engine
    if options.tls is not None:
        _apply_tls(options.tls, environment)


def _apply_tls(given: Sequence[str], environment: MutableMapping[str, str]) -> None:
    if len(given) == 2:
        for name, path in zip(("GANTRY_TLS_CERT", "GANTRY_TLS_KEY"), given, strict=True):
            file = Path(path).expanduser().absolute()
            if not os.access(file, os.R_OK):
                raise SystemExit(f"gantry: --tls: {file} cannot be read.")
            environment[name] = str(file)
    elif not given:
        # The files are made later, but before anything reads them.
        folder = gantry_home() / "tls"
        environment["GANTRY_TLS"] = SELF_MADE
        environment["GANTRY_TLS_CERT"] = str(folder / "cert.pem")
        environment["GANTRY_TLS_KEY"] = str(folder / "key.pem")
    else:
        raise SystemExit(f"gantry: --tls takes a certificate and its key, or nothing; found {len(given)} names.")


def read(arguments: Sequence[str]) -> None:
    """What manage.py does before Django reads its settings, when the command is `up`."""
    parser = argparse.ArgumentParser(prog="gantry up", add_help=False, allow_abbrev=False)
    add_arguments(parser)
    options, _ = parser.parse_known_args(arguments)
    apply(options, os.environ)
