"""Rules without a process: seccomp profiles, capabilities, environments, limits, pauses, words."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from gantry_agent.engine.containers import names, restarts, views
from gantry_agent.engine.containers.model import Container, State, Status
from gantry_agent.engine.containers.settings import config_of, host_config_of
from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime import processes, seccomp
from gantry_agent.engine.runtime.rootfs import MAX_FILE, lines_inside
from gantry_agent.engine.runtime.spec import Surroundings, build, capabilities, resources, user
from gantry_agent.engine.runtime.spec.process import environment, working_folder

SECOND = 10**9


def container(body: dict[str, object] | None = None, image: dict[str, object] | None = None) -> Container:
    given = {"Cmd": ["true"], **(body or {})}
    config, (host, _) = config_of(given, image or {}), host_config_of(given)
    return Container("c" * 64, "name", "sha256:1", "image", 0, config, host, "true")


def test_a_profile_applies_by_capability_and_architecture() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["umount"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390_runtime_instr"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["nothing"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "2.6"}},
            {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        ],
    }

    def allowed(*given: str) -> list[str]:
        found = seccomp.to_oci(json.dumps(profile), frozenset(given))
        assert found["defaultErrnoRet"] == 38
        return [name for rule in found["syscalls"] for name in rule["names"]]

    assert allowed() == ["read", "umount", "ptrace"]
    assert allowed("CAP_SYS_ADMIN") == ["read", "mount", "ptrace"]


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"defaultAction": "A", "syscalls": [1]}'])
def test_a_profile_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="seccomp profile"):
        seccomp.to_oci(text, frozenset())


def test_a_filter_is_kept_by_what_it_depends_on(tmp_path: Path) -> None:
    filters = seccomp.Filters(tmp_path / "kept", "crun 1")
    first, second = {"defaultAction": "A"}, {"defaultAction": "B"}
    assert filters.key(first) != filters.key(second)
    assert filters.key(first) != seccomp.Filters(tmp_path, "crun 2").key(first)
    filters.keep(filters.key(first), tmp_path)
    assert filters.get(filters.key(first)) is None  # the runtime left none
    (tmp_path / "seccomp.bpf").write_bytes(b"12345678")
    filters.keep(filters.key(first), tmp_path)
    assert seccomp.Filters(tmp_path / "kept", "crun 1").get(filters.key(first)) == "MTIzNDU2Nzg="


def test_capabilities_are_added_and_dropped_as_docker_does() -> None:
    everything = list(capabilities.known())
    default = capabilities.chosen((), (), privileged=False)
    assert capabilities.chosen(["ALL"], (), privileged=False) == everything
    assert capabilities.chosen(["ALL"], ["chown"], privileged=False) == [x for x in everything if x != "CAP_CHOWN"]
    assert capabilities.chosen(["chown"], ["ALL"], privileged=False) == ["CAP_CHOWN"]
    assert "CAP_SYS_ADMIN" not in default
    assert capabilities.chosen((), ["CAP_KILL"], privileged=False) == [x for x in default if x != "CAP_KILL"]


def test_the_environment_has_what_programs_expect() -> None:
    given = ["A=1", "A=2", "PATH=/x", "B="]
    found = environment(container({"Hostname": "h"}), given, "/home/me", tty=True)
    assert found == ["PATH=/x", "HOSTNAME=h", "TERM=xterm", "A=2", "B=", "HOME=/home/me"]


def test_the_image_gives_what_was_not_asked_for() -> None:
    image = {
        "Env": ["A=image", "B=image"],
        "Cmd": ["image"],
        "Entrypoint": ["/image"],
        "Labels": {"x": "image", "y": "image"},
        "WorkingDir": "app",
        "User": "web",
        "Volumes": {"/data": {}},
        "StopSignal": "SIGQUIT",
    }
    found = config_of({"Env": ["A=own"], "Labels": {"x": "own"}}, image)
    assert found["Env"] == ["A=own", "B=image"]
    assert found["Labels"] == {"x": "own", "y": "image"}
    assert (found["Cmd"], found["Entrypoint"], found["WorkingDir"]) == (["image"], ["/image"], "/app")
    assert (found["User"], found["StopSignal"], found["Volumes"]) == ("web", "SIGQUIT", {"/data": {}})
    assert config_of({"Cmd": ["own"]}, image)["Entrypoint"] == ["/image"]
    found = config_of({"Entrypoint": ["/own"]}, image)
    assert (found["Entrypoint"], found["Cmd"]) == (["/own"], None)
    assert config_of({"Entrypoint": [""], "Cmd": ["own"]}, image)["Entrypoint"] is None


@pytest.mark.parametrize(
    ("given", "clean"),
    [("/a/../b//c/", "/b/c"), ("//x", "/x"), ("/", "/"), ("/proc", "/proc"), ("/proc/self", "/proc/self")],
)
def test_folders_are_cleaned(given: str, clean: str) -> None:
    assert working_folder(given) == clean


def test_limits_become_the_runtimes() -> None:
    host, _ = host_config_of({"HostConfig": {"Memory": 64 << 20, "NanoCpus": 500_000_000, "PidsLimit": 9}})
    found = resources.resources(host)
    assert found["memory"]["limit"] == 64 << 20
    assert found["memory"].get("swap", 128 << 20) == 128 << 20
    assert (found["cpu"]["quota"], found["cpu"]["period"]) == (50_000, 100_000)
    assert found["pids"] == {"limit": 9}
    assert resources.resources({"PidsLimit": -1}) == {}


def test_the_documents_own_namespaces_follow_the_modes(tmp_path: Path) -> None:
    host = {"PidMode": "host", "IpcMode": "host", "UTSMode": "host", "NetworkMode": "host"}
    found = build(container({"HostConfig": host}), Surroundings(tmp_path))["linux"]["namespaces"]
    assert {each["type"] for each in found} <= {"mount", "cgroup"}
    found = build(container(), Surroundings(tmp_path, netns=tmp_path / "ns"))["linux"]["namespaces"]
    assert {each["type"] for each in found} >= {"mount", "network", "ipc", "pid", "uts"}


def test_reading_inside_a_root_never_leads_out(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    (root / "etc").mkdir(parents=True)
    secret.write_text("host")
    (root / "secret").write_text("container")
    for name, target in (("absolute", "/secret"), ("upwards", "../../../../../secret"), ("full", str(secret))):
        (root / "etc" / name).symlink_to(target)
    assert list(lines_inside(root, "/etc/absolute")) == ["container"]
    assert list(lines_inside(root, "/etc/upwards")) == ["container"]
    assert list(lines_inside(root, "/etc/full")) == []
    assert list(lines_inside(root, "../secret")) == ["container"]
    assert list(lines_inside(root, "/etc")) == []


def test_who_a_process_runs_as_is_found_as_docker_does(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        f"# comment\n\nbroken\n{'9' * 5000}:x:{'9' * 5000}:1:::\nroot:x:0:0::/root:\n"
        "one:x:1001:1001::/home/one:\n1001:x:7:8::/seven:\n"
    )
    (tmp_path / "etc/group").write_text("a:x:20:one,two\nb:x:21:two\nc:x:22:one\na:x:30:one\n")
    assert user.resolve(tmp_path, "") == user.User(0, 0, [], "/root")
    assert user.resolve(tmp_path, "one") == user.User(1001, 1001, [20, 22, 30], "/home/one")
    assert user.resolve(tmp_path, "1001") == user.User(7, 8, [], "/seven")
    assert user.resolve(tmp_path, "one:b", ["a", "99"]) == user.User(1001, 21, [20, 99], "/home/one")
    assert user.resolve(tmp_path, "12:13") == user.User(12, 13, [], "/")
    for wanted in ("nobody", "one:nobody", "9" * 5000, "0:4294967296"):
        with pytest.raises(InvalidArgument):
            user.resolve(tmp_path, wanted)


def test_an_images_huge_lists_of_users_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    row = "u:x:5:5:::\n"
    (tmp_path / "etc/passwd").write_text(row * (9 * MAX_FILE // len(row)) + "last:x:6:6:::\n")
    (tmp_path / "etc/group").write_text("x" * 9 * MAX_FILE)
    tracemalloc.start()
    try:
        assert user.resolve(tmp_path, "5").uid == 5
        with pytest.raises(InvalidArgument):
            user.resolve(tmp_path, "last")
        assert tracemalloc.get_traced_memory()[1] < 6 * MAX_FILE
    finally:
        tracemalloc.stop()


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run() -> None:
    pauses, last = [], 0.0
    for _ in range(12):
        last = restarts.pause(last, ran=1)
        pauses.append(last)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 60.0
    assert restarts.pause(60.0, ran=10.5) == 0.1


@pytest.mark.parametrize(
    ("policy", "code", "by_hand", "wanted"),
    [
        ("no", 1, False, False),
        ("always", 0, False, True),
        ("always", 0, True, False),
        ("unless-stopped", 0, False, True),
        ("on-failure", 0, False, False),
        ("on-failure", 1, False, True),
    ],
)
def test_who_is_started_again(policy: str, code: int, by_hand: bool, wanted: bool) -> None:
    one = container({"HostConfig": {"RestartPolicy": {"Name": policy}}})
    one.state = State(status=Status.EXITED, exit_code=code, stopped_by_hand=by_hand)
    assert restarts.wants_restart(one) is wanted


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (61, "About a minute"),
        (3000, "50 minutes"),
        (3700, "About an hour"),
        (3600 * 47, "47 hours"),
        (86400 * 3, "3 days"),
        (86400 * 20, "2 weeks"),
        (86400 * 100, "3 months"),
        (86400 * 800, "2 years"),
    ],
)
def test_durations_are_dockers_words(seconds: float, words: str) -> None:
    assert views.ago(int(seconds * SECOND)) == words


def test_signals_by_name_and_number() -> None:
    assert [processes.signal_number(each) for each in ("9", "TERM", "sigusr1", "RTMIN+3")] == [9, 15, 10, 37]
    for wrong in ("0", "65", "NOPE", "-1", ""):
        with pytest.raises(InvalidArgument):
            processes.signal_number(wrong)


def test_a_process_is_told_from_another_with_its_number() -> None:
    started = processes.start_time(os.getpid())
    assert processes.is_same(os.getpid(), started)
    assert not processes.is_same(os.getpid(), started + 1)
    assert not processes.is_same(0, 0)


def test_invented_names_are_free_and_allowed() -> None:
    taken: set[str] = set()
    for _ in range(300):
        name = names.invent(taken)
        assert name not in taken
        taken.add(names.check(name))
    for wrong in ("a", "-x", "a/b", "a b", ""):
        with pytest.raises(InvalidArgument):
            names.check(wrong)
