"""Small things in which the native engine does as Docker Engine does: every test is run on both of them."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import tars
from tests.support.engines import EngineProcess, unique
from tests.support.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry]


@pytest.fixture(scope="module", params=["docker_engine", "native_engine"])
def engine(request: pytest.FixtureRequest) -> EngineProcess:
    """The engine that is asked."""
    found: EngineProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def image(engine: EngineProcess, busybox_loaded: Callable[[EngineProcess], str]) -> str:
    """A busybox it has."""
    return busybox_loaded(engine)


@contextlib.contextmanager
def made(engine: EngineProcess, image: str, *command: str, **body: Any) -> Iterator[str]:
    """A container that is removed at the end; its name."""
    name = unique("beside")
    engine.expect("POST", "/containers/create", {"Image": image, "Cmd": list(command), **body}, name=name)
    try:
        yield name
    finally:
        engine.request("DELETE", f"/containers/{name}", force="true", v="true")


def docker(engine: EngineProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command of the docker CLI, whose failure is looked at."""
    command = ["docker", "-H", f"unix://{engine.socket}", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def inspected(engine: EngineProcess, name: str) -> dict[str, Any]:
    """All that is known of a container."""
    found: dict[str, Any] = engine.expect("GET", f"/containers/{name}/json")
    return found


def ended(engine: EngineProcess, name: str) -> str:
    """Start a container and wait for its end; what it wrote to standard output, bare."""
    engine.expect("POST", f"/containers/{name}/start")
    engine.expect("POST", f"/containers/{name}/wait")
    return engine.cli("logs", name)


def said(engine: EngineProcess, image: str, script: str, **body: Any) -> str:
    """What a shell script writes in a container."""
    with made(engine, image, "sh", "-c", script, **body) as name:
        return ended(engine, name)


def test_a_prune_leaves_volumes_that_have_options(engine: EngineProcess) -> None:
    plain, mounted = unique("plain"), unique("mounted")
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    for name, more in ((plain, {}), (mounted, {"DriverOpts": options})):
        engine.expect("POST", "/volumes/create", {"Name": name, "Labels": {"row": plain}, **more})
    try:
        # Before 1.42 a prune takes named volumes too, without being told so.
        found = engine.expect("POST", "/v1.41/volumes/prune", None, filters=json.dumps({"label": [f"row={plain}"]}))
        assert found["VolumesDeleted"] == [plain]
    finally:
        engine.request("DELETE", f"/volumes/{plain}")
        engine.expect("DELETE", f"/volumes/{mounted}")


def test_a_log_of_driver_none_is_for_who_is_attached(engine: EngineProcess, image: str) -> None:
    assert engine.cli("run", "--rm", "--log-driver", "none", image, "echo", "seen") == "seen\n"
    with made(engine, image, "echo", "gone", HostConfig={"LogConfig": {"Type": "none"}}) as name:
        engine.expect("POST", f"/containers/{name}/start")
        engine.expect("POST", f"/containers/{name}/wait")
        status, answer = engine.request("GET", f"/containers/{name}/logs", None, stdout="1")
        assert (status, answer["message"]) == (501, "configured logging driver does not support reading")
        assert inspected(engine, name)["LogPath"] == ""


WEIGHED = {"BlkioWeight": 300, "BlkioWeightDevice": [{"Path": "/dev/null", "Weight": 300}]}


@pytest.mark.parametrize(
    "host",
    [
        {},
        {"Memory": 64 << 20},
        {"Memory": 64 << 20, "MemorySwap": 64 << 20},
        {"Memory": 64 << 20, "MemorySwap": -1},
        {"MemoryReservation": 64 << 20},
        {"Privileged": True},
        {"CgroupnsMode": "private"},
        {"OomKillDisable": True},
        WEIGHED,
    ],
    ids=lambda host: "-".join(host) or "nothing",
)
def test_a_host_config_is_completed_and_warned_of_as_docker_does(
    docker_engine: EngineProcess,
    native_engine: EngineProcess,
    busybox_loaded: Callable[[EngineProcess], str],
    host: dict[str, Any],
) -> None:
    found = []
    for engine in (docker_engine, native_engine):
        body = {"Image": busybox_loaded(engine), "Cmd": ["true"], "HostConfig": host}
        answer = engine.expect("POST", "/containers/create", body)
        completed = inspected(engine, answer["Id"])["HostConfig"]
        engine.expect("DELETE", f"/containers/{answer['Id']}")
        names = ("Memory", "MemorySwap", "MemoryReservation", "CgroupnsMode", "OomKillDisable", *WEIGHED)
        found.append((answer["Warnings"], {name: completed[name] for name in names}))
    assert found[0] == found[1]


def test_a_weight_the_kernel_has_not_keeps_no_container_from_starting(engine: EngineProcess, image: str) -> None:
    with made(engine, image, "echo", "ran", HostConfig={"BlkioWeight": 300}) as name:
        assert ended(engine, name) == "ran\n"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ({"OomScoreAdj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        ({"OomScoreAdj": -1001}, "Invalid value -1001, range for oom score adj is [-1000, 1000]"),
        ({"CpusetCpus": "5000"}, "Requested CPUs are not available - requested 5000, available: "),
        ({"CpusetMems": "0-99"}, "Requested memory nodes are not available - requested 0-99, available: "),
        ({"CpusetCpus": "1-0"}, "Invalid value 1-0 for cpuset cpus"),
        ({"CpusetMems": "a"}, "Invalid value a for cpuset mems"),
    ],
)
def test_what_the_host_cannot_give_is_refused_at_create(
    engine: EngineProcess, image: str, host: dict[str, Any], words: str
) -> None:
    body = {"Image": image, "Cmd": ["true"], "HostConfig": host}
    status, answer = engine.request("POST", "/containers/create", body)
    assert status == 400, answer
    assert answer["message"].startswith(words)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ({"Hostname": "web", "Domainname": "shop.test"}, "web|shop.test|web|web.shop.test web"),
        ({"Hostname": "web.shop.test"}, "web.shop.test|(none)|web.shop.test|web.shop.test web"),
        ({"Hostname": "web"}, "web|(none)|web|web"),
    ],
)
def test_the_name_of_host_and_domain(engine: EngineProcess, image: str, names: dict[str, str], shown: str) -> None:
    script = "echo $(hostname)'|'$(cat /proc/sys/kernel/domainname)'|'$(cat /etc/hostname)'|'$(tail -n1 /etc/hosts)"
    host, domain, file, line = said(engine, image, script, **names).rstrip("\n").split("|")
    assert f"{host}|{domain}|{file}|{line.partition(' ')[2]}" == shown


def listed(engine: EngineProcess, **filters: str) -> list[str]:
    """The names of the containers that `docker ps` shows."""
    found = engine.expect("GET", "/containers/json", filters=json.dumps({key: [text] for key, text in filters.items()}))
    return [each["Names"][0][1:] for each in found]


def test_only_the_status_filter_shows_what_does_not_run(engine: EngineProcess, image: str) -> None:
    label = unique("listed")
    with made(engine, image, "false", Labels={label: ""}) as name, made(engine, image, "true") as older:
        ended(engine, name)
        assert listed(engine, label=label, exited="1") == []
        assert listed(engine, label=label, since=older) == []
        assert listed(engine, label=label, before=older) == []
        assert listed(engine, label=label, status="exited") == [name]
        assert listed(engine, label=label, status="exited", exited="1") == [name]
        assert listed(engine, label=label, status="exited", exited="0") == []


def test_ports_are_found_where_they_are_published(engine: EngineProcess, image: str) -> None:
    label = unique("listed")
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    body = {"ExposedPorts": {each: {} for each in (*ports, "99/tcp")}, "HostConfig": {"PortBindings": ports}}
    with made(engine, image, "sleep", "1000", Labels={label: ""}, **body) as name:

        def found(**filters: str) -> bool:
            query = {key: [text] for key, text in filters.items()} | {"label": [label]}
            return bool(engine.expect("GET", "/containers/json", None, all="1", filters=json.dumps(query)))

        assert not found(publish="1-65535")
        assert not found(expose="80")
        engine.expect("POST", f"/containers/{name}/start")
        public = inspected(engine, name)["NetworkSettings"]["Ports"]
        tcp, udp = (int(public[each][0]["HostPort"]) for each in ports)
        for shown in (str(tcp), f"{tcp}/tcp", f"{tcp - 1}-{tcp + 1}", f"{udp}/udp", f"{udp}-{udp + 1}/udp"):
            assert found(publish=shown), shown
        for hidden in ("80", "80/tcp", "53/udp", f"{tcp}/sctp", f"{tcp - 2}-{tcp - 1}", "99"):
            assert not found(publish=hidden), hidden
        for shown in ("80", "80/tcp", "53/udp", "99", "90-100"):
            assert found(expose=shown), shown
        for hidden in ("53", "80/udp", "98", f"{tcp}"):
            assert not found(expose=hidden), hidden


def told(engine: EngineProcess, since: float) -> list[dict[str, Any]]:
    """The events of images and commits since a moment."""
    filters = json.dumps({"type": ["image", "container"], "event": ["tag", "import", "commit", "untag", "delete"]})
    text = engine.expect("GET", "/events", since=f"{since:.6f}", until=f"{time.time():.6f}", filters=filters)
    return [json.loads(line) for line in text.splitlines()]


def test_commit_and_import_tell_of_the_tag_they_give(engine: EngineProcess, image: str) -> None:
    name, begun = unique("told"), time.time()
    with made(engine, image, "true") as container:
        committed = engine.expect("POST", "/commit", {}, container=container, repo=name, tag="c", comment="why")["Id"]
        plain = engine.expect("POST", "/commit", {}, container=container)["Id"]
        engine.expect("POST", "/images/create", tars.tar_of([tars.entry("a", b"b")]), fromSrc="-", repo=name, tag="i")
    imported = engine.expect("GET", f"/images/{name}:i/json")["Id"]
    for each in (f"{name}:c", f"{name}:i", plain):
        engine.expect("DELETE", f"/images/{each}")
    wanted = ("name", "imageID", "imageRef", "comment")
    found = []
    for event in told(engine, begun):
        if event["Actor"]["ID"] in (committed, plain, imported) or event["Action"] == "commit":
            attributes = event["Actor"]["Attributes"]
            found.append((event["Action"], *(attributes[key] for key in wanted if key in attributes)))
    assert found == [
        ("tag", f"{name}:c"),
        ("commit", container, committed, f"{name}:c", "why"),
        ("commit", container, plain, "", ""),
        ("tag", f"{name}:i"),
        ("import", imported),
        ("untag", committed),
        ("delete", committed),
        ("untag", imported),
        ("delete", imported),
        ("delete", plain),
    ]


@pytest.mark.parametrize(
    ("signal", "number"),
    [("RTMIN+3", 37), ("SIGRTMIN+15", 49), ("rtmax-1", 63), ("RTMAX-14", 50), ("RTMAX", 64), ("64", 64), ("IOT", 6)],
)
def test_a_signal_by_any_name_reaches_the_process(engine: EngineProcess, image: str, signal: str, number: int) -> None:
    script = f"trap 'exit 7' {number}; echo ready; while :; do sleep 0.05; done"
    with made(engine, image, "sh", "-c", script, StopSignal=signal) as name:
        engine.expect("POST", f"/containers/{name}/start")
        eventually(lambda: "ready" in engine.cli("logs", name))
        engine.expect("POST", f"/containers/{name}/kill", None, signal=signal)
        assert engine.expect("POST", f"/containers/{name}/wait")["StatusCode"] == 7
        assert inspected(engine, name)["Config"]["StopSignal"] == signal


@pytest.mark.parametrize("signal", ["RTMIN+16", "RTMAX-15", "RTMIN+", "RTMIN-1", "RTMAX+1", "0", "NOPE"])
def test_a_signal_that_is_none_is_refused(engine: EngineProcess, image: str, signal: str) -> None:
    body = {"Image": image, "Cmd": ["true"], "StopSignal": signal}
    assert engine.request("POST", "/containers/create", body)[0] == 400
    with made(engine, image, "sleep", "1000") as name:
        engine.expect("POST", f"/containers/{name}/start")
        assert engine.request("POST", f"/containers/{name}/kill", None, signal=signal)[0] == 400


def test_who_rests_is_not_healthy(engine: EngineProcess, image: str) -> None:
    def health() -> dict[str, Any]:
        found: dict[str, Any] = inspected(engine, name)["State"]["Health"]
        return found

    check = {"Test": ["CMD", "test", "-e", "/ok"], "Interval": 1_000_000_000, "Retries": 1000}
    with made(engine, image, "sleep", "1000", Healthcheck=check) as name:
        assert inspected(engine, name)["State"].get("Health") is None
        engine.expect("POST", f"/containers/{name}/start")
        assert health()["Status"] == "starting"
        engine.cli("exec", name, "touch", "/ok")
        eventually(lambda: health()["Status"] == "healthy")
        engine.expect("POST", f"/containers/{name}/pause")
        assert (health()["Status"], health()["FailingStreak"]) == ("unhealthy", 0)
        engine.expect("POST", f"/containers/{name}/unpause")
        eventually(lambda: health()["Status"] == "healthy")
        engine.expect("POST", f"/containers/{name}/stop", None, t=0)
        stopped = health()
        assert (stopped["Status"], stopped["FailingStreak"]) == ("unhealthy", 0)
        assert stopped["Log"]
        engine.expect("POST", f"/containers/{name}/start")
        assert health()["Status"] in ("starting", "healthy")
        assert health()["Log"]
        eventually(lambda: health()["Status"] == "healthy")


def test_a_working_folder_in_a_new_read_only_volume_is_there(engine: EngineProcess, image: str) -> None:
    volume = unique("beside")
    host = {"Binds": [f"{volume}:/etc/deep:ro"]}
    try:
        script = "pwd; stat -c '%a %u' .; touch x || echo refused"
        text = said(engine, image, script, WorkingDir="/etc/deep/down", HostConfig=host)
        assert text == "/etc/deep/down\n755 0\nrefused\n"
        # The volume is not empty any more: what is missing in it now cannot be made.
        with made(engine, image, "true", WorkingDir="/etc/deep/other", HostConfig=host) as name:
            assert engine.request("POST", f"/containers/{name}/start")[0] >= 400
    finally:
        engine.request("DELETE", f"/volumes/{volume}")


@pytest.mark.parametrize("path", ["/away/null", "/end", "/dev/deep/null", "/plain/null"])
def test_a_device_is_made_where_a_dangling_link_leads(engine: EngineProcess, image: str, path: str) -> None:
    device = {"PathOnHost": "/dev/null", "PathInContainer": path, "CgroupPermissions": "rwm"}
    links = tars.tar_of([tars.symlink("away", "/not/there"), tars.symlink("end", "/neither/this")])
    script = f"test -c {path} && echo x > {path} && cat {path} && echo fine; ls /not/there /neither 2>/dev/null"
    with made(engine, image, "sh", "-c", script, HostConfig={"Devices": [device]}) as name:
        engine.expect("PUT", f"/containers/{name}/archive?path=/", links)
        assert ended(engine, name).startswith("fine\n")


@pytest.fixture
def shared_folder(tmp_path: Path) -> Iterator[Path]:
    """A shared mount of the host."""
    folder = tmp_path / "shared"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "shared", str(folder)], check=True)
    subprocess.run(["mount", "--make-shared", str(folder)], check=True)
    (folder / "below").mkdir()
    yield folder
    subprocess.run(["umount", "-R", str(folder)], check=True)


@pytest.mark.parametrize(
    ("mode", "inwards", "outwards"),
    [
        ("private", False, False),
        ("rprivate", False, False),
        ("slave", True, False),
        ("rslave", True, False),
        ("shared", True, True),
        ("rshared", True, True),
    ],
)
def test_mounts_are_handed_on_as_a_bind_asks(
    engine: EngineProcess, image: str, shared_folder: Path, mode: str, inwards: bool, outwards: bool
) -> None:
    script = "mkdir /data/inside; mount -t tmpfs inside /data/inside; touch /data/inside/mark; sleep 1000"
    host = {
        "Binds": [f"{shared_folder}:/data:{mode}"],
        "CapAdd": ["SYS_ADMIN"],
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
    }
    with made(engine, image, "sh", "-c", script, HostConfig=host) as name:
        engine.expect("POST", f"/containers/{name}/start")
        assert inspected(engine, name)["Mounts"][0]["Propagation"] == mode
        eventually(lambda: "mark" in engine.cli("exec", name, "sh", "-c", "ls /data/inside || true"))
        subprocess.run(["mount", "-t", "tmpfs", "below", str(shared_folder / "below")], check=True)
        (shared_folder / "below" / "mark").write_text("")
        assert (engine.cli("exec", name, "ls", "/data/below") == "mark\n") is inwards
        assert (shared_folder / "inside" / "mark").exists() is outwards


@pytest.mark.parametrize(("mode", "kind"), [("shared", "shared"), ("rslave", "shared or slave")])
def test_what_the_hosts_mount_does_not_hand_on_is_told(
    engine: EngineProcess, image: str, tmp_path: Path, mode: str, kind: str
) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "private", str(folder)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(folder)], check=True)
        with made(engine, image, "true", HostConfig={"Binds": [f"{folder}:/data:{mode}"]}) as name:
            status, answer = engine.request("POST", f"/containers/{name}/start")
        assert status >= 400
        assert f"path {folder} is mounted on {folder} but it is not a {kind} mount" in answer["message"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("bind", ["/tmp:/data:odd", "/tmp:/data:shared,slave", "name:/data:shared"])
def test_a_propagation_that_is_none_is_refused(engine: EngineProcess, image: str, bind: str) -> None:
    body = {"Image": image, "Cmd": ["true"], "HostConfig": {"Binds": [bind]}}
    # Docker 20.10 does not name the kind.
    assert engine.request("POST", "/containers/create", body)[0] == (500 if engine.kind == "docker" else 400)


def test_a_bind_may_have_no_options_after_its_colon(engine: EngineProcess, image: str) -> None:
    host = {"Binds": ["/usr:/data:"]}
    assert "bin" in said(engine, image, "ls /data", HostConfig=host)


PORTS = ("80/tcp", "81/tcp", "82/tcp", "53/udp", "53/tcp", "9000/tcp", "9001/tcp")


def test_a_link_is_told_in_the_environment(engine: EngineProcess, image: str) -> None:
    ports: dict[str, Any] = {each: {} for each in PORTS}
    with made(engine, image, "sleep", "1000", ExposedPorts=ports, Env=["A=b=c", "HOME=/x", "PATH=/bin"]) as other:
        engine.expect("POST", f"/containers/{other}/start")
        host = {"Links": [f"{other}:my-db"]}
        with made(engine, image, "sh", "-c", "env; sleep 1000", Env=["MY_DB_ENV_A=own"], HostConfig=host) as name:
            engine.expect("POST", f"/containers/{name}/start")
            eventually(lambda: "MY_DB_NAME" in engine.cli("logs", name))
            address = inspected(engine, other)["NetworkSettings"]["IPAddress"]
            shown = sorted(line for line in engine.cli("logs", name).splitlines() if line.startswith("MY_DB"))
            assert shown == sorted(
                [
                    f"MY_DB_NAME=/{name}/my-db",
                    "MY_DB_ENV_A=own",
                    f"MY_DB_PORT=tcp://{address}:53",
                    f"MY_DB_PORT_80_TCP_START=tcp://{address}:80",
                    "MY_DB_PORT_80_TCP_PORT_START=80",
                    f"MY_DB_PORT_80_TCP_END=tcp://{address}:82",
                    "MY_DB_PORT_80_TCP_PORT_END=82",
                    *(
                        line.format(head=f"MY_DB_PORT_{port}_{kind.upper()}", port=port, kind=kind, address=address)
                        for port, _, kind in (each.partition("/") for each in PORTS)
                        for line in (
                            "{head}={kind}://{address}:{port}",
                            "{head}_ADDR={address}",
                            "{head}_PORT={port}",
                            "{head}_PROTO={kind}",
                        )
                    ),
                ]
            )
            assert f"MY_DB_NAME=/{name}/my-db" in engine.cli("exec", name, "env")


def test_a_link_lives_until_it_is_removed(engine: EngineProcess, image: str) -> None:
    with made(engine, image, "sleep", "1000") as other, made(engine, image, "sleep", "1000") as plain:
        host = {"Links": [f"{other}:db"]}
        with made(engine, image, "sleep", "1000", HostConfig=host) as name:
            status, answer = engine.request("POST", f"/containers/{name}/start")
            assert status >= 400
            assert f"Cannot link to a non running container: /{other} AS /{name}/db" in answer["message"]
            engine.expect("POST", f"/containers/{other}/start")
            engine.expect("POST", f"/containers/{name}/start")
            assert inspected(engine, name)["HostConfig"]["Links"] == [f"/{other}:/{name}/db"]
            listing = engine.expect(
                "GET", "/containers/json", filters=json.dumps({"id": [inspected(engine, other)["Id"]]})
            )
            assert sorted(listing[0]["Names"]) == sorted([f"/{other}", f"/{name}/db"])
            # It comes back with another address.
            engine.expect("POST", f"/containers/{other}/stop", None, t=0)
            engine.expect("POST", f"/containers/{plain}/start")
            engine.expect("POST", f"/containers/{other}/start")
            address = inspected(engine, other)["NetworkSettings"]["IPAddress"]
            assert f"{address}\tdb" in engine.cli("exec", name, "cat", "/etc/hosts")
            engine.expect("POST", f"/containers/{other}/rename", None, name=f"{other}-new")
            engine.expect("POST", f"/containers/{name}/restart", None, t=0)
            assert inspected(engine, name)["HostConfig"]["Links"] == [f"/{other}-new:/{name}/db"]
            engine.expect("POST", f"/containers/{other}-new/rename", None, name=other)
            assert engine.request("DELETE", f"/containers/{name}", None, link="1")[0] >= 400
            assert engine.request("DELETE", f"/containers/{name}/none", None, link="1")[0] == 404
            engine.expect("DELETE", f"/containers/{name}/db", None, link="1")
            assert inspected(engine, name)["HostConfig"]["Links"] is None
            assert inspected(engine, name)["State"]["Running"]
            assert f"{address}\tdb" not in engine.cli("exec", name, "cat", "/etc/hosts")
            engine.expect("POST", f"/containers/{other}/stop", None, t=0)
            engine.expect("POST", f"/containers/{name}/restart", None, t=0)


@pytest.mark.parametrize(
    "host",
    [
        {"Links": ["no-such:db"]},
        {"Links": ["a:b:c"]},
        {"Links": [""]},
        {"Links": ["no-such:db"], "NetworkMode": "host"},
        {"Links": ["no-such:db"], "NetworkMode": "container:no-such"},
    ],
)
def test_a_link_that_cannot_be_is_refused_at_create(engine: EngineProcess, image: str, host: dict[str, Any]) -> None:
    status, answer = engine.request("POST", "/containers/create", {"Image": image, "Cmd": ["true"], "HostConfig": host})
    assert status >= 400, answer


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ([""], 127, 'exec: "": executable file not found in $PATH'),
        ([" "], 127, 'exec: " ": executable file not found in $PATH'),
        (["no-such"], 127, 'exec: "no-such": executable file not found in $PATH'),
        (["/etc"], 126, 'exec: "/etc": permission denied'),
    ],
)
def test_a_command_that_cannot_be_run(
    engine: EngineProcess, image: str, command: list[str], status: int, words: str
) -> None:
    done = docker(engine, "run", "--rm", image, *command)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    with made(engine, image, "sleep", "1000") as name:
        engine.expect("POST", f"/containers/{name}/start")
        done = docker(engine, "exec", name, *command)
        assert (done.returncode, words in done.stdout) == (126, True), done.stdout


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("nope", "unable to find user nope: no matching entries in passwd file"),
        ("0:nope", "unable to find group nope: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_a_user_that_is_none(engine: EngineProcess, image: str, user: str, words: str) -> None:
    done = docker(engine, "run", "--rm", "--user", user, image, "true")
    assert (done.returncode, words in done.stderr) == (125, True), done.stderr
    with made(engine, image, "sleep", "1000") as name:
        engine.expect("POST", f"/containers/{name}/start")
        done = docker(engine, "exec", "--user", user, name, "true")
        assert (done.returncode, done.stdout, done.stderr) == (126, f"{words}\n", "")
        done = docker(engine, "exec", "--detach", "--user", user, name, "true")
        assert (done.returncode, done.stderr.strip()) == (1, f"Error response from daemon: {words}")


# Two pipes have no order between them; what is two seconds apart has.
@pytest.mark.parametrize(
    ("script", "last"),
    [
        ("printf 'a\\nb'; sleep 2; echo c >&2; sleep 2", ("b", "")),
        ("printf a; sleep 2; echo c >&2; sleep 2; echo b", ("ab\n", "")),
    ],
)
def test_the_last_line_is_the_one_that_ended_last(
    engine: EngineProcess, image: str, script: str, last: tuple[str, str]
) -> None:
    with made(engine, image, "sh", "-c", script) as name:
        ended(engine, name)
        done = docker(engine, "logs", "--tail", "1", name)
        assert (done.stdout, done.stderr) == last
