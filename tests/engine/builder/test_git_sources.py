"""Git repositories as contexts and as sources of ADD: by real git from a real server, and what a hostile one gains."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.engine.builder.building import BASE, Built, build, send
from tests.engine.builder.leavings import settled
from tests.engine.builder.repositories import GitServer, Repository
from tests.support.engines import Native, unique
from tests.support.images import busybox, busybox_why_not
from tests.support.unixhttp import UnixConnection
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.root


class Configured(Native):
    """An engine in whose environment git has a hook configured: one that leaves a mark."""

    @property
    def hooks(self) -> dict[str, str]:
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": str(self.folder / "hooks"),
        }

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    def environment(self) -> dict[str, str]:
        hook = self.folder / "hooks/post-checkout"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {self.mark}\n")
        hook.chmod(0o755)
        return {**super().environment(), **self.hooks}


@pytest.fixture(scope="module")
def engine() -> Iterator[Configured]:
    need(Native.why_not(), busybox_why_not())
    with Configured(build_fetches="any", max_layer_entries=20_000) as engine:
        engine.load(busybox().archive(BASE))
        yield engine


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served") as server:
        yield server


@pytest.fixture
def shop(server: GitServer) -> Repository:
    """Two commits on main, a tag between, a branch; a Dockerfile that tells what it sees."""
    shop = server.repository("shop")
    dockerfile = f"FROM {BASE}\nCOPY . /src\nRUN find /src | sort; cat /src/f\n"
    shop.commit({"Dockerfile": dockerfile, "f": "first\n", "sub/Dockerfile": dockerfile, "sub/f": "below\n"})
    shop.git("tag", "--annotate", "--message=one", "v1")
    shop.git("branch", "old")
    (shop.folder / "run").write_text("#!/bin/sh\n")
    (shop.folder / "run").chmod(0o755)
    (shop.folder / "link").symlink_to("/etc/passwd")
    shop.commit({"f": "second\n"})
    return shop


def remote(engine: Native, address: str, **query: object) -> Built:
    return send(engine, b"", remote=address, nocache=1, **query)  # type: ignore[arg-type]


def added(engine: Native, *arguments: str, headers: dict[str, str] | None = None, **query: object) -> Built:
    """ADD, and a look at what came."""
    look = "RUN cd /src && find . -path ./.git -prune -o -exec stat -c '%n %a %u:%g %F' {} + | sort; cat f"
    dockerfile = f"FROM {BASE}\nADD {' '.join(arguments)} /src\n{look}\n"
    return build(engine, dockerfile, headers=headers or {}, **query)  # type: ignore[arg-type]


def secrets(**values: str) -> dict[str, str]:
    found = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"X-Gantry-Build-Secrets": base64.b64encode(json.dumps(found).encode()).decode()}


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("", "second"),
        ("#main", "second"),
        ("#old", "first"),
        ("#v1", "first"),
        ("#refs/heads/old", "first"),
        ("#main:sub", "below"),
        ("#:sub", "below"),
        ("#:/sub/", "below"),
    ],
)
def test_remote_is_a_repository_at_a_ref_and_a_folder(
    engine: Native, server: GitServer, shop: Repository, fragment: str, said: str
) -> None:
    built = remote(engine, f"{server.url}/shop.git{fragment}")
    assert f"\n{said}\n" in built.text, built.error
    assert "/src/.git" not in built.text


def test_a_commit_is_a_ref_whole_or_short_and_though_no_branch_leads_to_it(
    engine: Native, server: GitServer, shop: Repository
) -> None:
    first = shop.git("rev-parse", "v1^{commit}")
    lost = shop.commit({"f": "lost\n"})
    shop.git("reset", "--quiet", "--hard", "HEAD~1")
    assert "\nfirst\n" in remote(engine, f"{server.url}/shop.git#{first}").text
    assert "\nfirst\n" in remote(engine, f"{server.url}/shop.git#{first[:8]}").text
    assert "\nlost\n" in remote(engine, f"{server.url}/shop.git#{lost}").text


def test_git_s_own_protocol(engine: Native, server: GitServer, shop: Repository) -> None:
    port = free_port()
    command = ["git", "daemon", "--export-all", "--reuseaddr", f"--interpolated-path={server.folder}/%H%D"]
    daemon = subprocess.Popen([*command, "--listen=127.0.0.1", f"--port={port}"])
    try:
        # By the name that was asked for: virtual hosts are told apart though the connection is passed on.
        (server.folder / "localhost").symlink_to(server.folder)
        address = f"git://localhost:{port}/shop.git#old"
        eventually(lambda: "\nfirst\n" in remote(engine, address).text, what="the daemon serves the repository")
    finally:
        daemon.terminate()
        daemon.wait()


def test_add_brings_the_files_for_root_and_keeps_links_and_modes(
    engine: Native, server: GitServer, shop: Repository
) -> None:
    built = added(engine, f"{server.url}/shop.git")
    for line in ("./f 644 0:0 regular file", "./run 755 0:0 regular file", "./link 777 0:0 symbolic link", "second"):
        assert line in built.text.splitlines(), built.error
    assert added(engine, f"{server.url}/shop.git").cached == 2
    shop.commit({"f": "third\n"})
    assert "third" in added(engine, f"{server.url}/shop.git").text
    assert "below" in added(engine, f"{server.url}/shop.git#old:sub").text
    assert "./sub" not in added(engine, "--exclude=sub", f"{server.url}/shop.git").text


def test_the_git_dir_is_kept_where_it_is_wanted(engine: Native, server: GitServer, shop: Repository) -> None:
    look = "RUN cat /src/.git/HEAD; grep url /src/.git/config; ls -a /src"
    dockerfile = f"FROM {BASE}\nADD --keep-git-dir=true {server.url}/shop.git#old /src\n{look}\n"
    built = build(engine, dockerfile)
    assert shop.git("rev-parse", "old") in built.text
    assert f"url = {server.url}/shop.git" in built.text
    assert build(engine, dockerfile).cached == 2
    args = json.dumps({"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"})
    assert "/src/.git/HEAD" in remote(engine, f"{server.url}/shop.git", buildargs=args).text


def test_a_checksum_is_the_commit(engine: Native, server: GitServer, shop: Repository) -> None:
    first = shop.git("rev-parse", "v1^{commit}")
    for right in (first, first[:7]):
        assert added(engine, f"--checksum={right}", f"{server.url}/shop.git#v1").image
    built = added(engine, f"--checksum={'0' * 40}", f"{server.url}/shop.git#v1")
    assert f"Dockerfile:2: ADD: expected checksum to match {'0' * 40}, got {first}" in built.error
    assert "it is a commit" in added(engine, "--checksum=sha256:00", f"{server.url}/shop.git").error


def test_submodules_come_along_also_those_of_submodules(engine: Native, server: GitServer, shop: Repository) -> None:
    inner, outer = server.repository("inner"), server.repository("outer")
    deep = inner.commit({"deep": "deep\n"})
    outer.commit({"o": "o\n"})
    deeper = outer.submodule("lib/inner", "../inner.git", deep)
    inner.commit({"deep": "newer\n"})
    shop.submodule("outer", f"{server.url}/outer.git", deeper)
    built = added(engine, f"{server.url}/shop.git")
    assert "./outer/lib/inner/deep 644 0:0 regular file" in built.text, built.error
    assert "outer/.git " not in built.text
    assert "inner/.git " not in built.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc", "named by an http, https or git address"),
        ("/etc", "named by an http, https or git address"),
        ("ext::sh -c 'touch {mark}'", "named by an http, https or git address"),
        ("--upload-pack=touch {mark}", "named by an http, https or git address"),
        ("../../../etc", "leaves its host"),
        ("git@127.0.0.1:x", "ssh needs a key"),
    ],
)
def test_a_submodule_is_held_to_the_same_rules(
    engine: Configured, server: GitServer, shop: Repository, url: str, words: str
) -> None:
    shop.submodule("m", url.format(mark=engine.mark), "c0ffee" * 6 + "c0ff", f"\tupdate = !touch {engine.mark}\n")
    assert words in added(engine, f"{server.url}/shop.git").error
    assert words in remote(engine, f"{server.url}/shop.git").error
    assert not engine.mark.exists()


def test_nothing_a_repository_or_a_user_configures_is_run(
    engine: Configured, server: GitServer, shop: Repository, tmp_path: Path
) -> None:
    """A hook of the engine's environment, a filter named by attributes, a repository inside the repository."""
    shop.commit(
        {
            ".gitattributes": "* filter=evil diff=evil merge=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {engine.mark}\n',
            "bare/HEAD": "ref: refs/heads/main\n",
            "bare/config": f"[core]\n\tbare = false\n\tworktree = ..\n\tfsmonitor = touch {engine.mark}\n",
            "bare/objects/x": "",
            "bare/refs/x": "",
            "hooks/post-checkout": f"#!/bin/sh\ntouch {engine.mark}\n",
        }
    )
    (shop.folder / "hooks/post-checkout").chmod(0o755)
    shop.commit()
    clone = ["git", "clone", "--quiet", f"{server.url}/shop.git", str(tmp_path / "clone")]
    subprocess.run(clone, env={**os.environ, **engine.hooks}, check=True)
    assert engine.mark.exists(), "the hook of the environment is one that git would run"
    engine.mark.unlink()
    assert "second" in added(engine, f"{server.url}/shop.git").text
    assert "second" in remote(engine, f"{server.url}/shop.git").text
    assert not engine.mark.exists()


def test_links_of_a_repository_lead_nowhere_else(
    engine: Native, server: GitServer, shop: Repository, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("HOSTSECRET")
    for name, target in {
        "abs": str(tmp_path),
        "up": "../" * 30 + str(tmp_path),
        "Dockerfile.link": "/etc/shadow",
    }.items():
        (shop.folder / name).symlink_to(target)
    shop.commit({"Dockerfile": f"FROM {BASE}\nCOPY abs/secret /x\n"})
    assert "no such file" in remote(engine, f"{server.url}/shop.git").error
    assert "Cannot locate" in remote(engine, f"{server.url}/shop.git", dockerfile="Dockerfile.link").error
    for folder in ("abs", "up", "f", "nothing"):
        assert "the repository has no folder" in remote(engine, f"{server.url}/shop.git#:{folder}").error, folder
        assert "the repository has no folder" in added(engine, f"{server.url}/shop.git#:{folder}").error, folder


def test_gitmodules_that_is_a_link_and_a_link_where_a_submodule_goes(
    engine: Native, server: GitServer, shop: Repository, tmp_path: Path
) -> None:
    """Trees no git would write: read by git with the rules of its own, and by nothing that runs outside the sandbox."""
    target = tmp_path / "target"
    target.mkdir()
    other = server.repository("other").commit({"hooks/x": "x\n"})
    text = f'[submodule "m"]\n\tpath = m\n\turl = {server.url}/other.git\n'
    blob = {name: shop.git("hash-object", "-w", "--stdin", input=content.encode()) for name, content in
            {"text": text, "link": str(target), "modules": "/etc/passwd"}.items()}  # fmt: skip
    for entries in (
        [f"100644 blob {blob['text']}\t.gitmodules", f"120000 blob {blob['link']}\tm", f"160000 commit {other}\tm"],
        [f"120000 blob {blob['modules']}\t.gitmodules", f"160000 commit {other}\tm"],
    ):
        tree = shop.git("mktree", "--missing", input=("\n".join(entries) + "\n").encode())
        commit = shop.git("commit-tree", "-m", "odd", tree)
        shop.git("update-ref", "refs/heads/odd", commit)
        added(engine, f"{server.url}/shop.git#odd")
        assert list(target.iterdir()) == []


def test_what_is_not_there_is_told_with_its_place(engine: Native, server: GitServer, shop: Repository) -> None:
    for address, words in {
        f"{server.url}/shop.git#nope": "couldn't find remote ref nope",
        f"{server.url}/none.git": "not found",
        f"{server.url}/shop.git#--upload-pack=x": "no name of a branch",
        f"{server.url}/private/shop.git": "could not read Username",
        "http://127.0.0.1:1/x.git": "cannot be reached",
        f"{server.url}/shop.git#{'0' * 40}": "shop.git",
    }.items():
        error = added(engine, address).error
        assert error.startswith("Dockerfile:2: ADD: "), error
        assert words in error, error
        assert words in remote(engine, address).error


def test_a_private_repository_opens_to_a_token_or_a_login_which_nobody_sees_afterwards(
    engine: Native, server: GitServer, shop: Repository
) -> None:
    address, token = f"{server.url}/private/shop.git", unique("T0KEN")
    server.login = f"x-access-token:{token}"
    look = "ADD --keep-git-dir=true {} /src\nRUN cat /src/f; cat /src/.git/config /src/.git/FETCH_HEAD\n"
    dockerfile = f"FROM {BASE}\n{look}"
    built = build(engine, dockerfile.format(address), headers=secrets(GIT_AUTH_TOKEN=token))
    assert "second" in built.text, built.error
    assert "second" in remote(engine, address, headers=secrets(**{"GIT_AUTH_TOKEN.127.0.0.1": token})).text
    basic = base64.b64encode(server.login.encode()).decode()
    assert (
        "second" in remote(engine, address, headers=secrets(GIT_AUTH_HEADER=f"basic {basic}".replace("b", "B", 1))).text
    )
    inline = address.replace("://", f"://{server.login}@")
    shown = build(engine, dockerfile.format(inline), nocache=1).text.partition("Step 3/3")[2]
    assert "second" in shown
    wrong = added(engine, address.replace("://", "://me:W0RD@"))
    assert "W0RD" not in wrong.error
    assert wrong.error
    saved = engine.folder / "saved.tar"
    engine.cli("save", "-o", str(saved), built.image)
    settled(engine)
    for path in (saved, engine.log, *(each for each in engine.root.rglob("*") if each.is_file())):
        assert token.encode() not in path.read_bytes(), path
    assert token not in shown


def test_a_token_goes_to_its_own_host_alone(
    engine: Native, server: GitServer, shop: Repository, tmp_path: Path
) -> None:
    with GitServer(tmp_path / "other") as other:
        other.login = server.login = "x-access-token:T0KEN"
        linked = other.repository("lib").commit({"x": "x\n"})
        shop.submodule("lib", f"{other.url}/private/lib.git", linked)
        given = secrets(GIT_AUTH_TOKEN="T0KEN")
        assert "could not read Username" in added(engine, f"{server.url}/private/shop.git", headers=given).error
        server.away = other.url
        assert added(engine, f"{server.url}/away/private/lib.git", headers=given).error
        assert not any("git-upload-pack" in each and "/info/refs" not in each for each in other.asked)


def test_redirects_are_followed_to_where_one_may_go(engine: Native, server: GitServer, shop: Repository) -> None:
    server.away = server.url
    assert "second" in added(engine, f"{server.url}/away/shop.git", nocache=1).text
    for away in ("file://" + str(server.folder), "ftp://127.0.0.1", "ext::x"):
        server.away = away
        assert added(engine, f"{server.url}/away/shop.git").error


def test_a_tree_that_grows_is_refused_before_it_is_written(engine: Native, server: GitServer, shop: Repository) -> None:
    """Ten folders in one another, each ten times the same: ten thousand million files in a kilobyte."""
    tree = shop.git("write-tree")
    for _ in range(10):
        tree = shop.git("mktree", input="".join(f"040000 tree {tree}\t{name}\n" for name in "0123456789").encode())
    shop.git("update-ref", "refs/heads/bomb", shop.git("commit-tree", "-m", "bomb", tree))
    assert "20000 files" in added(engine, f"{server.url}/shop.git#bomb").error


def test_addresses_of_this_host_and_its_neighbours_are_not_asked(server: GitServer, shop: Repository) -> None:
    need(Native.why_not())
    with Native() as plain, Native(build_fetches="off") as closed:
        for host in (
            "127.0.0.1:1",
            "169.254.169.254",
            "[::1]",
            "10.0.0.1",
            "localhost",
            server.url.partition("://")[2],
        ):
            for scheme in ("http", "https", "git"):
                address = f"{scheme}://{host}/shop.git"
                assert "no public address" in remote(plain, address).error, address
        assert server.asked == []
        assert "build-fetches is off" in remote(closed, f"{server.url}/shop.git").error


def test_a_client_that_goes_ends_the_fetch_and_leaves_nothing(engine: Native, server: GitServer) -> None:
    connection = UnixConnection(engine.socket, 60)
    try:
        connection.request("POST", f"/build?remote={server.url}/hang/x.git")
        assert server.hanging.wait(30)
    finally:
        connection.close()
    eventually(lambda: not list((engine.root / "tmp").iterdir()), what="the build's folder is deleted")
    assert not [pid for pid in Path("/proc").glob("[0-9]*/cmdline") if server.url.encode() in _read(pid)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_host_without_git_says_so(tmp_path: Path) -> None:
    need(Native.why_not())
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).glob("*"):
            if program.name != "git":
                (tmp_path / program.name).unlink(missing_ok=True)
                (tmp_path / program.name).symlink_to(program)

    class WithoutGit(Native):
        def environment(self) -> dict[str, str]:
            return {**super().environment(), "PATH": str(tmp_path)}

    with WithoutGit(build_fetches="any") as engine:
        built = remote(engine, "https://example.org/x.git")
    assert built.status == 501
    assert "git is not installed on this host" in built.error
