"""The pure parts of a build: names, masks, steps read from an engine's words, addresses, schedules, pictures."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from controlplane.lib.errors import InvalidArgument
from images.builds import addresses, cloning, naming, schedules
from images.builds.dockerfile import read
from images.builds.masking import MASK, Mask
from images.builds.models import Build
from images.builds.picture import draw
from images.builds.steps import Steps, line_of

ASKED = datetime(2026, 11, 29, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("shop/web:{branch}-{n}", "shop/web:feature-x-7"),
        ("r.example:5000/web:{sha}", "r.example:5000/web:0123456789ab"),
        ("web:{date}", "web:20261129"),
        ("web", "web"),
    ],
)
def test_a_tag_is_filled_in(template: str, name: str) -> None:
    filled = naming.fill(template, branch="feature/x", sha="0123456789abcdef" * 2, asked=ASKED, number=7)
    assert filled.removesuffix(":latest") == name


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("web:{when}", "found {when}"),
        ("web:{branch}", "has none"),
        ("Web:1", "lower"),
        ("web@sha256:" + "0" * 64, "digest"),
    ],
)
def test_a_tag_that_cannot_be_is_refused(template: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        naming.fill(template, asked=ASKED, number=1)


def test_a_secret_is_masked_however_it_was_written() -> None:
    secret = "s3cr/t+pass phrase"
    mask = Mask([secret, "abc", "-----BEGIN KEY-----\nAAAABBBB\n-----END KEY-----\n"])
    encoded = base64.b64encode(secret.encode()).decode()
    text = f"a {secret} b {encoded} c s3cr%2Ft%2Bpass%20phrase d AAAABBBB e abc"
    assert mask(text) == f"a {MASK} b {MASK}{'=' * encoded.count('=')} c {MASK} d {MASK} e abc"


DOCKER = """\
Step 1/4 : FROM busybox AS one
 ---> 0123
Step 2/4 : RUN make all
 ---> Using cache
 ---> 4567
Step 3/4 : FROM scratch
 --->
Step 4/4 : COPY --from=one /x /x
doing\rdone
Successfully built 89ab
"""
PODMAN = """\
[1/2] STEP 1/2: FROM busybox AS one
[1/2] STEP 2/2: RUN make all
--> Using cache 4567
--> 4567
[2/2] STEP 1/2: FROM scratch
[2/2] STEP 2/2: COPY --from=one /x /x
done
COMMIT x
"""
FILE = "FROM busybox AS one\nRUN make \\\n all\nFROM alpine AS unneeded\nFROM scratch\nCOPY --from=one /x /x\n"


@pytest.mark.parametrize("words", [DOCKER, PODMAN])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_steps_are_read_from_an_engines_words(words: str, size: int) -> None:
    said: list[tuple[str, str]] = []
    now = iter(range(1000))
    steps = Steps(read(FILE), lambda text, stream: said.append((stream, text)), clock=lambda: next(now))
    for at in range(0, len(words), size):
        steps.feed(words[at : at + size])
    steps.end()
    found = [(s.key, s.stage, s.line, s.state) for s in steps.steps]
    assert found == [("1", 0, 1, "built"), ("2", 0, 2, "cached"), ("3", 2, 5, "built"), ("4", 2, 6, "built")]
    assert ("stdout", "done") in said
    assert [text.split("\t")[0] for stream, text in said if stream == "step"] == ["1", "2", "3", "4"]
    assert [text.split("\t")[:2] for stream, text in said if stream == "done"] == [
        ["1", "built"],
        ["2", "cached"],
        ["3", "built"],
        ["4", "built"],
    ]


def test_a_line_without_an_end_is_cut_into_pieces() -> None:
    said: list[str] = []
    steps = Steps(read(""), lambda text, stream: said.append(text))
    for _ in range(100):
        steps.feed("x" * 10_000)
    steps.end("failed")
    assert sum(map(len, said)) == 1_000_000
    assert max(map(len, said)) <= 8000


def test_what_a_program_prints_is_no_step() -> None:
    said: list[tuple[str, str]] = []
    steps = Steps(read(FILE), lambda text, stream: said.append((stream, text)))
    steps.feed("Step 1/4 : FROM busybox AS one\nStep 2/4 : RUN make all\n")
    steps.feed("Step 1: Installing things\nStep 3/9 : COPY nothing here\n ---> Using cache\n")
    steps.end("failed")
    assert [(step.text, step.state) for step in steps.steps] == [
        ("FROM busybox AS one", "built"),
        ("RUN make all", "failed"),
    ]
    assert ("stdout", "Step 1: Installing things") in said


@pytest.mark.parametrize("before", [7990, 7999, 8000, 15_990, 60_000])
def test_a_secret_is_masked_wherever_a_long_line_is_cut(before: int) -> None:
    said: list[str] = []
    steps = Steps(read(""), lambda text, stream: said.append(text), mask=Mask(["s3cr3t-value-0123456789"]))
    for piece in ("x" * before, "s3cr3t-value-", "0123456789", " tail\n"):
        steps.feed(piece)
    steps.end()
    assert "".join(said) == "x" * before + MASK + " tail"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("dockerfile parse error line 3: unknown instruction: CPY", 3),
        ("Dockerfile:12: RUN: no", 12),
        ("The command '/bin/sh -c false' returned a non-zero code: 1", 0),
    ],
)
def test_the_line_of_an_error(error: str, line: int) -> None:
    assert line_of(error) == line


@pytest.mark.parametrize(
    ("text", "url", "host", "port"),
    [
        ("https://git.example/a/b.git", "https://git.example/a/b.git", "git.example", 443),
        ("http://git.example:3000/a", "http://git.example:3000/a", "git.example", 3000),
        ("git@git.example:a/b.git", "ssh://git@git.example/a/b.git", "git.example", 22),
        ("ssh://me@git.example:2222/a", "ssh://me@git.example:2222/a", "git.example", 2222),
        ("git://git.example/a", "git://git.example/a", "git.example", 9418),
    ],
)
def test_a_git_address_is_taken_apart(text: str, url: str, host: str, port: int) -> None:
    found = addresses.parse(text)
    assert (found.url, found.host, found.port) == (url, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file:///etc",
        "/etc/passwd",
        "../x",
        "ext::sh -c id",
        "ext::ssh://x/y",
        "--upload-pack=id",
        "https://-x/y",
        "ssh://-oProxyCommand=id/x",
        "https://u:p@git.example/a",
        "https://u@git.example/a",
        "https://git.example/a#main",
        "https://git.example/a?x",
        "https://git.example",
        "ftp://git.example/a",
        "https://git.example/a\nb",
        "git@-oProxyCommand=id:x",
        "https://[::1/a",
        "fd::17",
        "https://bücher.example/a",
    ],
)
def test_what_is_no_git_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        addresses.parse(text)


@pytest.mark.parametrize(
    ("ip", "may"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("10.1.2.3", True),
        ("192.168.0.9", True),
        ("93.184.216.34", True),
    ],
)
def test_own_and_link_local_addresses_are_closed(ip: str, may: bool) -> None:
    assert addresses.may_fetch(ip) is may


def test_a_network_can_be_opened(settings: object) -> None:
    settings.GIT_NETWORKS = ["127.0.0.0/8"]  # type: ignore[attr-defined]
    assert addresses.may_fetch("127.0.0.1")
    assert not addresses.may_fetch("169.254.169.254")


def test_a_submodule_beside_its_parent() -> None:
    base = "https://git.example/team/app.git"
    assert addresses.beside(base, "../lib.git").url == "https://git.example/team/lib.git"
    assert addresses.beside(base, "https://other.example/x").url == "https://other.example/x"
    for text in ("file:///etc", "/etc", "ext::id", "-x"):
        with pytest.raises(InvalidArgument):
            addresses.beside(base, text)


@pytest.mark.parametrize("ref", ["-x", "a..b", "a b", "a@{1}", "x" * 300, "a\nb", "--upload-pack=id"])
def test_a_ref_cannot_be_an_option(ref: str) -> None:
    with pytest.raises(InvalidArgument):
        cloning.check_ref(ref)


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../../b", "a\0b"])
def test_a_folder_stays_inside(folder: str) -> None:
    with pytest.raises(InvalidArgument):
        cloning.check_folder(folder)


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("30 3 * * 1-5", datetime(2026, 11, 30, 3, 30, tzinfo=UTC)),
        ("*/10 * * * *", datetime(2026, 11, 29, 10, 10, tzinfo=UTC)),
        ("0 0 1 1 *", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_next_time_of_a_schedule(text: str, then: datetime) -> None:
    assert schedules.next_time(text, ASKED) == then


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "0 0 31 2 *", "x * * * *", "@daily"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        schedules.next_time(text, ASKED)


def test_the_picture_puts_who_waits_to_the_right() -> None:
    file = read("FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nFROM scratch\nCOPY --from=one / /\nCOPY --from=two / /\n")
    build = Build(stages=[stage.as_json() for stage in file.stages])
    build.steps = [
        {"key": "1", "stage": 0, "text": "FROM a AS one", "line": 1, "state": "built", "seconds": 0.1},
        {"key": "2", "stage": 0, "text": "RUN x", "line": 2, "state": "cached", "seconds": 0.1},
        {"key": "3", "stage": 1, "text": "FROM b AS two", "line": 3, "state": "failed", "seconds": 2},
    ]
    found = draw(build)
    one, two, last = found.cards
    assert (one.x, two.x) == (0, 0)
    assert last.x > one.x
    assert two.y > one.y
    assert [card.state for card in found.cards] == ["cached", "failed", "waiting"]
    assert [row["key"] for row in one.rows] == ["1", "2"]
    assert len(found.edges) == 2
