"""Dockerfile instructions of commit and import: the configuration they make is the one Docker makes."""

from typing import Any

import pytest
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.images.changes import apply_changes

from tests.conftest import need
from tests.support.engines import Dockerd, EngineProcess
from tests.support.images import make_tar

CHANGES = [
    'CMD ["a", "b c"]',
    "CMD echo $HOME  twice",
    "ENTRYPOINT /bin/x y",
    'ENTRYPOINT ["/bin/x"]',
    "ENV A=1 B='two words' C=\"three $words\" D=a\\ b",
    "ENV NAME the rest of the line",
    "env lower=1\nENV A=2 lower=3",
    "EXPOSE 80 443/tcp 53/udp 8000-8002",
    'LABEL one=1 "two words"="a b" three=',
    "ONBUILD RUN echo x",
    "USER nobody:nogroup",
    "VOLUME /a /b",
    'VOLUME ["/c d"]',
    "WORKDIR /srv",
    "WORKDIR /a\nWORKDIR b/../c",
    "ENV A=1 B=$A\nENV C=$A-${A}-${X:-none}-${A:+some} D='$A' E=\"$A \\$A\" F=\\$A\nWORKDIR /$A\nUSER $C",
    "ENV OLD value with $nothing inside",
    "HEALTHCHECK NONE",
    "HEALTHCHECK --interval=5s --timeout=1m30s --start-period=2s --retries=4 CMD test -f /x",
    'HEALTHCHECK CMD ["/bin/true"]',
]


@pytest.mark.docker
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_what_it_makes_in_docker(docker_engine: EngineProcess, change: str) -> None:
    need(Dockerd.why_not())
    made = docker_engine.expect("POST", "/images/create", make_tar({"a": b""}), fromSrc="-", changes=change)
    theirs = docker_engine.expect("GET", f"/images/{made['status']}/json")["Config"]
    ours = apply_changes({}, [change])
    assert {name: value for name, value in ours.items() if value} == _set(theirs)
    docker_engine.expect("DELETE", f"/images/{made['status']}")


def _set(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value and name not in ("Hostname", "Image")}


def test_changes_come_on_top_of_a_configuration_and_leave_it_alone() -> None:
    before = {"Env": ["PATH=/bin", "A=1"], "Labels": {"x": "1"}, "ExposedPorts": {"80/tcp": {}}}
    after = apply_changes(before, ["ENV A=2", "LABEL y=2", "EXPOSE 81"])
    assert after == {
        "Env": ["PATH=/bin", "A=2"],
        "Labels": {"x": "1", "y": "2"},
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
    }
    assert before["Env"] == ["PATH=/bin", "A=1"]


@pytest.mark.parametrize(
    "change",
    ["FROM x", "RUN x", "COPY a b", "nonsense", "CMD", "ENV", "ENV A", "ENV A=1 B", "ENV A='1", "EXPOSE x", "EXPOSE 0",
     "EXPOSE 70000", "EXPOSE 9-8", "ONBUILD FROM x", "SHELL sh", "HEALTHCHECK", "HEALTHCHECK x",
     "HEALTHCHECK --what=1 CMD x",
     "HEALTHCHECK --interval=soon CMD x"],
)  # fmt: skip
def test_what_is_no_change_is_refused(change: str) -> None:
    with pytest.raises(InvalidArgument):
        apply_changes({}, [change])
