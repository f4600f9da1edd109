"""The life of containers on the native engine: states, exit codes, signals, restarts, what is left behind."""

import contextlib
import json
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import cgroups
from tests.support.engines import Native, unique
from tests.support.images import busybox
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(Native.why_not()), reason=Native.why_not() or "-")]
IMAGE = "gantry/busybox:1"
NONE = {"NetworkMode": "none"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    with Native() as native:
        native.load(busybox().archive(IMAGE))
        yield native


def run(engine: Native, *command: str, host: dict[str, Any] | None = None, **body: Any) -> str:
    """Start a container without a network."""
    return engine.run(IMAGE, *command, HostConfig={**NONE, **(host or {})}, **body)


def state(engine: Native, container: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.expect("GET", f"/containers/{container}/json")["State"]
    return found


def wait(engine: Native, container: str) -> int:
    return int(engine.expect("POST", f"/containers/{container}/wait")["StatusCode"])


def output(engine: Native, container: str) -> str:
    """What it wrote, from the file conmon keeps."""
    log = Path(engine.expect("GET", f"/containers/{container}/json")["LogPath"])
    return "".join(line.split(" ", 3)[3] + "\n" for line in log.read_text().splitlines())


def actions(engine: Native, container: str, since: float) -> list[str]:
    """The container's events from `since` to now."""
    filters = json.dumps({"container": [container]})
    text = engine.expect("GET", "/events", since=f"{since:.9f}", until=f"{time.time():.9f}", filters=filters)
    lines = text.splitlines() if isinstance(text, str) else [json.dumps(text)]
    return [json.loads(line)["Action"] for line in lines if line]


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_that_of_the_process(engine: Native, code: int) -> None:
    container = run(engine, "sh", "-c", f"exit {code}")
    assert wait(engine, container) == code
    found = state(engine, container)
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", code, 0)
    assert found["StartedAt"] < found["FinishedAt"]


def test_a_process_killed_by_a_signal_ends_with_128_and_its_number(engine: Native) -> None:
    container = run(engine, "sleep", "1000")
    engine.expect("POST", f"/containers/{container}/kill")
    assert wait(engine, container) == 137
    assert not state(engine, container)["OOMKilled"]


def test_out_of_memory_is_told_apart_from_a_kill(engine: Native) -> None:
    limits = {"Memory": 8 << 20, "MemorySwap": 8 << 20}
    container = run(engine, "sh", "-c", "x=a; while true; do x=$x$x; done", host=limits)
    assert wait(engine, container) in (137, 2)
    assert state(engine, container)["OOMKilled"]


@pytest.mark.parametrize(
    ("command", "code", "status", "says"),
    [
        (["nosuchprogram"], 127, 400, "executable file not found in $PATH"),
        (["/nosuch/program"], 127, 400, "executable file not found in $PATH"),
        (["/etc"], 126, 400, "permission denied"),
    ],
)
def test_a_command_that_cannot_run_gives_126_or_127(
    engine: Native, command: list[str], code: int, status: int, says: str
) -> None:
    made = engine.expect("POST", "/containers/create", {"Image": IMAGE, "Cmd": command, "HostConfig": NONE})
    answer = engine.request("POST", f"/containers/{made['Id']}/start")
    assert answer[0] == status
    assert says in answer[1]["message"]
    found = state(engine, made["Id"])
    assert (found["ExitCode"], found["Status"]) == (code, "created")
    assert says in found["Error"]


def test_stop_asks_first_and_kills_after_the_time(engine: Native) -> None:
    polite = run(engine, "sh", "-c", "trap 'exit 9' TERM; echo set; while true; do sleep 0.05; done")
    deaf = run(engine, "sh", "-c", "trap '' TERM; echo set; while true; do sleep 0.05; done")
    for container in (polite, deaf):
        eventually(lambda container=container: output(engine, container) == "set\n", what="the trap is set")
    engine.expect("POST", f"/containers/{polite}/stop", t=10)
    assert state(engine, polite)["ExitCode"] == 9
    engine.expect("POST", f"/containers/{deaf}/stop", t=1)
    assert state(engine, deaf)["ExitCode"] == 137
    assert engine.request("POST", f"/containers/{deaf}/stop")[0] == 304


def test_the_images_stop_signal_and_the_one_given_are_used(engine: Native) -> None:
    script = "trap 'exit 41' USR1; trap 'exit 42' USR2; echo set; while true; do sleep 0.05; done"
    for query, code in (({}, 41), ({"signal": "SIGUSR2"}, 42)):
        container = run(engine, "sh", "-c", script, StopSignal="SIGUSR1")
        eventually(lambda container=container: output(engine, container) == "set\n", what="the traps are set")
        engine.expect("POST", f"/containers/{container}/stop", t=10, **query)
        assert state(engine, container)["ExitCode"] == code


def top(engine: Native, container: str) -> list[list[str]]:
    found: list[list[str]] = engine.expect("GET", f"/containers/{container}/top")["Processes"]
    return found


def test_starting_twice_changes_nothing(engine: Native) -> None:
    container = run(engine, "sleep", "1000")
    pid = state(engine, container)["Pid"]
    assert engine.request("POST", f"/containers/{container}/start")[0] == 304
    assert state(engine, container)["Pid"] == pid


def test_a_stopped_container_starts_again_with_its_files(engine: Native) -> None:
    container = run(engine, "sh", "-c", "echo once >> /kept; cat /kept | wc -l")
    wait(engine, container)
    engine.expect("POST", f"/containers/{container}/start")
    eventually(lambda: output(engine, container) == "1\n2\n")


def at_rest(engine: Native, container: str) -> str:
    """What it wrote, "" while it writes on: ten times as long as it needs for a line, nothing comes."""
    before = output(engine, container)
    time.sleep(0.2)
    return before if output(engine, container) == before else ""


def test_pause_freezes_and_unpause_goes_on(engine: Native) -> None:
    container = run(engine, "sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done")
    eventually(lambda: output(engine, container))
    engine.expect("POST", f"/containers/{container}/pause")
    assert state(engine, container)["Paused"]
    assert engine.request("POST", f"/containers/{container}/pause")[0] == 409
    assert engine.request("POST", f"/containers/{container}/start")[0] == 409
    seen = eventually(lambda: at_rest(engine, container), what="what was written before is logged")
    processes = [Path(f"/proc/{row[1]}/stat").read_text() for row in top(engine, container)]
    assert len(processes) >= 1
    assert at_rest(engine, container) == seen
    engine.expect("POST", f"/containers/{container}/unpause")
    eventually(lambda: output(engine, container) != seen)
    assert engine.request("POST", f"/containers/{container}/unpause")[0] == 409
    engine.expect("POST", f"/containers/{container}/pause")
    engine.expect("POST", f"/containers/{container}/kill")
    assert wait(engine, container) == 137


def test_the_events_are_dockers_and_in_order(engine: Native) -> None:
    began = time.time()
    container = run(engine, "sleep", "1000")
    engine.expect("POST", f"/containers/{container}/restart", t=0)
    engine.expect("POST", f"/containers/{container}/rename", name="otherwise")
    engine.expect("DELETE", f"/containers/{container}", force="true")
    expected = [
        "create",
        "start",
        "kill",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "rename",
        "kill",
        "die",
        "destroy",
    ]
    assert [each for each in actions(engine, container, began) if each != "disconnect"] == expected


def test_on_failure_tries_as_often_as_it_may(engine: Native) -> None:
    began = time.time()
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
    container = run(engine, "sh", "-c", "exit 5", host=policy)
    eventually(lambda: state(engine, container)["Status"] == "exited")
    found = engine.expect("GET", f"/containers/{container}/json")
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (2, 5)
    eventually(lambda: actions(engine, container, began).count("die") == 3)


def test_always_restarts_until_somebody_stops_it(engine: Native) -> None:
    container = run(engine, "sh", "-c", "exit 0", host={"RestartPolicy": {"Name": "always"}})
    eventually(lambda: engine.expect("GET", f"/containers/{container}/json")["RestartCount"] >= 2)
    engine.expect("POST", f"/containers/{container}/stop")
    assert state(engine, container)["Status"] == "exited"


@pytest.mark.parametrize(
    ("policy", "tries"),
    [({"Name": "always"}, 4), ({"Name": "on-failure", "MaximumRetryCount": 2}, 2)],
    ids=["always", "on-failure"],
)
def test_a_restart_that_fails_is_followed_by_the_next(
    engine: Native, tmp_path: Path, policy: dict[str, Any], tries: int
) -> None:
    """Its configuration cannot be written, as on a full disk."""
    host = {"RestartPolicy": policy, "Binds": [f"{tmp_path}:/go"]}
    container = run(engine, "sh", "-c", "while [ ! -e /go/now ]; do usleep 20000; done; exit 5", host=host)
    config = engine.root / "containers" / container / "bundle" / "config.json"
    config.unlink()
    config.mkdir()
    ended: list[int] = []
    waiter = threading.Thread(target=lambda: ended.append(wait(engine, container)))
    waiter.start()
    (tmp_path / "now").touch()
    eventually(lambda: engine.expect("GET", f"/containers/{container}/json")["RestartCount"] >= tries)
    if policy["Name"] == "always":
        (tmp_path / "now").unlink()
        config.rmdir()
        eventually(lambda: state(engine, container)["Status"] == "running", what="it runs once it can")
        engine.expect("POST", f"/containers/{container}/stop", t=0)
    waiter.join(30)
    assert not waiter.is_alive(), "who waits is told"
    assert ended == [137 if policy["Name"] == "always" else 128]
    assert state(engine, container)["Status"] == "exited"


def test_a_removal_that_failed_may_be_asked_for_again(engine: Native) -> None:
    container = run(engine, "true")
    wait(engine, container)
    with unusable(engine.root / "tmp"):
        assert engine.request("DELETE", f"/containers/{container}")[0] == 500
        assert state(engine, container)["Dead"]
        assert engine.request("POST", f"/containers/{container}/start")[0] == 409
        assert engine.request("DELETE", f"/containers/{container}")[0] == 500
    engine.expect("DELETE", f"/containers/{container}")
    assert engine.request("GET", f"/containers/{container}/json")[0] == 404
    assert not (engine.root / "containers" / container).exists()


@contextlib.contextmanager
def unusable(folder: Path) -> Iterator[None]:
    """Inside, there is a file in its place."""
    kept = folder.rename(folder.with_name("kept"))
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        kept.rename(folder)


def test_auto_remove_leaves_nothing(engine: Native) -> None:
    container = run(engine, "true", host={"AutoRemove": True})
    eventually(lambda: engine.request("GET", f"/containers/{container}/json")[0] == 404)
    eventually(lambda: not (engine.root / "containers" / container).exists())


def test_removal_is_refused_while_it_runs(engine: Native) -> None:
    container = run(engine, "sleep", "1000")
    status, answer = engine.request("DELETE", f"/containers/{container}")
    assert status == 409
    assert "container is running" in answer["message"]
    engine.expect("DELETE", f"/containers/{container}", force="true")
    assert engine.request("DELETE", f"/containers/{container}")[0] == 404


def test_nothing_is_left_of_a_removed_container(engine: Native) -> None:
    container = run(engine, "sleep", "1000", host={"IpcMode": "shareable"})
    assert cgroups.groups_of(container)
    engine.expect("DELETE", f"/containers/{container}", force="true", v="true")
    assert cgroups.groups_of(container) == []
    assert container not in Path("/proc/self/mountinfo").read_text()
    assert not (engine.root / "containers" / container).exists()
    assert list(engine.run_folder.glob(f"*/{container}")) == []
    eventually(lambda: not processes_of(container), what="its monitor ends")


def processes_of(container: str) -> list[Path]:
    return [each for each in Path("/proc").glob("[0-9]*/cmdline") if container.encode() in read(each)]


def read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def test_waiters_are_told_each_in_their_way(engine: Native) -> None:
    made = engine.expect(
        "POST", "/containers/create", {"Image": IMAGE, "Cmd": ["sh", "-c", "exit 4"], "HostConfig": NONE}
    )
    container = made["Id"]
    waits = {each: UnixConnection(engine.socket, 20) for each in ("next-exit", "removed")}
    for condition, connection in waits.items():
        connection.request("POST", f"/containers/{container}/wait?condition={condition}")
    answers = {each: connection.getresponse() for each, connection in waits.items()}  # the head: it waits
    assert wait(engine, container) == 0  # it does not run, so nothing is waited for
    engine.expect("POST", f"/containers/{container}/start")
    assert json.loads(answers["next-exit"].read())["StatusCode"] == 4
    assert not select.select([waits["removed"].sock], [], [], 0)[0], "the other is not told yet"
    engine.expect("DELETE", f"/containers/{container}")
    assert json.loads(answers["removed"].read())["StatusCode"] == 4
    assert engine.request("POST", f"/containers/{container}/wait", condition="never")[0] in (400, 404)
    for connection in waits.values():
        connection.close()


def test_names_are_unique_and_may_change(engine: Native) -> None:
    first = engine.run(IMAGE, "sleep", "1000", name="first", HostConfig=NONE)
    status, answer = engine.request("POST", "/containers/create", {"Image": IMAGE, "HostConfig": NONE}, name="first")
    assert status == 409
    assert f'The container name "/first" is already in use by container "{first}"' in answer["message"]
    engine.expect("POST", "/containers/first/rename", name="second")
    assert engine.expect("GET", "/containers/second/json")["Id"] == first
    assert engine.request("GET", "/containers/first/json")[0] == 404
    assert engine.request("POST", "/containers/second/rename", name="no/slash")[0] == 400
    assert engine.expect("GET", f"/containers/{first[:10]}/json")["Id"] == first


def test_it_says_which_control_groups_it_limits_by(engine: Native, record_property: Callable[..., None]) -> None:
    """The rest of these tests passes with either version: this one says which it was."""
    container = run(engine, "sleep", "1000", host={"PidsLimit": 50})
    told = engine.expect("GET", "/info")["CgroupVersion"]
    record_property("cgroup version", told)
    assert told == str(cgroups.version())
    pid = engine.expect("GET", f"/containers/{container}/json")["State"]["Pid"]
    groups = [line.split(":") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    (its,) = [path for _, names, path in groups if names == ("" if told == "2" else "pids")]
    assert its == f"/gantry/{container}"
    assert cgroups.setting(container, "pids", "pids.max") == "50"


def test_limits_change_while_it_runs(engine: Native) -> None:
    container = run(engine, "sleep", "1000", host={"Memory": 64 << 20})
    engine.expect(
        "POST", f"/containers/{container}/update", {"Memory": 32 << 20, "MemorySwap": 64 << 20, "CpuShares": 77}
    )
    found = engine.expect("GET", f"/containers/{container}/json")["HostConfig"]
    assert (found["Memory"], found["CpuShares"]) == (32 << 20, 77)
    assert cgroups.setting(container, "memory", "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    status, answer = engine.request("POST", f"/containers/{container}/update", {"Memory": 1})
    assert (status, answer["message"]) == (400, "Minimum memory limit allowed is 6MB")


def test_prune_takes_what_does_not_run_and_fits(engine: Native) -> None:
    one = engine.run(IMAGE, "true", HostConfig=NONE, Labels={"sweep": "yes"})
    other = engine.run(IMAGE, "sleep", "1000", HostConfig=NONE, Labels={"sweep": "yes"})
    wait(engine, one)
    answer = engine.expect("POST", "/containers/prune", filters=json.dumps({"label": ["sweep=yes"]}))
    assert answer["ContainersDeleted"] == [one]
    assert state(engine, other)["Running"]


def test_lists_are_filtered_as_docker_does(engine: Native) -> None:
    engine.remove_containers()
    running = engine.run(IMAGE, "sleep", "1000", name="lister-one", HostConfig=NONE, Labels={"tier": "web"})
    ended = engine.run(IMAGE, "sh", "-c", "exit 6", name="lister-two", HostConfig=NONE, Labels={"tier": "db"})
    wait(engine, ended)

    def listed(**filters: list[str]) -> list[str]:
        query = {"filters": json.dumps({name.replace("_", "-"): value for name, value in filters.items()})}
        return [each["Id"] for each in engine.expect("GET", "/containers/json", all="true", **query)]

    assert [each["Id"] for each in engine.expect("GET", "/containers/json")] == [running]
    assert [each["Id"] for each in engine.expect("GET", "/containers/json", limit=1)] == [ended]
    assert listed() == [ended, running]
    assert listed(status=["exited"]) == [ended]
    assert listed(exited=["6"]) == [ended]
    assert listed(label=["tier=web"]) == [running]
    assert listed(name=["lister"]) == [ended, running]
    assert listed(name=["^/lister-two$"]) == [ended]
    assert listed(id=[running[:8]]) == [running]
    assert listed(since=["lister-one"]) == [ended]
    assert listed(before=["lister-two"]) == [running]
    assert listed(ancestor=[IMAGE]) == [ended, running]
    assert listed(ancestor=["nothing:1"]) == []
    assert listed(network=["none"]) == [ended, running]
    assert engine.request("GET", "/containers/json", filters=json.dumps({"status": ["odd"]}))[0] == 400
    assert engine.request("GET", "/containers/json", filters=json.dumps({"since": ["nobody"]}))[0] == 404
    summary = engine.expect("GET", "/containers/json", all="true", size="true")[0]
    assert summary["Status"].startswith("Exited (6)")
    assert summary["SizeRootFs"] > 0


def test_a_killed_monitor_ends_its_container(engine: Native) -> None:
    container = run(engine, "sleep", "1000")
    pid = state(engine, container)["Pid"]
    os.kill(int((engine.root / "containers" / container / "bundle" / "conmon.pid").read_text()), 9)
    eventually(lambda: state(engine, container)["Status"] == "exited")
    found = state(engine, container)
    assert (found["ExitCode"], "conmon" in found["Error"]) == (255, True)
    stat = read(Path(f"/proc/{pid}/stat"))
    assert not stat or b") Z" in stat, "still running"


# What happens at the same moment


def test_a_stop_ends_a_container_that_dies_and_comes_back_over_and_over(engine: Native) -> None:
    """Wherever in its circle it is met: running, dying, waiting, beginning."""
    for number in range(12):
        name = unique("loop")
        engine.cli("run", "-d", "--name", name, "--network=none", "--restart=always", IMAGE, "true")
        eventually(lambda name=name: engine.expect("GET", f"/containers/{name}/json")["RestartCount"] > 0)
        verb = ("stop", "kill")[number % 2]
        engine.cli(verb, name, check=verb == "stop")
        if verb == "stop":
            assert engine.expect("GET", f"/containers/{name}/json")["State"]["Status"] == "exited"
        engine.cli("rm", "-f", name)


def test_a_forced_removal_during_a_start_removes(engine: Native) -> None:
    for _ in range(6):
        name = unique("rm")
        engine.cli("create", "--name", name, "--network=none", IMAGE, "sleep", "1000")
        starting = threading.Thread(target=lambda name=name: engine.request("POST", f"/containers/{name}/start"))
        starting.start()
        status, answer = engine.request("DELETE", f"/containers/{name}", force="true")
        starting.join()
        assert status == 204, answer
        assert engine.request("GET", f"/containers/{name}/json")[0] == 404


def test_what_never_ran_has_no_changes_and_can_be_committed(engine: Native) -> None:
    name = unique("never")
    engine.cli("create", "--name", name, IMAGE, "true")
    assert engine.cli("diff", name) == ""
    engine.cli("commit", name, f"{name}:1")
    engine.cli("rm", name)
    engine.cli("rmi", f"{name}:1")


@pytest.mark.parametrize("lifted", [0, -1])
def test_a_limit_on_processes_is_lifted_and_kept_by_null(engine: Native, lifted: int) -> None:
    container = run(engine, "sleep", "1000", host={"PidsLimit": 7})
    update = f"/containers/{container}/update"
    engine.expect("POST", update, {"PidsLimit": None, "CpuShares": 77})
    assert cgroups.setting(container, "pids", "pids.max") == "7"
    engine.expect("POST", update, {"PidsLimit": lifted})
    assert cgroups.setting(container, "pids", "pids.max") == "max"
    assert engine.expect("GET", f"/containers/{container}/json")["HostConfig"]["PidsLimit"] == lifted


def test_no_limit_on_processes_is_none(engine: Native) -> None:
    name = unique("pids")
    engine.cli("run", "-d", "--name", name, "--network=none", "--pids-limit", "-1", IMAGE, "sleep", "1000")
    engine.cli("update", "--pids-limit", "7", name)
    engine.cli("update", "--pids-limit", "-1", name)
    assert cgroups.setting(engine.expect("GET", f"/containers/{name}/json")["Id"], "pids", "pids.max") == "max"
    engine.cli("rm", "-f", name)
