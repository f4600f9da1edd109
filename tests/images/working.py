"""Running operations on a real engine without Celery: the engine's own socket stands where the gateway's would."""

from __future__ import annotations

import threading
from pathlib import Path

from django.conf import settings
from django.db import connection

from controlplane.operations import lifecycle, runner
from controlplane.operations.models import Operation
from hosts.models import Host, HostState
from tests.support.engines import EngineProcess


def host_of(engine: EngineProcess, name: str = "") -> Host:
    """A connected host whose socket is that of `engine`."""
    host = Host.objects.create(
        name=name or engine.kind,
        state=HostState.CONNECTED,
        tunnel_up=True,
        public_key="k",
        engine_kind=engine.kind,
        cpus=2,
    )
    socket = Path(settings.HOSTS_DIR) / f"{host.pk}.sock"
    socket.unlink(missing_ok=True)
    socket.symlink_to(engine.socket)
    return host


def run(operation: Operation) -> Operation:
    """Run it to its end, here and now."""
    claimed = lifecycle.claim(operation.pk)
    assert claimed is not None
    runner.run(claimed)
    operation.refresh_from_db()
    return operation


def run_in_thread(operation: Operation) -> threading.Thread:
    """Run it as a worker would, beside the test."""

    def body() -> None:
        try:
            run(Operation.objects.get(pk=operation.pk))
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    return thread


def said(operation: Operation) -> str:
    """All its output."""
    return "\n".join(operation.output.values_list("text", flat=True))
