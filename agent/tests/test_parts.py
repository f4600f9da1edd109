"""Small parts of the agent: pauses, engine discovery, trust, the words of engines."""

import socket
from pathlib import Path

import aiohttp
import pytest
from gantry_agent import engine_client, transport
from gantry_agent.errors import AgentError, EngineUnreachable
from gantry_agent.link import LONGEST_PAUSE, Backoff
from gantry_agent.shells import complaint, names_missing_program


def test_pauses_grow_stay_bounded_and_differ() -> None:
    first, second = Backoff(), Backoff()
    pauses = [first.next() for _ in range(40)]
    assert 0.1 <= pauses[0] <= 0.2
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE for pause in pauses[10:])
    assert pauses != [second.next() for _ in range(40)]
    first.reset()
    assert first.next() <= 0.2


def test_a_refusal_makes_longer_pauses() -> None:
    assert Backoff().next(at_least=30.0) >= 15.0


def test_the_first_socket_that_is_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "podman").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/own.sock")
    assert engine_client.candidates()[0] == f"{tmp_path}/own.sock"
    (tmp_path / "own.sock").write_text("a file, no socket")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "podman" / "podman.sock"))
        here = [path for path in engine_client.candidates() if str(tmp_path) in path]
        monkeypatch.setattr(engine_client, "candidates", lambda chosen="": here)
        assert engine_client.find_socket() == f"{tmp_path}/podman/podman.sock"


def test_without_an_engine_the_places_looked_at_are_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable) as caught:
        engine_client.required_socket(f"unix://{tmp_path}/none.sock")
    assert "none.sock" in caught.value.message


@pytest.mark.parametrize("text", ["sha256:" + "ab" * 32, "AB:" * 31 + "AB"])
def test_a_fingerprint_is_read_as_people_write_it(text: str) -> None:
    assert transport.parse_fingerprint(text) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:abcd", "sha1:" + "ab" * 20, "zz" * 32])
def test_another_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(AgentError):
        transport.parse_fingerprint(text)


def test_a_pin_is_the_only_trust_of_a_tls_connection() -> None:
    pin = "sha256:" + "ab" * 32
    assert isinstance(transport.tls_for("wss://gantry", pin), aiohttp.Fingerprint)
    assert transport.tls_for("wss://gantry", "") is True


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("ws://127.0.0.1:1", True), ("ws://[::1]:1", True), ("http://localhost", True), ("wss://10.0.0.1", False)],
)
def test_loopback_uses_no_proxy(url: str, loopback: bool) -> None:
    assert transport.is_loopback(url) is loopback


DOCKER = (
    "OCI runtime exec failed: exec failed: unable to start container process: "
    'exec: "zsh": executable file not found in $PATH: unknown'
)


def test_the_engines_words_lose_their_prefixes() -> None:
    assert complaint(DOCKER.encode()) == 'exec: "zsh": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("message", "missing"),
    [(DOCKER, True), ("unable to find user x: no matching entries", False), ("cgroup failure", False)],
)
def test_a_missing_program_is_told_from_other_failures(message: str, missing: bool) -> None:
    assert names_missing_program(message) is missing
