"""A terminal through the whole chain: WebSocket, web, gateway, agent, engine. No browser yet."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support import unixhttp
from tests.support.engines import EngineProcess, unique
from tests.support.shell import Shell
from tests.support.stage import Stage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.redis_server]

MEGABYTE = 1024 * 1024


@pytest.fixture
def container(stage: Stage, docker_engine: EngineProcess, busybox_image: str) -> Iterator[tuple[int, str]]:
    """A running container: its row's key and its engine id."""
    name = unique("term")
    engine_id = docker_engine.run(busybox_image, "top", name=name)
    yield stage.add_container(engine_id, name), engine_id
    docker_engine.request("DELETE", f"/containers/{engine_id}", force="true")


def details(stage: Stage) -> list[str]:
    return [detail for verb, detail in stage.audit() if verb == "container.exec"]


def test_what_is_typed_runs_in_the_container(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0]) as shell:
        shell.type("echo $((6*7))-done; hostname\n")
        assert container[1][:12] in shell.until(container[1][:12]).decode()
        assert b"42-done" in shell.output


def test_the_shell_learns_its_size(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], columns=91, rows=33) as shell:
        shell.type("stty size\n")
        shell.until("33 91")
        shell.say("resize", columns=120, rows=40)
        shell.type("stty size\n")
        shell.until("40 120")


def test_another_command_and_user(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], command="/bin/sh -c 'id -u; echo \"a  b\"; cat'", user_="") as shell:
        shell.until("a  b")
    with Shell(stage, container[0], command="id") as shell:
        shell.until("uid=0")
        assert shell.until_told("exit")["code"] == 0
    opened = [detail for detail in details(stage) if detail.startswith("opened id (")]
    assert len(opened) == 1


def test_opening_and_ending_are_written_down(stage: Stage, container: tuple[int, str]) -> None:
    before = len(details(stage))
    with Shell(stage, container[0]) as shell:
        shell.type("exit 7\n")
        told = shell.until_told("exit")
        assert (told["code"], told["reason"]) == (7, "exited")
        assert shell.until_closed() == 1000
    entries = details(stage)[before:]
    assert entries[0].startswith("opened a shell (terminal ")
    assert entries[1].startswith("ended with exit code 7 (terminal ")
    assert len(entries) == 2


def test_after_a_drop_the_same_shell_goes_on_where_it_was(stage: Stage, container: tuple[int, str]) -> None:
    shell = Shell(stage, container[0])
    shell.type("A=kept; echo first-$A\n")
    shell.until("first-kept")
    seen = shell.end
    shell.type("(sleep 0.3; echo while-away) &\n")
    shell.stack.close()
    with Shell(stage, container[0], session=shell.session, **{"from": seen}) as again:
        again.until("while-away")
        assert again.start == seen, "the rest, not all of it"
        again.type("echo second-$A\n")
        again.until("second-kept")


def test_a_new_page_gets_the_screen_from_the_start(stage: Stage, container: tuple[int, str]) -> None:
    shell = Shell(stage, container[0])
    shell.type("echo hel''lo\n")
    shell.until("\r\nhello")
    shell.stack.close()
    with Shell(stage, container[0], session=shell.session, **{"from": 0}) as again:
        assert b"\r\nhello" in again.until("\r\nhello")
        told = again.until_told("replay")
        assert told["from"] == 0
        assert told["to"] >= shell.end


def test_the_shell_survives_the_web_process(stage: Stage, container: tuple[int, str]) -> None:
    shell = Shell(stage, container[0])
    shell.type("A=alive; echo ready-$A\n")
    shell.until("ready-alive")
    stage.web.kill()
    stage.web.start()
    with Shell(stage, container[0], session=shell.session, **{"from": shell.end}) as again:
        again.type("echo still-$A\n")
        again.until("still-alive")


def test_the_end_of_a_shell_that_was_left_is_written_down(stage: Stage, container: tuple[int, str]) -> None:
    """The agent ends it after ten minutes, when no web process looks; a task does, afterwards."""
    with Shell(stage, container[0]) as shell:
        shell.until("# ")
    eventually(lambda: details(stage)[-1].startswith("left;"), what="the leaving is written down")
    (held,) = running(stage, container[1])
    settle = (
        "from containers.tasks import settle_terminal as t\n"
        "from controlplane.operations.models import AuditEntry as A\n"
        f"print(t.apply((A.objects.latest('pk').pk, 1, {held['id']!r})).state)"
    )
    assert stage.django(settle) != "SUCCESS", "it still runs: asked again later"
    unixhttp.request(stage.agent.agent, "DELETE", f"/gantry/terminals/{held['id']}")
    assert stage.django(settle) == "SUCCESS"
    assert details(stage)[-1].startswith("ended: nobody came back")


def test_a_second_tab_takes_over(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0]) as first:
        first.until("# ")
        with Shell(stage, container[0], session=first.session, **{"from": 0}) as second:
            assert first.until_closed() == 4409
            second.type("echo mi''ne\n")
            second.until("mine")


def test_somebody_elses_session_leads_nowhere(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0]) as mine:
        mine.type("echo sec''ret\n")
        mine.until("secret")
        with Shell(stage, container[0], user="other", session=mine.session, **{"from": 0}) as theirs:
            assert theirs.until_closed() == 4404
            assert theirs.output == b""
        mine.type("echo un''touched\n")
        mine.until("untouched")


def test_a_session_is_bound_to_its_container(
    stage: Stage, container: tuple[int, str], docker_engine: EngineProcess, busybox_image: str
) -> None:
    other = docker_engine.run(busybox_image, "top", name=unique("term"))
    pk = stage.add_container(other, unique("term"))
    with Shell(stage, container[0]) as mine:
        mine.until("# ")
        with Shell(stage, pk, session=mine.session, **{"from": 0}) as elsewhere:
            assert elsewhere.until_closed() == 4404


def test_who_may_not(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], user="viewer") as shell:
        assert shell.until_closed() == 4403
    with Shell(stage, container[0], user="") as shell:
        assert shell.until_closed() == 4401
    with Shell(stage, 987654) as shell:
        assert shell.until_closed() == 4404


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_another_site_cannot_open_one(stage: Stage, container: tuple[int, str], origin: str) -> None:
    with pytest.raises(Exception, match="403"):
        Shell(stage, container[0], origin=origin)


@pytest.mark.parametrize(
    "query",
    [{"session": "../x"}, {"columns": 0}, {"rows": 1001}, {"columns": "x"}, {"from": "-x"}],
    ids=lambda query: next(iter(query)),
)
def test_a_malformed_request_is_closed(stage: Stage, container: tuple[int, str], query: dict[str, Any]) -> None:
    with Shell(stage, container[0], **query) as shell:
        assert shell.until_closed() == 4400


def test_a_command_that_cannot_be_read_is_refused(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], command="echo 'open") as shell:
        assert shell.until_closed() == 4422
        assert "quotation" in shell.told[-1]["message"] + shell.told[-1]["hint"]


def test_a_missing_command_is_refused_in_plain_words(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], command="/no/such/thing") as shell:
        assert shell.until_closed() == 4422
        assert "no such file" in shell.told[-1]["message"]


def test_it_says_that_the_container_stopped(
    stage: Stage, container: tuple[int, str], docker_engine: EngineProcess
) -> None:
    with Shell(stage, container[0]) as shell:
        shell.until("# ")
        docker_engine.request("POST", f"/containers/{container[1]}/stop", t="0")
        assert shell.until_told("exit")["reason"] == "container stopped"
    with Shell(stage, container[0]) as shell:
        assert shell.until_closed() == 4422
        assert "not running" in shell.told[-1]["message"]


def test_a_lost_host_is_named_and_its_shell_waits(stage: Stage, container: tuple[int, str]) -> None:
    """The gateway dies, not the agent: the shell is still there afterwards."""
    shell = Shell(stage, container[0])
    shell.type("A=here; echo ready-$A\n")
    shell.until("ready-here")
    stage.gateway.kill()
    try:
        assert shell.until_closed() == 4503
    finally:
        stage.gateway.start()  # the tests that follow share it
    assert shell.told[-1]["type"] == "away"
    assert "host-1" in shell.told[-1]["message"]
    assert shell.told[-1]["since"]

    def rejoined() -> bool:
        with Shell(stage, container[0], session=shell.session, **{"from": shell.end}) as again:
            try:
                again.until_told("ready")
            except TimeoutError:
                return False
            except AssertionError:
                assert again.code == 4503
                return False
            again.type("echo back-$A\n")
            again.until("back-here")
            return True

    eventually(rejoined, timeout=40)


def test_signing_out_ends_the_shell_on_its_host(stage: Stage, container: tuple[int, str]) -> None:
    stage.cookies["leaver"] = stage.fresh_cookie("admin")
    with Shell(stage, container[0], user="leaver") as shell:
        shell.until("# ")
        stage.django(
            f"from django.contrib.sessions.models import Session; "
            f"Session.objects.get(pk={stage.cookies['leaver']!r}).delete()"
        )
        assert shell.until_closed() == 4401
    eventually(lambda: not running(stage, container[1]), what="the shell is gone from its host")
    eventually(lambda: details(stage)[-1].startswith("ended: the right to it ended"), what="and that is written down")


def test_a_revoked_right_ends_the_shell_within_ten_seconds(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0], user="other") as shell:
        shell.until("# ")
        revoke = (
            "from controlplane.access.models import User; User.objects.filter(username='other').update(standing={!r})"
        )
        stage.django(revoke.format("viewer"))
        started = time.monotonic()
        try:
            assert shell.until_closed() == 4403
            assert time.monotonic() - started < 10
        finally:
            stage.django(revoke.format("administrator"))
    eventually(lambda: not running(stage, container[1]), what="the shell is gone from its host")


def test_a_browser_that_reads_nothing_keeps_no_shell(stage: Stage, container: tuple[int, str]) -> None:
    """It claims to have shown everything, so that not even a close can be written to it: the shell ends anyway."""
    with Shell(stage, container[0], user="other") as shell:
        shell.until("# ")
        shell.type("yes flooding\n")
        for _ in range(150):  # until every buffer between is full
            shell.say("ack", bytes=MEGABYTE)
            time.sleep(0.02)
        assert running(stage, container[1])
        change = (
            "from controlplane.access.models import User; User.objects.filter(username='other').update(standing={!r})"
        )
        stage.django(change.format("viewer"))
        try:
            eventually(lambda: not running(stage, container[1]), timeout=10, what="the shell is gone from its host")
        finally:
            stage.django(change.format("administrator"))
    eventually(lambda: details(stage)[-1].startswith("ended: the right to it ended"), what="and that is written down")


def running(stage: Stage, engine_id: str) -> list[dict[str, Any]]:
    return [held for held in stage.terminals() if held["container"] == engine_id and not held["ended"]]


def test_a_paste_of_a_megabyte_arrives_whole(stage: Stage, container: tuple[int, str]) -> None:
    lines = b"".join(b"%07d %s\n" % (number, b"x" * 56) for number in range(MEGABYTE // 65))
    with Shell(stage, container[0]) as shell:
        shell.type("stty -echo; echo rea''dy; cat > /tmp/pasted; wc -c /tmp/pasted; md5sum /tmp/pasted\n")
        shell.until("ready")
        paste(shell, lines + b"\x04")
        shell.until(hashlib.md5(lines).hexdigest(), timeout=60)
        assert str(len(lines)).encode() in shell.output


def test_a_paste_that_is_echoed_does_not_lock_up(stage: Stage, container: tuple[int, str]) -> None:
    """Output fills its window while keys wait: credit must pass beside both."""
    lines = b"".join(b"%07d %s\n" % (number, b"y" * 56) for number in range(MEGABYTE // 65))
    with Shell(stage, container[0]) as shell:
        shell.type("echo rea''dy; cat > /dev/null; echo fin''ished\n")
        shell.until("ready")
        paste(shell, lines + b"\x04")
        shell.until("finished", timeout=60)


def paste(shell: Shell, data: bytes) -> None:
    """As the page does: 16 KiB pieces, at most 64 KiB ahead of "took"."""
    sent = 0
    while sent < len(data):
        taken = sum(message["bytes"] for message in shell.told if message["type"] == "took")
        if sent - taken + 16384 <= 65536:
            shell.type(data[sent : sent + 16384])
            sent += 16384
        else:
            assert shell.read()


def test_keys_beyond_the_window_are_not_piled_up(stage: Stage, container: tuple[int, str]) -> None:
    """A page of ours never sends so much ahead; somebody else's client is cut off."""
    with Shell(stage, container[0], command="sh -c 'stty raw -echo; echo ready; sleep 1000'") as shell:
        shell.until("ready")
        with suppress(ConnectionClosed):
            for _ in range(200):
                shell.type(b"z" * 65536)
        assert shell.until_closed() == 4429


def test_a_flood_waits_for_the_browser_and_stops_at_once(stage: Stage, container: tuple[int, str]) -> None:
    with Shell(stage, container[0]) as shell:
        shell.until("# ")
        before = stage.web.memory
        shell.acknowledges = False
        shell.type("yes flooding\n")
        received = 0
        while received <= 400 * 1024:
            received += len(shell.socket.recv(20.0))
        with suppress(TimeoutError):
            while True:  # until nothing comes any more
                received += len(shell.socket.recv(1.0))
        assert received < 700 * 1024, "the window, not the flood"
        shell.output.clear()
        shell.type(b"\x03")
        eventually(lambda: "yes" not in stage.engine.cli("top", container[1]), what="it is interrupted")
        shell.acknowledges = True
        shell.say("ack", bytes=received)
        shell.type("echo sto''pped\n")
        shell.until("\r\nstopped")
        # What was under way when it was interrupted lay in the kernel's buffers, which it makes as large as it likes.
        buffers = [Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[-1] for name in ("tcp_rmem", "tcp_wmem")]
        assert len(shell.output) < sum(map(int, buffers)) + 2 * MEGABYTE
        assert stage.web.memory - before < 40 * MEGABYTE
