"""Building from git: a real server over HTTP and SSH, and repositories that mean harm."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.access.models import User
from controlplane.lib.errors import GantryError
from controlplane.operations.models import Operation, State
from hosts.models import Host
from images.builds import actions, addresses
from images.builds.asked import Options, Source
from images.builds.cloning import Clone, Login, clone
from images.builds.models import Build, Credential, CredentialKind
from tests.conftest import need
from tests.images.working import run, said
from tests.support.engines import EngineProcess, unique
from tests.support.gitserver import GitServer, SshServer

pytestmark = [pytest.mark.root, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _loopback(settings: Any) -> None:
    settings.GIT_NETWORKS = ["127.0.0.1/32"]


@pytest.fixture
def server() -> Iterator[GitServer]:
    with GitServer() as server:
        yield server


@pytest.fixture
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the unprivileged user who runs git can come to."""
    folder = tmp_path_factory.mktemp("clone")
    for each in (folder, *folder.parents):
        if each.stat().st_mode & 0o011 != 0o011 and str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o011)
    return folder


def fetched(url: str, ref: str, target: Path, **options: Any) -> Clone:
    return asyncio.run(clone(url, ref, target, lambda text: None, **options))


def refused(url: str, ref: str, target: Path, **options: Any) -> str:
    with pytest.raises(GantryError) as caught:
        fetched(url, ref, target, **options)
    return f"{caught.value.message} {caught.value.hint}"


def test_a_branch_a_tag_and_a_commit_are_built(
    administrator: User, builder: Host, engine: EngineProcess, base: str, server: GitServer
) -> None:
    dockerfile = f"FROM {base}\nCOPY . /src\nRUN test ! -e /src/left-out && test ! -e /src/.git && cat /src/x\n"
    repository = server.create("team/app", {"Dockerfile": dockerfile, "x": "first", ".dockerignore": "left-out\n"})
    commit = repository.commit({"x": "second", "left-out": "1"}, branch="feature/y")
    name = f"gantry/{unique()}"
    asked = Source("git", url=repository.url, ref="feature/y")
    options = Options(host=builder.pk, tags=[f"{name}:{{branch}}-{{sha}}"])
    operation = run(actions.start(administrator, asked, options))
    assert operation.state == State.SUCCEEDED, operation.error
    build = Build.objects.get(operation=operation)
    assert (build.commit, build.tags) == (commit, [f"{name}:feature-y-{commit[:12]}"])
    assert "second" in said(operation)

    repository.commit({"x": "third"}, branch="feature/y")
    asked.commit = commit
    operation = run(actions.start(administrator, asked, options))
    assert operation.state == State.SUCCEEDED, operation.error
    assert Build.objects.get(operation=operation).commit == commit


def test_a_folder_of_it_and_the_default_branch(server: GitServer, target: Path) -> None:
    repository = server.create("app", {"services/web/Dockerfile": "FROM scratch", "other": "1"})
    found = fetched(repository.url, "", target, folder="services/web")
    assert [each.name for each in found.folder.iterdir()] == ["Dockerfile"]
    assert found.branch == "main"


@pytest.mark.parametrize(
    ("ref", "folder", "words"),
    [("nowhere", "", "no such branch"), ("main", "none", "no folder none"), ("0" * 40, "", "commit")],
)
def test_what_is_not_there_is_told(server: GitServer, target: Path, ref: str, folder: str, words: str) -> None:
    repository = server.create("app", {"x": "1"})
    assert words in refused(repository.url, ref, target, folder=folder)


def test_a_repository_that_is_not_there(server: GitServer, target: Path) -> None:
    assert "could not fetch" in refused(f"http://127.0.0.1:{server.port}/none.git", "", target)


def test_submodules_are_fetched_by_the_same_rules(server: GitServer, tmp_path_factory: Any, target: Path) -> None:
    library = server.create("lib", {"lib.txt": "inside"})
    commit = library.commit({"lib.txt": "inside, later"})
    repository = server.create("app", {"x": "1"})
    repository.add_submodule("vendor/lib", "../lib.git", commit)
    found = fetched(repository.url, "main", target, submodules=True)
    assert (found.folder / "vendor/lib/lib.txt").read_text() == "inside, later"
    hostile_urls = ["file:///etc", "ext::sh -c 'touch /tmp/pwned'", "/etc", "--upload-pack=touch /tmp/pwned"]
    for number, url in enumerate(hostile_urls):
        hostile = server.create(f"hostile-{number}", {"x": "1"})
        hostile.add_submodule("vendor/lib", url, commit)
        folder = target.parent / f"hostile-{number}"
        folder.mkdir(mode=0o711)
        told = refused(hostile.url, "main", folder, submodules=True)
        assert "Expected" in told or "disallowed submodule url" in told  # by us, or by git's own look at it
    assert not Path("/tmp/pwned").exists()


def test_nothing_of_the_repository_is_run_and_no_link_leads_out(server: GitServer, target: Path) -> None:
    mark = target.parent / "ran"
    script = f"#!/bin/sh\ntouch {mark}\n"
    repository = server.create(
        "app",
        {
            ".gitattributes": "* filter=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {mark}\n',
            "hooks/post-checkout": script,
            ".githooks/post-checkout": script,
            "passwd": "-> /etc/passwd",
            "up": "-> ../../..",
            "folder": "-> /etc",
        },
    )
    found = fetched(repository.url, "main", target)
    assert not mark.exists()
    assert (found.folder / "passwd").is_symlink()
    assert "no folder folder" in refused(repository.url, "main", _next(target), folder="folder")


def _next(target: Path) -> Path:
    folder = target.parent / f"{target.name}-next"
    folder.mkdir(mode=0o711)
    return folder


def test_a_dockerfile_that_leads_out_is_refused(administrator: User, native: Host, server: GitServer) -> None:
    repository = server.create("app", {"Dockerfile": "-> /etc/passwd"})
    source = Source("git", url=repository.url)
    operation = run(actions.start(administrator, source, Options(host=native.pk)))
    assert operation.state == State.FAILED
    assert "leads out" in operation.error
    assert "root:" not in said(operation) + Build.objects.get(operation=operation).dockerfile


def test_redirects_and_closed_networks_are_not_followed(server: GitServer, target: Path, settings: Any) -> None:
    repository = server.create("app", {"x": "1"})
    with GitServer() as other:
        other.redirect = f"http://127.0.0.1:{server.port}"
        url = repository.url.replace(str(server.port), str(other.port))
        assert "redirect" in refused(url, "main", target)
    assert not server.requests
    settings.GIT_NETWORKS = []
    assert "does not fetch" in refused(repository.url, "main", _next(target))
    assert not server.requests


def test_git_connects_to_the_address_that_was_looked_at(
    server: GitServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another address by the time git asks for it: git asks nobody. Of several, one that may be."""
    repository = server.create("app", {"x": "1"})
    asked: list[str] = []

    def looked_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", (ip, port)) for ip in ("169.254.169.254", "::1", "127.0.0.1")]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", looked_up)
    url = repository.url.replace("127.0.0.1", "moves.invalid")
    assert (fetched(url, "main", target).folder / "x").read_text() == "1"
    assert set(asked) == {"moves.invalid"}
    assert server.requests


@pytest.mark.parametrize("ips", [["127.0.0.2"], ["169.254.169.254", "::1"], ["::ffff:127.0.0.2"]])
def test_a_name_that_means_nothing_but_closed_addresses_is_not_fetched_from(
    target: Path, monkeypatch: pytest.MonkeyPatch, ips: list[str]
) -> None:
    monkeypatch.setattr(
        addresses.socket, "getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (ip, port)) for ip in ips]
    )
    assert "does not fetch" in refused("http://moves.invalid:8000/app.git", "main", target)


def test_a_token_goes_over_https_only(server: GitServer, target: Path) -> None:
    repository = server.create("app", {"x": "1"})
    login = Login(f"127.0.0.1:{server.port}", token="t0ken")
    assert "over https only" in refused(repository.url, "main", target, login=login)
    assert not server.shown


def test_another_servers_token_is_not_shown(target: Path) -> None:
    with GitServer(token="t0ken") as server:
        repository = server.create("app", {"x": "1"})
        login = Login("git.example", token="t0ken")
        assert "private, or does not exist" in refused(repository.url, "main", target, login=login)
        assert not server.shown


def test_a_deploy_key_opens_a_repository_over_ssh(
    administrator: User, native: Host, native_base: str, server: GitServer
) -> None:
    need(SshServer.why_not())
    repository = server.create("app", {"Dockerfile": f"FROM {native_base}\nCOPY x /x\n", "x": "1"})
    with SshServer(server) as ssh:
        credential = Credential(
            name="deploy", kind=CredentialKind.GIT_KEY, server="127.0.0.1", known_hosts=ssh.known_hosts
        )
        credential.secret = ssh.key
        credential.save()
        source = Source("git", url=ssh.url(repository), ref="main", credential="deploy")
        operation = _built(administrator, native, source)
        assert operation.state == State.SUCCEEDED, operation.error
        key_line = ssh.key.splitlines()[2]
        assert key_line not in said(operation)

        source.credential = ""
        assert "knows no such key" in _built(administrator, native, source).hint
        credential.known_hosts = f"[127.0.0.1]:{ssh.port} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}\n"
        credential.save()
        source.credential = "deploy"
        assert "another key" in _built(administrator, native, source).hint


def _built(actor: User, host: Host, source: Source) -> Operation:
    return run(actions.start(actor, source, Options(host=host.pk)))


def test_cancelling_a_fetch_ends_git(server: GitServer, target: Path) -> None:
    repository = server.create("app", {"x": "1"})
    waits = asyncio.Event()

    async def cancelled() -> None:
        task = asyncio.create_task(clone(repository.url, "main", target, lambda text: waits.set()))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(target).encode() in _words(p)]
    assert not left


def _words(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
