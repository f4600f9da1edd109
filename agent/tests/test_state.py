"""The state folder: private, whole after a crash, and clear about what it lacks."""

from pathlib import Path

import pytest
from gantry_agent import cli, keys
from gantry_agent.errors import NotEnrolled
from gantry_agent.state import Enrolment, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.prepare()
    return state


def enrolled(state: State) -> State:
    state.save_enrolment(keys.generate(), Enrolment("7", "box", "https://gantry", ["wss://gantry:8421"]))
    return state


def test_everything_is_private(state: State) -> None:
    enrolled(state)
    assert state.folder.stat().st_mode & 0o777 == 0o700
    assert state.key_file.stat().st_mode & 0o777 == 0o600
    assert state.config_file.stat().st_mode & 0o777 == 0o600


def test_an_enrolment_comes_back_as_it_was(state: State) -> None:
    assert enrolled(state).enrolment() == Enrolment("7", "box", "https://gantry", ["wss://gantry:8421"])


def test_a_field_of_a_newer_agent_is_passed_over(state: State) -> None:
    enrolled(state)
    text = state.config_file.read_text().replace('"host"', '"from_the_future": 1, "host"')
    state.config_file.write_text(text)
    assert state.enrolment().host == "7"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"host": 1}'])
def test_a_broken_configuration_is_said(state: State, content: str | None) -> None:
    if content is not None:
        state.config_file.write_text(content)
    with pytest.raises(NotEnrolled) as caught:
        state.enrolment()
    assert "Add host" in caught.value.hint


def test_a_broken_key_is_said(state: State) -> None:
    enrolled(state).key_file.write_text("nonsense")
    with pytest.raises(NotEnrolled):
        list(state.candidate_keys())


def test_an_unfinished_rotation_keeps_its_key(state: State) -> None:
    """The gateway may have stored it: making another would lock the host out."""
    enrolled(state)
    offered = keys.public_text(state.next_key())
    assert keys.public_text(state.next_key()) == offered
    assert [path.name for path, _ in state.candidate_keys()] == ["key.pem", "key.next.pem"]
    state.adopt_next_key()
    assert keys.public_text(keys.load(state.key_file)) == offered
    assert [path.name for path, _ in state.candidate_keys()] == ["key.pem"]


def test_enrolling_anew_forgets_an_unfinished_rotation(state: State) -> None:
    enrolled(state).next_key()
    enrolled(state)
    assert not state.next_key_file.exists()


def test_status_says_that_it_is_not_enrolled(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--state", str(state.folder)]) == 1
    assert "not enrolled" in capsys.readouterr().err


def test_status_says_that_the_agent_is_not_running(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    enrolled(state)
    assert cli.main(["status", "--state", str(state.folder)]) == 0
    assert "not running" in capsys.readouterr().out


def test_the_unit_names_program_state_and_engine(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["unit", "--program", "/opt/g", "--state", "/s", "--engine", "unix:///e.sock"])
    assert "ExecStart=/opt/g run --state /s --engine unix:///e.sock\n" in capsys.readouterr().out


def test_an_enrolled_host_is_not_enrolled_over_by_accident(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    enrolled(state)
    arguments = ["enrol", "--url", "http://127.0.0.1:1", "--token", "t", "--state", str(state.folder)]
    assert cli.main(arguments) == 1
    assert "--replace" in capsys.readouterr().err


def test_a_control_plane_that_is_away_is_said_and_leaves_nothing(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["enrol", "--url", "http://127.0.0.1:1", "--token", "t", "--state", str(state.folder)]
    assert cli.main(arguments) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert not state.key_file.exists()
