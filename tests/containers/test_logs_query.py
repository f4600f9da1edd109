"""What a page may ask of a log, and what is made of an engine's answers."""

import pytest

from containers.logs import LogQuery, download_name, ending, has_terminal
from controlplane.lib.errors import InvalidArgument


def test_nothing_asked_is_the_newest_lines_followed() -> None:
    assert LogQuery.parse("").parameters() == {
        "follow": True,
        "stdout": True,
        "stderr": True,
        "timestamps": True,
        "tail": "500",
        "since": None,
    }


def test_everything_asked_reaches_the_engine() -> None:
    query = LogQuery.parse("tail=all&since=1763664000.123456789&follow=0&stdout=0&stderr=1&timestamps=0")
    assert query.parameters() == {
        "follow": False,
        "stdout": False,
        "stderr": True,
        "timestamps": False,
        "tail": "all",
        "since": "1763664000.123456789",
    }


@pytest.mark.parametrize(
    "bad",
    [
        "tail=-1",
        "tail=1000001",
        "tail=99999999999999999999",
        "tail=ten",
        "tail=٣",
        "since=yesterday",
        "since=1.1234567890",
        "since=1e9",
        "since=-5",
        "follow=yes",
        "stdout=2",
        "stdout=0&stderr=0",
    ],
)
def test_what_cannot_be_right_is_refused_by_name(bad: str) -> None:
    with pytest.raises(InvalidArgument, match="Expected"):
        LogQuery.parse(bad)


def test_an_ending_says_how_and_when() -> None:
    state = {"Running": False, "Status": "exited", "ExitCode": 137, "FinishedAt": "2026-11-20T18:40:00Z"}
    assert ending({"State": state}) == {
        "type": "ended",
        "running": False,
        "state": "exited",
        "exit_code": 137,
        "finished_at": "2026-11-20T18:40:00Z",
    }


@pytest.mark.parametrize("odd", [{}, {"State": None}, {"State": []}, {"State": {"ExitCode": "1", "Status": 7}}])
def test_an_odd_answer_is_no_error(odd: dict[str, object]) -> None:
    assert ending(odd)["exit_code"] is None


@pytest.mark.parametrize("config", [None, [], {}, {"Tty": False}])
def test_without_a_terminal_there_are_frames(config: object) -> None:
    assert not has_terminal({"Config": config})


def test_a_file_name_carries_no_surprise() -> None:
    assert download_name('we"b\r\n/../1', "20261120T184000Z") == "we-b-..-1-20261120T184000Z.log"
    assert download_name("…", "") == "container.log"
