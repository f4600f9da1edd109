"""The two streams of a container that a browser opens."""

from containers.consumers.logs import LogConsumer
from containers.consumers.terminal import TerminalConsumer

__all__ = ["LogConsumer", "TerminalConsumer"]
