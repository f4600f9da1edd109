"""The streams of a container that a browser opens: its log, a shell in it, and a shell as somebody else sees it."""

from containers.consumers.logs import LogConsumer
from containers.consumers.terminal import TerminalConsumer
from containers.consumers.watch import WatchConsumer

__all__ = ["LogConsumer", "TerminalConsumer", "WatchConsumer"]
