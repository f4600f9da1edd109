"""Whether and when a container that ended is started again: Docker's restart policies and their backoff."""

from .model import Container

FIRST, MOST = 0.1, 60.0  # seconds, doubling (Docker: restartmanager)
RAN_WELL = 10.0  # seconds after which the next pause is the first again


def wants_restart(container: Container) -> bool:
    """After its process ended by itself."""
    policy = container.host_config.get("RestartPolicy") or {}
    name = policy.get("Name")
    if container.state.stopped_by_hand:
        return False
    if name in ("always", "unless-stopped"):
        return True
    if name == "on-failure" and container.state.exit_code != 0:
        most = int(policy.get("MaximumRetryCount") or 0)
        return not most or container.restart_count < most
    return False


def wants_boot(container: Container) -> bool:
    """After the host came up again."""
    name = (container.host_config.get("RestartPolicy") or {}).get("Name")
    return name == "always" or (name == "unless-stopped" and not container.state.stopped_by_hand)


def pause(before: float, ran: float) -> float:
    """Seconds to wait; `before`: the last pause, 0 for none; `ran`: seconds the run lasted."""
    return FIRST if not before or ran >= RAN_WELL else min(MOST, before * 2)
