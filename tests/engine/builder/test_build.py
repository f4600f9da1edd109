"""What a build makes, and what it says meanwhile."""

import asyncio
import io
import json
import os
import subprocess
from pathlib import Path

import docker
import pytest

from tests.engine.builder.building import BASE, build
from tests.engine.fake_registry import FakeRegistry
from tests.support.engines import Native
from tests.support.images import TestImage, busybox

pytestmark = pytest.mark.root


def said(engine: Native, image: str, *command: str) -> str:
    return engine.cli("run", "--rm", "--network=none", image, *command)


def config(engine: Native, image: str) -> dict[str, object]:
    found: dict[str, object] = engine.expect("GET", f"/images/{image}/json")["Config"]
    return found


def history(engine: Native, image: str) -> list[str]:
    return [each["CreatedBy"] for each in engine.expect("GET", f"/images/{image}/history")]


def test_the_docker_command_builds(engine: Native, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nCOPY file /file\nRUN cat /file\nCMD cat /file\n")
    done = subprocess.run(
        ["docker", "-H", f"unix://{engine.socket}", "build", "-t", "cli:1", str(tmp_path)],
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    for line in ("Step 1/4 : FROM base:1", "Step 3/4 : RUN cat /file", "content", "Successfully tagged cli:1"):
        assert line in done.stdout
    assert said(engine, "cli:1") == "content\n"


def test_settings_become_the_image_s(engine: Native) -> None:
    image = build(
        engine,
        f"FROM {BASE}\n"
        'ENV A=1 B="two words"\nENV C=$A-$B\nLABEL who=me\nEXPOSE 80 53/udp\nUSER 1000:1000\nVOLUME /data\n'
        'WORKDIR /srv\nWORKDIR app\nSTOPSIGNAL SIGINT\nSHELL ["/bin/sh", "-ec"]\nENTRYPOINT ["echo"]\nCMD ["a", "b"]\n'
        "HEALTHCHECK --interval=5s --retries=2 CMD true\nONBUILD RUN true\n",
        labels=json.dumps({"from": "request"}),
    ).image
    found = config(engine, image)
    assert {"A=1", "B=two words", "C=1-two words"} <= set(found["Env"])  # type: ignore[arg-type]
    assert found["Labels"] == {"who": "me", "from": "request"}
    assert found["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert (found["User"], found["WorkingDir"], found["StopSignal"]) == ("1000:1000", "/srv/app", "SIGINT")
    assert (found["Entrypoint"], found["Cmd"], found["Shell"]) == (["echo"], ["a", "b"], ["/bin/sh", "-ec"])
    assert found["Volumes"] == {"/data": {}}
    assert found["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2}
    assert found["OnBuild"] == ["RUN true"]
    assert '/bin/sh -ec #(nop)  ENTRYPOINT ["echo"]' in history(engine, image)


def test_an_entrypoint_forgets_the_base_s_command_but_not_its_own(engine: Native) -> None:
    build(engine, f'FROM {BASE}\nCMD ["base"]\n', t="withcmd:1")
    assert config(engine, build(engine, 'FROM withcmd:1\nENTRYPOINT ["e"]\n').image).get("Cmd") is None
    kept = build(engine, 'FROM withcmd:1\nCMD ["own"]\nENTRYPOINT ["e"]\n').image
    assert config(engine, kept)["Cmd"] == ["own"]


def test_only_what_changes_files_makes_a_layer(engine: Native) -> None:
    base = len(engine.expect("GET", f"/images/{BASE}/json")["RootFS"]["Layers"])
    dockerfile = (
        f"FROM {BASE}\nENV A=1\nRUN true\nWORKDIR /\nCOPY f /f\nRUN echo x > /x\nRUN rm /x\nWORKDIR /new\nUSER 1\n"
    )
    image = build(engine, dockerfile, {"f": "1"}).image
    layers = engine.expect("GET", f"/images/{image}/json")["RootFS"]["Layers"]
    assert len(layers) - base == 4
    sizes = {each["CreatedBy"]: each["Size"] for each in engine.expect("GET", f"/images/{image}/history")}
    assert sizes["/bin/sh -c true"] == 0


def test_stages_nobody_needs_are_skipped_and_a_target_ends_the_build(engine: Native) -> None:
    dockerfile = (
        f"FROM {BASE} AS broken\nRUN false\nFROM {BASE} AS one\nRUN echo 1 > /one\n"
        f"FROM one AS two\nRUN echo 2 > /two\nFROM {BASE}\nCOPY --from=one /one /\nCOPY --from=2 /two /\n"
    )
    last, target = build(engine, dockerfile), build(engine, dockerfile, target="ONE")
    assert "RUN false" not in last.text
    assert said(engine, last.image, "cat", "/one", "/two") == "1\n2\n"
    assert said(engine, target.image, "ls", "/one") == "/one\n"
    assert "RUN echo 2" not in target.text


def test_stages_that_do_not_wait_for_each_other_run_side_by_side_and_are_told_in_order(engine: Native) -> None:
    """Each waits for the other's sign in a cache they share: one after the other would hang until it gives up."""
    wait = "for i in $(seq 300); do test -e /c/{other} && exit 0; sleep 0.1; done; exit 9"
    stage = (
        "FROM {base} AS {own}\nRUN --mount=type=cache,target=/c,id=meet touch /c/{own}; echo {own} speaks; "
        + wait
        + "\nRUN touch /{own}\n"
    )
    dockerfile = "".join(stage.format(base=BASE, own=own, other=other) for own, other in (("a", "b"), ("b", "a")))
    built = build(engine, f"{dockerfile}FROM {BASE}\nCOPY --from=a /a /\nCOPY --from=b /b /\n", nocache=1)
    assert said(engine, built.image, "ls", "/a", "/b") == "/a\n/b\n"
    steps = [line.split()[1] for line in built.text.splitlines() if line.startswith("Step ")]
    assert steps == [f"{number}/9" for number in range(1, 10)]
    assert built.text.index("a speaks") < built.text.index("b speaks")


def test_triggers_of_the_base_are_carried_out(engine: Native) -> None:
    build(engine, f"FROM {BASE}\nONBUILD COPY f /f\nONBUILD RUN cat /f\n", t="triggers:1")
    built = build(engine, "FROM triggers:1\nENV A=1\n", {"f": "pulled the trigger\n"})
    assert "# Executing 2 build triggers" in built.text
    assert "pulled the trigger" in built.text
    assert not config(engine, built.image).get("OnBuild")


def test_triggers_copy_from_stages_that_nothing_else_needs(engine: Native) -> None:
    """As Docker, which builds every stage up to the target. Others are skipped all the same."""
    build(engine, f"FROM {BASE}\nONBUILD COPY --from=builder /made /made\n", t="copies:1")
    stages = f"FROM {BASE} AS broken\nRUN false\nFROM {BASE} AS builder\nRUN echo of the builder > /made\n"
    built = build(engine, f"{stages}FROM copies:1\nRUN cat /made > /read\n")
    assert said(engine, built.image, "cat", "/read") == "of the builder\n"
    steps = [line for line in built.text.splitlines() if line.startswith("Step ")]
    assert [line.split()[1] for line in steps] == [f"{number}/4" for number in range(1, 5)]
    assert "RUN false" not in built.text


async def test_triggers_of_a_base_that_is_pulled_have_their_stages_built_then(engine: Native) -> None:
    """The stage has more to say than is kept: it is heard before the one that waits for it and spoke before."""
    config = {**busybox().config, "OnBuild": ["COPY --from=0 /made /made"]}
    async with FakeRegistry() as registry:
        base = registry.add(TestImage(busybox().layers, config), "triggers", "1")
        dockerfile = (
            f"FROM {BASE}\nRUN yes from the builder | head -c 2000000; echo; echo end > /made\n"
            f"FROM {base} AS middle\nENV A=1\nFROM middle\nENV B=1\n"
        )
        built = await asyncio.to_thread(build, engine, dockerfile, nocache=1)
    assert said(engine, built.image, "cat", "/made") == "end\n"
    marks = [f"FROM {base}", "# Executing 1 build trigger", "RUN yes", "from the builder", "ENV A=1", "ENV B=1"]
    places = [built.text.index(each) for each in marks]
    assert places == sorted(places)


def test_a_mount_names_no_stage_by_its_index(engine: Native) -> None:
    """As BuildKit: only COPY does."""
    build(engine, f"FROM {BASE}\nRUN echo of the image > /which\n", t="0:latest")
    stage = f"FROM {BASE}\nRUN echo of the stage > /which\n"
    built = build(engine, f"{stage}FROM {BASE}\nRUN --mount=from=0,target=/m cat /m/which\n", nocache=1)
    assert "of the image" in built.text, built.error


def test_arguments_are_seen_by_run_told_in_history_and_not_in_the_image(engine: Native) -> None:
    dockerfile = "ARG TAG=1\nFROM base:$TAG\nARG WHO=nobody\nARG TAG\nRUN echo $WHO $TAG $HTTP_PROXY\n"
    built = build(engine, dockerfile, buildargs=json.dumps({"WHO": "me", "HTTP_PROXY": "http://proxy"}))
    assert "me 1 http://proxy" in built.text
    assert history(engine, built.image)[0] == "|2 TAG=1 WHO=me /bin/sh -c echo $WHO $TAG $HTTP_PROXY"
    assert not any("WHO" in each or "PROXY" in each for each in config(engine, built.image)["Env"])  # type: ignore[attr-defined]
    assert "proxy" not in json.dumps(history(engine, built.image)).replace("$HTTP_PROXY", "")


def test_heredocs_are_scripts_and_files(engine: Native) -> None:
    built = build(
        engine,
        f"FROM {BASE}\nENV NAME=world\nRUN <<EOF\necho one\necho two > /two\nEOF\n"
        "RUN <<EOF\n#!/bin/cat\nread by cat\nEOF\n"
        'COPY <<EOF <<"RAW" /etc/made/\nhello $NAME\nEOF\nhello $NAME\nRAW\n',
    )
    assert "one\n" in built.text
    assert "read by cat" in built.text
    assert (
        said(engine, built.image, "cat", "/two", "/etc/made/EOF", "/etc/made/RAW") == "two\nhello world\nhello $NAME\n"
    )


def test_scratch_holds_what_is_copied_and_nothing_else(engine: Native) -> None:
    image = build(
        engine, f'FROM {BASE} AS b\nFROM scratch\nCOPY --from=b /bin/busybox /busybox\nCMD ["/busybox", "ls", "/"]\n'
    ).image
    assert "busybox" in engine.cli("run", "--rm", "--network=none", image)
    assert config(engine, image)["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def test_limits_reach_the_command(engine: Native) -> None:
    built = build(
        engine,
        f"FROM {BASE}\nRUN cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes memory.max 2>/dev/null; true\n",
        memory=64 << 20,
        nocache=1,
    )
    assert str(64 << 20) in built.text


def test_the_same_time_gives_the_same_digest(engine: Native) -> None:
    dockerfile = f"FROM {BASE}\nCOPY f /new/f\nWORKDIR /w\nRUN date > /dev/null; echo x > /x\nENV A=1\n"
    args = json.dumps({"SOURCE_DATE_EPOCH": "1600000000"})
    first, second = (
        build(engine, dockerfile, {"f": "1"}, nocache=1, buildargs=args, mtime=1_700_000_000 + number)
        for number in (0, 5000)
    )
    assert first.image == second.image
    assert engine.expect("GET", f"/images/{first.image}/json")["Created"] == "2020-09-13T12:26:40Z"
    assert said(engine, first.image, "stat", "-c", "%Y", "/x", "/w", "/new/f") == "1600000000\n" * 3


def test_docker_py_builds(engine: Native) -> None:
    client = docker.DockerClient(base_url=f"unix://{engine.socket}", version="1.41")
    try:
        image, lines = client.images.build(
            fileobj=io.BytesIO(f"FROM {BASE}\nRUN echo from docker-py\n".encode()), tag="py:1"
        )
        assert "py:1" in image.tags
        assert any("from docker-py" in str(line.get("stream")) for line in lines)
    finally:
        client.close()
