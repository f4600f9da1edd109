"""The systemd unit that keeps the agent running."""

from pathlib import Path

UNIT = """\
[Unit]
Description=Gantry agent
Wants=network-online.target
After=network-online.target docker.service podman.socket

[Service]
ExecStart={program} run --state {state}{engine}
Restart=always
RestartSec=2
LimitNOFILE={open_files}
# Containers and their shells belong to the engine: only the agent itself is stopped.
KillMode=process
{more}
[Install]
WantedBy=multi-user.target
"""

# In front of another engine the agent needs little.
CONFINED = """\
OOMScoreAdjust=-500
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={state}
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
RestrictRealtime=yes
"""

# With the native engine its containers are born below the service and outlive it. What confines the service
# would confine them: no setuid program would work in a container (NoNewPrivileges), and each start of the agent
# would see other mounts than the containers it takes back (every Protect… and Private… is a mount namespace).
NATIVE = """\
# The memory and processes of containers are limited one by one, in the cgroups that are theirs.
Delegate=yes
TasksMax=infinity
LimitNPROC=infinity
LimitCORE=infinity
# systemd must not end the containers' watchers when memory is short: each container has its own score.
OOMPolicy=continue
"""


def unit_text(program: str, state: Path, engine: str = "", *, native: bool = False) -> str:
    """The text of gantry-agent.service. `engine`: what `run --engine` is told, "" to leave it to the agent;
    `native`: the native engine is, or may become, this host's engine."""
    more = NATIVE if native else CONFINED.format(state=state)
    return UNIT.format(
        program=program,
        state=state,
        engine=f" --engine {engine}" if engine else "",
        open_files=1048576 if native else 65536,
        more=more,
    )
