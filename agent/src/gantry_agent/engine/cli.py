"""`gantry-agent engine`: serve, or check a store. A program of its own: the agent does not load the engine."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from gantry_agent.native import ROOT, SOCKET, end_with

from . import config, main
from .errors import EngineError
from .images.layer_check import check_layers
from .layout import Layout
from .store.checks import check, leftovers


def run(words: Sequence[str]) -> int:
    """Run one command; the exit status. Errors go to standard error."""
    options = parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    if options.parent:
        end_with(options.parent)
    try:
        if options.action == "check":
            return report(Layout.at(options.root, options.run))
        asyncio.run(main.run(options.root, options.socket, config.load(options.config), options.run))
    except EngineError as exc:
        print(f"gantry-agent: {exc.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def report(layout: Layout) -> int:
    """Print what is damaged in a store; 1 when anything is. What the next start clears away is no damage."""
    problems = check(layout)
    if not problems:
        problems = check_layers(layout)
    for problem in problems:
        print(problem)
    if problems:
        return 1
    left = len(leftovers(layout))
    print(f"{layout.root} is whole." + (f" The next start clears away {left} leftovers." if left else ""))
    return 0


def parser() -> argparse.ArgumentParser:
    """The grammar of `gantry-agent engine`."""
    top = argparse.ArgumentParser(
        prog="gantry-agent engine", description="Serves the native engine, without a control plane."
    )
    top.add_argument(
        "action", nargs="?", choices=["check"], help="find what is damaged in the store, and change nothing"
    )
    top.add_argument("--root", type=Path, default=ROOT, help="folder of images and containers")
    top.add_argument("--socket", type=Path, default=SOCKET, help="unix socket of its API")
    top.add_argument("--config", type=Path, help="configuration, JSON (docs/native-engine.md)")
    top.add_argument("--run", type=Path, help="folder of run-time state (default: below /run)")
    top.add_argument("--parent", type=int, help="pid of a process to end with")
    return top
