"""Builds that fail, are cut off or ask for too much: a clear error with its place, and nothing half-made."""

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from tests.engine.builder.building import BASE, Background, Built, build, context, send
from tests.engine.builder.leavings import nothing_left, settled
from tests.engine.tars import entry, hard_link, symlink, tar_of
from tests.support.engines import Native, unique
from tests.support.images import busybox
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("dockerfile", "status", "words"),
    [
        ("FROM base:1\nCOPPY a b\n", 400, ["line 2", "unknown instruction: COPPY", "did you mean COPY"]),
        ("", 400, ["Dockerfile", "empty"]),
        ("RUN true\n", 400, ["line 1", "before the first FROM"]),
        ("FROM base:1 AS app\nFROM base:1\nCOPY --from=ap x y\nRUN --mont=a b\n", 400, ["line 4", "--mont"]),
        ("FROM base:1\nCOPY --from=3 x y\n", 400, ["line 2", "invalid stage index 3"]),
        ("FROM base:1\nCOPY confg.ini /\n", 200, ["Dockerfile:2: COPY", "confg.ini", "did you mean config.ini"]),
        ("FROM base:1\nRUN echo out; exit 7\n", 200, ["Dockerfile:2: RUN", "exit 7", "non-zero code: 7"]),
        ("FROM base:1\nRUN [\"nope\"]\n", 200, ["Dockerfile:2: RUN", "nope", "not found"]),
        ("FROM base:1\nUSER nobody-here\nRUN true\n", 200, ["Dockerfile:3: RUN", "nobody-here"]),
        ("FROM base:1\nCOPY --chown=nobody-here config.ini /\n", 200, ["Dockerfile:2: COPY", "nobody-here"]),
        ("FROM base:1\nCOPY config.ini /bin/busybox/x\n", 200, ["Dockerfile:2: COPY", "non-directory"]),
        ("FROM base:1\nRUN --mount=type=secret,id=a,required true\n", 200, ["Dockerfile:2", "secret a: not found"]),
        ("FROM base:1\nRUN --mount=type=bind,source=nope,target=/x true\n", 200, ["nope", "no such file"]),
        ("FROM 127.0.0.1:1/no/such:1\n", 200, ["Dockerfile:1: FROM", "127.0.0.1:1"]),
        ("FROM base:1\nADD file:///etc/shadow /\n", 200, ["Dockerfile:2: ADD", "http"]),
        ("FROM base:1\nADD ext::sh%20-c%20true /\n", 200, ["Dockerfile:2: ADD"]),
        ("FROM scratch\n", 200, ["No image was generated"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(engine: Native, dockerfile: str, status: int, words: list[str]) -> None:
    before = settled(engine)
    built = build(engine, dockerfile, {"config.ini": "a=1\n"})
    assert built.status == status, built.error
    for word in words:
        assert word in built.error, built.error
    nothing_left(engine, before)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("0", "circular dependency detected on stage: stage-0"),
        ("1", "invalid stage index 1: the last one is 0"),
    ],
)
def test_triggers_that_copy_from_themselves_or_nothing_are_refused(engine: Native, source: str, message: str) -> None:
    build(engine, f"FROM {BASE}\nONBUILD COPY --from={source} /a /b\n", t="lost:1")
    before = settled(engine)
    built = build(engine, "FROM lost:1\n")
    assert (built.status, built.error) == (400, f"ONBUILD: dockerfile parse error on line 1: {message}")
    nothing_left(engine, before)


def test_no_dockerfile_no_archive_no_context(engine: Native) -> None:
    assert "Cannot locate specified Dockerfile: Dockerfile" in send(engine, tar_of([entry("a", b"")])).error
    assert "nope/Dockerfile" in send(engine, tar_of([entry("a", b"")]), dockerfile="nope/Dockerfile").error
    assert "no tar archive" in send(engine, b"this is no archive" * 100).error
    assert "no build context" in send(engine, b"").error
    assert send(engine, b"", target="x").status == 400


def test_a_failed_command_tells_its_code(engine: Native) -> None:
    built = build(engine, f"FROM {BASE}\nRUN exit 3\n")
    assert built.lines[-1]["errorDetail"]["code"] == 3


def test_a_client_that_goes_ends_the_step_and_leaves_nothing(engine: Native) -> None:
    before = settled(engine)
    building = Background(engine, f"FROM {BASE}\nRUN echo 1 > /{unique()}\nRUN echo begun; sleep 98761\n")
    eventually(lambda: "begun" in building.text, what="the step runs")
    building.cut()
    nothing_left(engine, before)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x0098761" in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_an_engine_killed_in_a_step_forgets_it(engine: Native) -> None:
    before = settled(engine)
    dockerfile = f"FROM {BASE}\nRUN --mount=type=cache,target=/c echo begun; sleep 98762\n"
    building = Background(engine, dockerfile)
    eventually(lambda: "begun" in building.text, what="the step runs")
    engine.kill()
    building.end()
    engine.start()
    nothing_left(engine, before)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x0098762" in _read(path)]


def test_a_flood_of_output_grows_neither_the_engine_nor_stops_it(engine: Native) -> None:
    """The client reads on; what it has not read yet is bounded."""
    assert engine.process
    built = build(engine, f"FROM {BASE}\nRUN yes 0123456789012345678901234567890123456789 | head -c 60000000\n")
    assert len(built.text) > 60_000_000
    peak = Path(f"/proc/{engine.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) < 200_000, "kB"


@pytest.mark.timeout(600)
def test_five_gigabytes_of_output_are_refused_with_their_place(engine: Native) -> None:
    """Far more than can be passed on while it is printed. Read bit by bit: it need not be in memory here either."""
    assert engine.process
    before = settled(engine)
    connection = UnixConnection(engine.socket, 120)
    dockerfile = f"FROM {BASE}\nRUN yes 0123456789 | head -c 5000000000\n"
    connection.request("POST", "/build", context({"Dockerfile": dockerfile}))
    response, end = connection.getresponse(), b""
    while data := response.read(1 << 20):
        end = (end + data)[-1000:]
    connection.close()
    error = json.loads(end.splitlines()[-1])["error"]
    assert error.startswith("Dockerfile:2: RUN: the command prints faster than it can be passed on")
    nothing_left(engine, before)
    peak = Path(f"/proc/{engine.process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    assert int(peak) < 200_000, "kB"


@pytest.mark.timeout(600)
def test_a_kept_container_that_printed_too_much_is_stopped(engine: Native) -> None:
    before = str(settled(engine)["containers"])
    connection = UnixConnection(engine.socket, 120)
    connection.request("POST", "/build?rm=0", context({"Dockerfile": f"FROM {BASE}\nRUN yes 0123456789\n"}))
    response, end = connection.getresponse(), b""
    while data := response.read(1 << 20):
        end = (end + data)[-1000:]
    connection.close()
    assert b"prints faster than it can be passed on" in end
    kept = [each for each in engine.expect("GET", "/containers/json", all="true") if each["Id"] not in before]
    assert [each["State"] for each in kept] == ["exited"]
    engine.expect("DELETE", f"/containers/{kept[0]['Id']}")


@pytest.mark.parametrize("path", ["../../etc/shadow", "/../etc/shadow", "a/../../../etc/shadow"])
def test_the_context_is_not_left_by_dots(engine: Native, path: str) -> None:
    assert "outside the build context" in build(engine, f"FROM {BASE}\nCOPY {path} /x\n", {"a/f": ""}).error


def test_links_in_the_context_lead_nowhere_else(engine: Native, tmp_path: Path) -> None:
    """Links to the host's files, relative and absolute, as sources, on the way, and as the Dockerfile."""
    secret = tmp_path / "secret"
    secret.write_text("HOSTSECRET")
    up = "../" * 30
    members = [
        symlink("absolute", str(secret)),
        symlink("relative", f"{up}{secret}"),
        symlink("folder", str(tmp_path)),
        symlink("Dockerfile.link", str(secret)),
        entry("Dockerfile", f"FROM {BASE}\nCOPY {{}} /x\n".encode()),
    ]
    for source in ("absolute", "relative", "folder/secret", "folder/"):
        members[-1] = entry("Dockerfile", f"FROM {BASE}\nCOPY {source} /x\n".encode())
        assert "no such file" in send(engine, tar_of(members)).error, source
    assert "Cannot locate" in send(engine, tar_of(members), dockerfile="Dockerfile.link").error
    mounts = f"FROM {BASE}\nRUN --mount=type=bind,source=folder,target=/x ls /x\n"
    members[-1] = entry("Dockerfile", mounts.encode())
    built = send(engine, tar_of(members))
    assert "no such file" in built.error
    assert "secret" not in built.text


@pytest.mark.parametrize("kind", [tarfile.BLKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_device_in_the_context_is_no_way_to_the_hosts(engine: Native, kind: bytes) -> None:
    """The disk that the host's root is on. A folder is copied with the nodes in it, as Docker copies it."""
    disk = os.stat("/").st_dev
    node = entry("node", type=kind, mode=0o666, devmajor=os.major(disk), devminor=os.minor(disk))

    def built(*lines: str) -> Built:
        return send(engine, tar_of([entry("Dockerfile", "\n".join((f"FROM {BASE}", *lines)).encode()), node]))

    for word in ("COPY", "ADD"):
        assert built(f"{word} node /x").error == f"Dockerfile:2: {word}: node is neither a file nor a folder"
    if kind != tarfile.FIFOTYPE:
        refused = re.compile("not permitted|Permission denied")
        opens = "dd of=/dev/null count=1"
        found = built(f"RUN --mount=type=bind,target=/c {opens} if=/c/node")
        assert found.error.startswith("Dockerfile:2: RUN: ")
        assert refused.search(found.text), found.text
        found = built("COPY . /all/", f"RUN {opens} if=/all/node")
        assert found.error.startswith("Dockerfile:3: RUN: ")
        assert refused.search(found.text), found.text
    assert "is no file" in send(engine, tar_of([entry("Dockerfile", type=kind)])).error


def test_a_context_cannot_write_beside_itself(engine: Native, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for members in (
        [entry(f"{'../' * 30}{outside}", b"x")],
        [symlink("out", str(tmp_path)), entry("out/outside", b"x")],
        [hard_link("h", "/etc/shadow")],
    ):
        send(engine, tar_of([entry("Dockerfile", f"FROM {BASE}\n".encode()), *members]))
        assert not outside.exists()


def test_links_of_the_image_are_followed_inside_it(engine: Native, tmp_path: Path) -> None:
    """The destination's link leads to a folder of the host only in name; WORKDIR too (CVE-2026-55686)."""
    before = sorted(os.listdir(tmp_path))
    dockerfile = (
        f"FROM {BASE}\nRUN ln -s {tmp_path} /out && ln -s {'../' * 20}{tmp_path}/deep /w\n"
        "COPY f /out/copied\nADD f /w/added\nWORKDIR /w/x\nRUN touch here\n"
    )
    image = build(engine, dockerfile, {"f": "1"}).image
    assert sorted(os.listdir(tmp_path)) == before
    found = engine.cli("run", "--rm", "--network=none", image, "find", str(tmp_path))
    assert set(found.split()) >= {f"{tmp_path}/copied", f"{tmp_path}/deep/added", f"{tmp_path}/deep/x/here"}


def test_secrets_are_seen_by_their_step_alone(engine: Native) -> None:
    """In no layer, no history, no log, no database and no folder of the engine afterwards."""
    import base64

    secret = f"S{unique()}{unique()}".replace("-", "")
    header = base64.b64encode(json.dumps({"key": base64.b64encode(secret.encode()).decode()}).encode()).decode()
    dockerfile = (
        f"FROM {BASE}\nRUN --mount=type=secret,id=key wc -c < /run/secrets/key > /length\n"
        "RUN --mount=type=secret,id=key,target=/etc/key,mode=0444,uid=7 stat -c %a-%u /etc/key\n"
        "RUN --mount=type=secret,id=key,env=PATH_KEY test ! -e /run/secrets/key && echo ${#PATH_KEY} in a variable\n"
        "RUN --mount=type=secret,id=key,env=HOME,target=/k test $HOME = $(cat /k)\n"
        "RUN --mount=type=secret,id=other,env=NONE echo ${NONE-unset}, $(env | grep -c KEY) more\n"
    )
    built = build(engine, dockerfile, headers={"X-Gantry-Build-Secrets": header})
    assert engine.cli("run", "--rm", "--network=none", built.image, "cat", "/length").strip() == str(len(secret))
    for words in ("444-7", f"{len(secret)} in a variable", "unset, 0 more"):
        assert words in built.text
    saved = engine.folder / "saved.tar"
    engine.cli("save", "-o", str(saved), built.image)
    needle = secret.encode()
    settled(engine)
    for path in (saved, engine.log, *(each for each in engine.root.rglob("*") if each.is_file())):
        assert needle not in path.read_bytes(), path
    assert not any(needle in _read(path) for path in engine.run_folder.rglob("*") if path.is_file())


def test_a_name_that_looks_like_a_secret_is_warned_of(engine: Native) -> None:
    text = build(engine, f"FROM {BASE}\nARG DB_PASSWORD\nENV A=1\n").text
    assert "Dockerfile:2: ARG DB_PASSWORD looks like a secret" in text
    assert text.count("[Warning]") == 1


def test_fetching_is_for_public_addresses_unless_configured() -> None:
    with Native() as plain:
        for address in ("http://127.0.0.1:1/f", "http://169.254.169.254/latest", "http://[::1]/f", "http://10.0.0.1/f"):
            built = build(plain, f"FROM scratch\nADD {address} /f\n")
            assert "no public address" in built.error, (address, built.error)


def test_a_step_that_forks_for_ever_fails_alone() -> None:
    with Native(build_pids_limit=60) as small:
        small.load(busybox().archive(BASE))
        before = settled(small)
        built = build(small, f"FROM {BASE}\nRUN while true; do sleep 1000 & done\n")
        assert "can't fork" in built.text
        assert "Dockerfile:2: RUN" in built.error
        nothing_left(small, before)
        assert build(small, f"FROM {BASE}\nRUN for n in 1 2 3 4 5 6 7 8 9; do sleep 0 & done; wait\n").error == ""
