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
LimitNOFILE=65536
# Containers and their shells belong to the engine: only the agent itself is stopped.
KillMode=process
OOMScoreAdjust=-500
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={state}
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
RestrictRealtime=yes

[Install]
WantedBy=multi-user.target
"""


def unit_text(program: str, state: Path, engine: str = "") -> str:
    """The text of gantry-agent.service. `engine`: unix:///path of a socket, when it is not to be found."""
    return UNIT.format(program=program, state=state, engine=f" --engine {engine}" if engine else "")
