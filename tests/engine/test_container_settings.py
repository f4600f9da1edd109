"""What a container sees of what was asked for: user, capabilities, limits, mounts, namespaces, environment."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import Native
from tests.support.images import busybox
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(Native.why_not()), reason=Native.why_not() or "-")]
IMAGE = "gantry/busybox:1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    with Native() as native:
        native.load(busybox().archive(IMAGE))
        yield native


def said(engine: Native, script: str, *, host: dict[str, Any] | None = None, **body: Any) -> str:
    """What a shell script writes inside a container."""
    container = engine.run(IMAGE, "sh", "-c", script, HostConfig={"NetworkMode": "none", **(host or {})}, **body)
    engine.expect("POST", f"/containers/{container}/wait")
    found = engine.expect("GET", f"/containers/{container}/json")
    lines = Path(found["LogPath"]).read_text().splitlines() if Path(found["LogPath"]).exists() else []
    engine.expect("DELETE", f"/containers/{container}", v="true")
    return "\n".join(line.split(" ", 3)[3].rstrip("\r") for line in lines)


def refused(engine: Native, status: int = 400, **body: Any) -> str:
    """The message with which a create is refused."""
    found, answer = engine.request("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})
    assert found == status, answer
    return str(answer["message"])


def capabilities(text: str) -> int:
    return int(next(line for line in text.splitlines() if line.startswith("CapEff")).split()[1], 16)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("", "0:0"),
        ("1000", "1000:0"),
        ("1000:1001", "1000:1001"),
        ("web", "33:34"),
        ("web:users", "33:100"),
        (":100", "0:100"),
    ],
)
def test_the_user_is_looked_up_inside_the_image(engine: Native, user: str, shown: str) -> None:
    lines = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:w:/srv:/bin/sh\n"
    folder = engine.folder / "etc"
    folder.mkdir(exist_ok=True)
    (folder / "passwd").write_text(lines)
    (folder / "group").write_text("root:x:0:\nusers:x:100:\nmore:x:77:web\n")
    made = engine.expect(
        "POST",
        "/containers/create",
        {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", "echo $(id -u):$(id -g) $(id -G) $HOME"],
            "User": user,
            "HostConfig": {"NetworkMode": "none"},
        },
    )["Id"]
    upper = engine.root / "containers" / made / "upper" / "etc"
    upper.mkdir(parents=True)
    for name in ("passwd", "group"):
        (upper / name).write_text((folder / name).read_text())
    engine.expect("POST", f"/containers/{made}/start")
    engine.expect("POST", f"/containers/{made}/wait")
    text = (engine.root / "containers" / made / "ctr.log").read_text().split(" ", 3)[3]
    assert text.split()[0] == shown
    if user == "web":
        assert "77" in text.split()[1:-1]
        assert text.split()[-1] == "/srv"


def test_a_passwd_that_is_a_link_out_of_the_root_is_not_read(engine: Native) -> None:
    secret = engine.folder / "passwd-of-the-host"
    secret.write_text("canary:x:4242:4242::/:/bin/sh\n")
    made = engine.expect(
        "POST",
        "/containers/create",
        {"Image": IMAGE, "Cmd": ["id"], "User": "canary", "HostConfig": {"NetworkMode": "none"}},
    )["Id"]
    upper = engine.root / "containers" / made / "upper" / "etc"
    upper.mkdir(parents=True)
    (upper / "passwd").symlink_to("../../../../../../../.." + str(secret))
    status, answer = engine.request("POST", f"/containers/{made}/start")
    assert status == 400
    assert "unable to find user canary" in answer["message"]


def test_capabilities_are_dockers_and_can_be_chosen(engine: Native) -> None:
    show = "cat /proc/self/status"
    assert capabilities(said(engine, show)) == 0xA80425FB
    assert capabilities(said(engine, show, host={"CapDrop": ["ALL"]})) == 0
    assert capabilities(said(engine, show, host={"CapDrop": ["ALL"], "CapAdd": ["NET_ADMIN"]})) == 1 << 12
    assert capabilities(said(engine, show, host={"CapAdd": ["CAP_SYS_TIME"]})) == 0xA80425FB | 1 << 25
    assert capabilities(said(engine, show, User="1000")) == 0
    assert capabilities(said(engine, show, host={"Privileged": True})) > 0xA80425FB
    assert "unknown capability" in refused(engine, HostConfig={"CapAdd": ["FLY"]})


def test_seccomp_is_on_unless_it_is_not_wanted(engine: Native) -> None:
    show = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\n\\t'"
    for _ in range(2):  # compiled, then the kept one
        assert said(engine, show) == "NoNewPrivs:0Seccomp:2"
    assert said(engine, show, host={"SecurityOpt": ["seccomp=unconfined"]}) == "NoNewPrivs:0Seccomp:0"
    assert said(engine, show, host={"SecurityOpt": ["no-new-privileges"]}) == "NoNewPrivs:1Seccomp:2"
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        }
    )
    for _ in range(2):
        text = said(engine, "mkdir /tmp2 || echo refused", host={"SecurityOpt": [f"seccomp={profile}"]})
        assert "refused" in text
    assert "seccomp" in refused(engine, HostConfig={"SecurityOpt": ["seccomp={"]})


def test_masked_and_read_only_paths_stay_so(engine: Native) -> None:
    text = said(
        engine, "cat /proc/keys /proc/timer_list | wc -c; echo 1 > /proc/sys/vm/swappiness; ls /sys/firmware | wc -l"
    )
    assert "Read-only file system" in text
    assert text.splitlines().count("0") == 2


def test_environment_folder_and_hostname(engine: Native) -> None:
    text = said(
        engine,
        "pwd; hostname; echo $A-$B-$HOME; env | grep -c ^C=",
        Env=["A=1", "B=x=y", "C"],
        WorkingDir="/new/folder/",
        Hostname="harbour",
    )
    assert text.splitlines() == ["/new/folder", "harbour", "1-x=y-/root", "0"]


@pytest.mark.parametrize("folder", ["/proc/self/fd/7", "/proc/1/root", "relative"])
def test_a_folder_through_open_files_is_refused(engine: Native, folder: str) -> None:
    assert "is invalid" in refused(engine, WorkingDir=folder)


def test_a_folder_that_is_a_link_makes_nothing_outside(engine: Native) -> None:
    made = engine.expect(
        "POST",
        "/containers/create",
        {"Image": IMAGE, "Cmd": ["pwd"], "WorkingDir": "/w/x", "HostConfig": {"NetworkMode": "none"}},
    )["Id"]
    canary = engine.folder / "canary"
    canary.mkdir()
    upper = engine.root / "containers" / made / "upper"
    upper.mkdir(exist_ok=True)
    (upper / "w").symlink_to("../../../../../../../.." + str(canary))
    engine.request("POST", f"/containers/{made}/start")
    assert list(canary.iterdir()) == []


def test_limits_reach_the_process(engine: Native) -> None:
    limits = [{"Name": "nofile", "Soft": 100, "Hard": 200}, {"Name": "core", "Soft": 0, "Hard": 0}]
    assert said(engine, "ulimit -Sn; ulimit -Hn; ulimit -c", host={"Ulimits": limits}) == "100\n200\n0"
    huge = [{"Name": "nofile", "Soft": 1 << 40, "Hard": 1 << 40}]
    assert int(said(engine, "ulimit -n", host={"Ulimits": huge})) < 1 << 40
    assert "invalid ulimit type" in refused(engine, HostConfig={"Ulimits": [{"Name": "x", "Soft": 1, "Hard": 1}]})
    text = said(engine, "i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i+1)); done 2>&1", host={"PidsLimit": 5})
    assert "fork" in text
    oom = said(engine, "cat /proc/self/oom_score_adj", host={"OomScoreAdj": 300})
    assert oom == "300"


def test_mounts_read_only_roots_tmpfs_and_shm(engine: Native) -> None:
    text = said(
        engine,
        "touch /x; touch /run/y && echo fine; df -k /dev/shm /run | awk '{print $2}' | tail -2",
        host={"ReadonlyRootfs": True, "Tmpfs": {"/run": "rw,size=1m"}, "ShmSize": 2 << 20},
    )
    assert "Read-only file system" in text
    assert [line for line in text.splitlines() if "touch" not in line] == ["fine", "2048", "1024"]


def test_sysctls_only_of_its_own_namespaces(engine: Native) -> None:
    sysctls = {"kernel.shm_rmid_forced": "1"}
    assert said(engine, "cat /proc/sys/kernel/shm_rmid_forced", host={"Sysctls": sysctls}) == "1"
    assert "not whitelisted" in refused(engine, HostConfig={"Sysctls": {"kernel.panic": "1"}})
    assert "separate network" in refused(
        engine, HostConfig={"NetworkMode": "host", "Sysctls": {"net.ipv4.ip_forward": "1"}}
    )


def test_devices(engine: Native) -> None:
    device = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r"}
    assert said(engine, "ls -l /dev/nothing | cut -c1; cat /dev/nothing; echo $?", host={"Devices": [device]}) == "c\n0"
    made = engine.expect(
        "POST",
        "/containers/create",
        {
            "Image": IMAGE,
            "Cmd": ["true"],
            "HostConfig": {"NetworkMode": "none", "Devices": [{"PathOnHost": "/dev/nosuch"}]},
        },
    )["Id"]
    assert engine.request("POST", f"/containers/{made}/start")[0] == 400


def test_init_reaps_and_passes_signals_on(engine: Native) -> None:
    assert "docker-init" in said(engine, "cat /proc/1/cmdline | tr '\\0' ' '", host={"Init": True})


def test_namespaces_are_shared_where_asked(engine: Native) -> None:
    other = engine.run(
        IMAGE,
        "sh",
        "-c",
        "echo here > /dev/shm/x; exec sleep 1000",
        HostConfig={"NetworkMode": "none", "IpcMode": "shareable"},
    )
    pid = engine.expect("GET", f"/containers/{other}/json")["State"]["Pid"]
    eventually(lambda: Path(f"/proc/{pid}/root/dev/shm/x").exists())
    assert said(engine, "cat /dev/shm/x", host={"IpcMode": f"container:{other[:12]}"}) == "here"
    assert "sleep 1000" in said(engine, "ps", host={"PidMode": f"container:{other}"})
    assert said(engine, "hostname", host={"UTSMode": "host"}) == Path("/proc/sys/kernel/hostname").read_text().strip()
    assert int(said(engine, "ps | wc -l", host={"PidMode": "host"})) > 10
    private = engine.run(IMAGE, "sleep", "1000", HostConfig={"NetworkMode": "none"})
    assert "non-shareable IPC" in refused(engine, HostConfig={"IpcMode": f"container:{private}"})


def test_a_shared_pid_namespace_leaves_no_process(engine: Native) -> None:
    container = engine.run(
        IMAGE, "sh", "-c", "sleep 4321 & sleep 0.1", HostConfig={"NetworkMode": "none", "PidMode": "host"}
    )
    engine.expect("POST", f"/containers/{container}/wait")
    engine.expect("DELETE", f"/containers/{container}")
    assert not [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if b"4321" in _read(path) and b"sleep" in _read(path)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_privileged_sees_the_hosts_devices(engine: Native) -> None:
    text = said(engine, "ls /dev | wc -l; cat /proc/keys > /dev/null && echo open", host={"Privileged": True})
    assert int(text.splitlines()[0]) > 20
    assert "open" in text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"Cmd": None, "Entrypoint": [""]}, "no command specified"),
        ({"HostConfig": {"Memory": 1000}}, "6MB"),
        ({"HostConfig": {"NanoCpus": 10**15}}, "range of CPUs"),
        ({"HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, "invalid restart policy"),
        ({"HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}}, "AutoRemove"),
        ({"HostConfig": {"PidMode": "odd"}}, "invalid PID mode"),
        ({"HostConfig": {"Annotations": {"run.oci.seccomp_bpf_data": "AAAA"}}}, "for the engine alone"),
        ({"HostConfig": {"Memory": "much"}}, "HostConfig.Memory must be"),
        ({"HostConfig": []}, "must be an object"),
        ({"Env": ["=x"]}, "invalid environment variable"),
        ({"StopSignal": "NOPE"}, "Invalid signal"),
        ({"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}}, "cannot be less than 1ms"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(engine: Native, body: dict[str, Any], says: str) -> None:
    before = set((engine.root / "containers").iterdir())
    assert says in refused(engine, **body)
    assert set((engine.root / "containers").iterdir()) == before


def test_an_image_that_is_not_here_is_404(engine: Native) -> None:
    assert "No such image: nothing:latest" in refused(engine, 404, Image="nothing")
