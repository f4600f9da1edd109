"""The docker CLI's everyday commands, as people type them, on the native engine's socket."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.engines import Native, unique
from tests.support.images import TestImage
from tests.support.registry import Registry
from tests.support.terminal import Terminal
from tests.support.waiting import eventually, free_port

pytestmark = [pytest.mark.root, pytest.mark.docker, pytest.mark.registry]

IMAGE = "gantry/busybox:1"


@pytest.fixture(scope="module")
def engine(busybox_archive: TestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """An engine of this file's own, with an image; the CLI's own configuration is empty."""
    need(Native.why_not())
    with pytest.MonkeyPatch.context() as patch, Native() as engine:
        patch.setenv("DOCKER_CONFIG", str(tmp_path_factory.mktemp("docker")))
        engine.load(busybox_archive.archive(IMAGE))
        yield engine


@pytest.fixture
def name(engine: Native) -> Iterator[str]:
    """A container's name nobody else uses; what bears it is removed."""
    name = unique("cli")
    yield name
    engine.cli("rm", "-fv", name, check=False)


def docker(engine: Native, *arguments: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """A command whose failure is looked at: its exit status, output and errors."""
    command = ["docker", "-H", f"unix://{engine.socket}", *arguments]
    if input is None:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return subprocess.run(command, input=input, capture_output=True, timeout=60, check=False)


def terminal(engine: Native, *arguments: str) -> Terminal:
    """A command at a terminal."""
    return Terminal("docker", "-H", f"unix://{engine.socket}", *arguments)


def lines(text: str) -> list[str]:
    """One string for each line."""
    return text.splitlines()


# Running


def test_run_prints_and_answers_with_the_exit_status(engine: Native) -> None:
    done = docker(engine, "run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert lines(engine.cli("ps", "-aq")) == []


def test_run_carries_standard_input(engine: Native) -> None:
    done = docker(engine, "run", "-i", "--rm", IMAGE, "sh", "-c", "cat; echo end", input=b"one\ntwo\n" * 10_000)
    assert done.returncode == 0
    assert done.stdout == b"one\ntwo\n" * 10_000 + b"end\n"


def test_run_at_a_terminal(engine: Native, name: str) -> None:
    with terminal(engine, "run", "-it", "--name", name, IMAGE, "sh") as shell:
        shell.until("# ")
        shell.type("echo $((6 * 7)); tty\n")
        shell.until("42\r\n")
        shell.until("/dev/pts/0")
        shell.resize(41, 121)
        eventually(lambda: _size(shell) == "41 121")
        shell.type("exit 3\n")
        assert shell.ended() == 3
    assert engine.cli("inspect", "-f", "{{.State.ExitCode}}", name) == "3\n"


def _size(shell: Terminal) -> str:
    shell.type("stty size\n")
    shell.until("stty size\r\n")
    return shell.until("\r\n").strip()


def test_detaching_leaves_it_running_and_attach_comes_back(engine: Native, name: str) -> None:
    with terminal(engine, "run", "-it", "--name", name, IMAGE, "sh") as shell:
        shell.until("# ")
        shell.type("\x10\x11")  # Ctrl-P Ctrl-Q
        assert shell.ended() == 0
    assert engine.cli("ps", "-q", "--filter", f"name={name}")
    with terminal(engine, "attach", name) as shell:
        shell.type("\n")
        shell.until("# ")
        shell.type("exit 4\n")
        assert shell.ended() == 4


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["gantry/none:1", "true"], 125, "Unable to find image"),
        ([IMAGE, "no-such-program"], 127, "no-such-program"),
        ([IMAGE, "/etc"], 126, "/etc"),
        (["--memory", "1k", IMAGE, "true"], 125, "memory"),
        (["--name", "a b", IMAGE, "true"], 125, "Invalid container name"),
        (["-v", "rel/ative:/x", IMAGE, "true"], 125, "invalid"),
        (["--user", "nobody-here", IMAGE, "true"], 125, "unable to find user nobody-here"),
    ],
)
def test_a_run_that_cannot_be_says_why(engine: Native, arguments: list[str], status: int, words: str) -> None:
    done = docker(engine, "run", "--rm", "--pull=never" if "none" not in arguments[0] else "--rm", *arguments)
    assert done.returncode == status, done.stderr
    assert words.encode() in done.stderr


def test_run_detached_with_everything(engine: Native, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    tmp_path.chmod(0o755)
    port = free_port()
    engine.cli(
        *("run", "-d", "--name", name, "-h", "web", "-e", "A=b", "-l", "team=shop", "-w", "/tmp", "-u", "1000:1000"),
        *("-p", f"127.0.0.1:{port}:8080", "-v", f"{tmp_path}:/host:ro", "-v", f"{name}:/data"),
        *("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--restart", "on-failure:2"),
        *("--read-only", "--tmpfs", "/run:size=1m,mode=1777"),
        *("--add-host", "db:10.9.8.7", "--dns", "10.9.8.6", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--ulimit", "nofile=64:128", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "--init"),
        *("--entrypoint", "sh", IMAGE, "-c", "httpd -f -p 8080 -h /host"),
    )
    inside = lines(
        engine.cli(
            "exec", name, "sh", "-c", "hostname; echo $A; pwd; id -u; cat /host/file; echo; ulimit -n; ulimit -Hn"
        )
    )
    assert inside == ["web", "b", "/tmp", "1000", "from the host", "64", "128"]
    assert "10.9.8.7\tdb" in engine.cli("exec", name, "cat", "/etc/hosts").replace(" ", "\t")
    assert "10.9.8.6" in engine.cli("exec", name, "cat", "/etc/resolv.conf")
    assert docker(engine, "exec", name, "touch", "/x").returncode == 1
    assert docker(engine, "exec", name, "touch", "/run/x").returncode == 0
    assert engine.cli("port", name) == f"8080/tcp -> 127.0.0.1:{port}\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/file", timeout=20) as fetched:
        assert fetched.read() == b"from the host"
    shown = json.loads(engine.cli("inspect", name))[0]
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["NanoCpus"] == 500_000_000
    assert shown["Config"]["Labels"]["team"] == "shop"
    engine.cli("volume", "rm", name, check=False)


# Looking


def test_ps_tells_and_filters(engine: Native, name: str) -> None:
    engine.cli("run", "-d", "--name", name, "-l", f"mark={name}", "-p", "80", IMAGE, "sleep", "1000")
    row = engine.cli(
        "ps", "--filter", f"label=mark={name}", "--format", "{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}"
    )
    assert row == f'{name}|{IMAGE}|"sleep 1000"|running\n'
    assert engine.cli("ps", "--filter", f"name={name}", "--format", "{{.Status}}").startswith("Up ")
    assert "->80/tcp" in engine.cli("ps", "--filter", f"name={name}", "--format", "{{.Ports}}")
    assert "virtual" in engine.cli("ps", "-s", "--filter", f"name={name}")
    engine.cli("stop", "-t", "0", name)
    assert engine.cli("ps", "-q", "--filter", f"name={name}") == ""
    assert engine.cli("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}").startswith("Exited (137)")
    assert engine.cli("ps", "-lq", "--no-trunc") == engine.cli("inspect", "-f", "{{.Id}}", name)


def test_logs_follow_tail_and_timestamps(engine: Native, name: str) -> None:
    script = (
        "for i in 1 2 3; do echo line $i; done; echo err >&2; while ! test -e /tmp/go; do usleep 20000; done; echo last"
    )
    engine.cli("run", "-d", "--name", name, IMAGE, "sh", "-c", script)
    eventually(lambda: "line 3" in engine.cli("logs", name))
    with terminal(engine, "logs", "-f", "--tail", "2", name) as follower:
        follower.until("err")
        engine.cli("exec", name, "touch", "/tmp/go")
        follower.until("last")
        assert follower.ended() == 0
    done = docker(engine, "logs", name)
    assert done.stdout == b"line 1\nline 2\nline 3\nlast\n"
    assert done.stderr == b"err\n"
    assert lines(engine.cli("logs", "-n", "1", name)) == ["last"]
    stamped = lines(engine.cli("logs", "-t", name))
    assert all(line[:2] == "20" and line[30:31] in ("Z ", "Z", " ") for line in stamped), stamped
    assert engine.cli("logs", "--since", "2000-01-01T00:00:00Z", name) == done.stdout.decode()
    assert engine.cli("logs", "--until", "2000-01-01T00:00:00Z", name) == ""


def test_top_stats_and_inspect(engine: Native, name: str) -> None:
    engine.cli("run", "-d", "--name", name, "--memory", "64m", IMAGE, "sleep", "1000")
    eventually(lambda: "sleep 1000" in engine.cli("top", name), what="its process has become the program")
    assert lines(engine.cli("top", name, "-o", "pid,comm"))[1].split()[1] == "sleep"
    used = engine.cli("stats", "--no-stream", "--format", "{{.Name}}|{{.MemUsage}}|{{.PIDs}}", name)
    assert used.startswith(f"{name}|")
    assert "/ 64MiB|1" in used
    assert "sleep" in engine.cli("inspect", "--format", "{{json .Config.Cmd}}", name)
    assert docker(engine, "inspect", "no-such-thing").returncode == 1
    assert engine.cli("inspect", "--size", "-f", "{{.SizeRootFs}}", name).strip().isdigit()


def test_events_as_they_come_and_as_they_came(engine: Native, name: str) -> None:
    filters = ("--filter", f"container={name}", "--format", "{{.Type}} {{.Action}}.")
    with terminal(engine, "events", "--since", f"{time.time():.9f}", *filters) as watcher:
        engine.cli("run", "--name", name, IMAGE, "sh", "-c", "exit 3", check=False)
        for action in ("create", "attach", "start", "die"):
            watcher.until(f"container {action}.")
        engine.cli("rm", name)
        watcher.until("container destroy.")
    past = engine.cli(
        "events",
        "--since",
        "10m",
        "--until",
        f"{time.time():.9f}",
        "--filter",
        f"container={name}",
        "--filter",
        "event=die",
    )
    assert "exitCode=3" in past


def test_info_version_and_disk_use(engine: Native) -> None:
    assert "Gantry" in engine.cli("version")
    assert engine.cli("info", "--format", "{{.Driver}} {{.OSType}}") == "overlay2 linux\n"
    assert "Images" in engine.cli("system", "df")
    assert IMAGE.partition(":")[0] in engine.cli("system", "df", "-v")


# Acting


def test_stop_start_restart_kill_pause_rename_update_wait(engine: Native, name: str) -> None:
    script = "trap 'exit 5' TERM; echo set; while :; do usleep 20000; done"
    engine.cli("run", "-d", "--name", name, IMAGE, "sh", "-c", script)
    eventually(lambda: engine.cli("logs", name) == "set\n", what="the trap is set")
    state = ("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)
    engine.cli("stop", name)
    assert engine.cli(*state) == "exited 5\n"
    engine.cli("start", name)
    engine.cli("pause", name)
    assert engine.cli(*state) == "paused 0\n"
    engine.cli("unpause", name)
    engine.cli("restart", "-t", "0", name)
    assert engine.cli(*state) == "running 0\n"
    engine.cli("update", "--memory", "64m", "--memory-swap", "64m", "--restart", "no", name)
    assert engine.cli("inspect", "-f", "{{.HostConfig.Memory}}", name) == f"{64 << 20}\n"
    with terminal(engine, "wait", name) as waiting:
        engine.cli("kill", "-s", "KILL", name)
        waiting.until("137")
        assert waiting.ended() == 0
    engine.cli("rename", name, f"{name}-new")
    assert docker(engine, "inspect", name).returncode == 1
    engine.cli("rename", f"{name}-new", name)
    done = docker(engine, "rm", "no-such-container")
    assert done.returncode == 1
    assert b"No such container" in done.stderr


def test_exec_in_all_its_forms(engine: Native, name: str) -> None:
    engine.cli("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    options = ("-i", "-e", "A=b", "-w", "/etc", "-u", "1000")
    script = "cat; echo $A $PWD; id -u; exit 9"
    done = docker(engine, "exec", *options, name, "sh", "-c", script, input=b"in\n")
    assert (done.returncode, done.stdout) == (9, b"in\nb /etc\n1000\n")
    assert docker(engine, "exec", name, "no-such").returncode == 126
    with terminal(engine, "exec", "-it", name, "sh") as shell:
        shell.until("# ")
        eventually(lambda: _size(shell) == "24 80")  # Docker's command line tells it after the start
        shell.type("exit 6\n")
        assert shell.ended() == 6
    engine.cli("exec", "-d", name, "touch", "/tmp/detached")
    eventually(lambda: docker(engine, "exec", name, "test", "-e", "/tmp/detached").returncode == 0)


def test_cp_both_ways_diff_and_commit(engine: Native, name: str, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_text("copied")
    engine.cli("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    engine.cli("cp", str(tmp_path / "in"), f"{name}:/opt")
    assert engine.cli("exec", name, "cat", "/opt/deep/file") == "copied"
    engine.cli("cp", f"{name}:/opt/deep/file", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "copied"
    assert engine.cli("cp", f"{name}:/opt/deep", "-")[:4] == "deep"
    assert docker(engine, "cp", f"{name}:/no-such", str(tmp_path)).returncode == 1
    assert "A /opt/deep/file" in lines(engine.cli("diff", name))
    engine.cli("commit", "-m", "a test", "-c", 'CMD ["cat", "/opt/deep/file"]', name, f"gantry/{name}:2")
    assert engine.cli("run", "--rm", f"gantry/{name}:2") == "copied"
    engine.cli("rmi", f"gantry/{name}:2")


# Images


def test_images_tag_history_rmi(engine: Native, name: str) -> None:
    engine.cli("tag", IMAGE, f"gantry/{name}:x")
    assert engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}", f"gantry/{name}") == f"gantry/{name}:x\n"
    assert engine.cli("images", "-q", "--no-trunc", f"gantry/{name}").startswith("sha256:")
    assert "layer 0" in engine.cli("history", "--no-trunc", IMAGE)
    assert "Untagged" in engine.cli("rmi", f"gantry/{name}:x")
    done = docker(engine, "rmi", f"gantry/{name}:x")
    assert done.returncode == 1
    assert b"No such image" in done.stderr
    engine.cli("create", "--name", name, IMAGE)
    assert b"in use" in docker(engine, "rmi", IMAGE).stderr or b"using" in docker(engine, "rmi", IMAGE).stderr


def test_save_and_load_export_and_import(engine: Native, name: str, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    engine.cli("tag", IMAGE, f"gantry/{name}:s")
    engine.cli("save", "-o", str(archive), f"gantry/{name}:s")
    engine.cli("rmi", f"gantry/{name}:s")
    assert f"Loaded image: gantry/{name}:s" in engine.cli("load", "-i", str(archive))
    engine.cli("run", "--name", name, IMAGE, "sh", "-c", "echo kept > /kept")
    engine.cli("export", "-o", str(tmp_path / "tree.tar"), name)
    engine.cli("import", "-c", 'CMD ["cat", "/kept"]', str(tmp_path / "tree.tar"), f"gantry/{name}:i")
    assert engine.cli("run", "--rm", f"gantry/{name}:i") == "kept\n"
    engine.cli("rmi", f"gantry/{name}:s", f"gantry/{name}:i")


def test_login_push_pull_and_logout(engine: Native, name: str) -> None:
    need(Registry.why_not())
    with Registry(users={"ann": "secret"}) as registry:
        reference = registry.reference(f"gantry/{name}") + ":1"
        engine.cli("tag", IMAGE, reference)
        assert docker(engine, "push", reference).returncode == 1
        wrong = docker(engine, "login", "-u", "ann", "--password-stdin", registry.address, input=b"wrong")
        assert wrong.returncode == 1
        assert "Succeeded" in engine.cli("login", "-u", "ann", "--password-stdin", registry.address, input=b"secret")
        assert "digest: sha256:" in engine.cli("push", reference)
        engine.cli("rmi", reference)
        pulled = engine.cli("pull", reference)
        assert "Digest: sha256:" in pulled
        assert f"Status: Downloaded newer image for {reference}" in pulled
        assert "Image is up to date" in engine.cli("pull", reference)
        assert engine.cli("run", "--rm", reference, "echo", "pulled") == "pulled\n"
        engine.cli("logout", registry.address)
        engine.cli("rmi", reference)
        missing = docker(engine, "pull", registry.reference("gantry/none") + ":1")
        assert missing.returncode == 1


def test_search_without_a_hub_says_so(engine: Native) -> None:
    done = docker(engine, "search", "127.0.0.1:1/busybox")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error response from daemon")


# Networks and volumes


def test_networks_by_name(engine: Native, name: str) -> None:
    network = f"{name}-net"
    try:
        engine.cli("network", "create", "--label", "a=b", network)
        assert network in engine.cli("network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}")
        engine.cli("run", "-d", "--name", name, "--network", network, "--network-alias", "web", IMAGE, "httpd", "-f")
        for wanted in (name, "web"):
            ping = ("run", "--rm", "--network", network, IMAGE, "ping", "-c", "1", "-W", "5", wanted)
            eventually(lambda ping=ping: b"1 packets received" in docker(engine, *ping).stdout, timeout=20)
        assert name in engine.cli("network", "inspect", "-f", "{{json .Containers}}", network)
        assert docker(engine, "network", "rm", network).returncode == 1
        engine.cli("network", "connect", "bridge", name)
        addresses = engine.cli("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name)
        assert len(addresses.split()) == 2
        engine.cli("network", "disconnect", "bridge", name)
        engine.cli("rm", "-f", name)
        engine.cli("network", "rm", network)
        assert network not in engine.cli("network", "ls")
    finally:
        engine.cli("rm", "-f", name, check=False)
        engine.cli("network", "rm", network, check=False)
    engine.cli("network", "create", network)
    assert network in engine.cli("network", "prune", "-f")


def test_other_network_modes(engine: Native, name: str) -> None:
    engine.cli("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    assert "eth0" not in engine.cli("exec", name, "ip", "address")
    shared = engine.cli("run", "--rm", "--network", f"container:{name}", IMAGE, "ls", "/sys/class/net")
    assert "eth0" not in shared
    mine = subprocess.run(["ls", "/proc/sys/net/ipv4/conf"], capture_output=True, text=True, check=True).stdout
    host = engine.cli("run", "--rm", "--network", "host", IMAGE, "ls", "/proc/sys/net/ipv4/conf")
    assert {"all", "lo", "eth0"} & set(host.split()) == {"all", "lo", "eth0"} & set(mine.split())


def test_volumes_by_name(engine: Native, name: str) -> None:
    engine.cli("volume", "create", "--label", "a=b", name)
    engine.cli("run", "--rm", "-v", f"{name}:/data", IMAGE, "sh", "-c", "echo kept > /data/file")
    assert (
        engine.cli("run", "--rm", "--mount", f"type=volume,src={name},dst=/d,readonly", IMAGE, "cat", "/d/file")
        == "kept\n"
    )
    assert name in engine.cli("volume", "ls", "-q", "--filter", "dangling=true")
    assert engine.cli("volume", "inspect", "-f", "{{.Driver}} {{.Labels.a}}", name) == "local b\n"
    engine.cli("create", "--name", name, "-v", f"{name}:/data", IMAGE)
    assert b"in use" in docker(engine, "volume", "rm", name).stderr
    engine.cli("rm", name)
    engine.cli("volume", "rm", name)
    assert "Total reclaimed space" in engine.cli("volume", "prune", "-f")


# Health and pruning


def test_health_is_told(engine: Native, name: str) -> None:
    engine.cli(
        *("run", "-d", "--name", name, "--health-cmd", "test -e /tmp/ok", "--health-interval", "200ms"),
        *("--health-retries", "1", IMAGE, "sleep", "1000"),
    )
    health = ("inspect", "-f", "{{.State.Health.Status}}", name)
    eventually(lambda: engine.cli(*health) == "unhealthy\n")
    engine.cli("exec", name, "touch", "/tmp/ok")
    eventually(lambda: engine.cli(*health) == "healthy\n")
    assert "(healthy)" in engine.cli("ps", "--filter", "health=healthy", "--filter", f"name={name}")


def test_prune_frees_what_nobody_uses(engine: Native, name: str) -> None:
    engine.cli("run", "--name", name, IMAGE, "true")
    kept = engine.cli("inspect", "-f", "{{.Id}}", name).strip()
    assert kept in engine.cli("container", "prune", "-f")
    assert "Total reclaimed space" in engine.cli("image", "prune", "-f")
    assert "Total reclaimed space" in engine.cli("system", "prune", "-f")
    assert IMAGE in engine.cli("images", "--format", "{{.Repository}}:{{.Tag}}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["swarm", "init"], "no swarm"),
        (["node", "ls"], "no nodes"),
        (["service", "ls"], "no services"),
        (["secret", "ls"], "no secrets"),
        (["config", "ls"], "no configs"),
        (["plugin", "ls"], "no plugins"),
    ],
)
def test_what_it_has_not_is_said_in_words(engine: Native, arguments: list[str], words: str) -> None:
    done = docker(engine, *arguments)
    assert done.returncode == 1
    assert words.encode() in done.stderr


def test_inspect_says_that_nothing_has_the_name(engine: Native) -> None:
    done = docker(engine, "inspect", "no-such")
    assert done.returncode == 1
    assert b"no such object: no-such" in done.stderr.lower()


def test_a_build_is_asked_for_in_the_classic_way(engine: Native, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built here\n")
    command = ["docker", "-H", f"unix://{engine.socket}", "build", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, timeout=60, check=True, env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin"}
    )
    assert b"built here" in done.stdout
