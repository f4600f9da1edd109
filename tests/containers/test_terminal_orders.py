"""What names a terminal on its host, and how a command line is read."""

import pytest

from containers.models import Container
from containers.terminals import parse_command, terminal_id
from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument

SESSION = "0b6f3b0e-5a44-4a0a-9c11-7a3f0f0f0f0f"


def ident(user: int = 1, host: int = 1, engine_id: str = "a" * 64, session: str = SESSION) -> str:
    return terminal_id(User(pk=user), Container(host_id=host, engine_id=engine_id), session)


def test_the_same_person_returns_to_the_same_terminal() -> None:
    assert ident() == ident()
    assert len(ident()) == 32


@pytest.mark.parametrize(
    "other",
    [{"user": 2}, {"host": 2}, {"engine_id": "b" * 64}, {"session": SESSION.replace("0b", "0c")}],
    ids=lambda other: next(iter(other)),
)
def test_anything_else_names_another_terminal(other: dict[str, object]) -> None:
    assert ident(**other) != ident()  # type: ignore[arg-type]


def test_it_cannot_be_made_without_the_secret_key(settings: pytest.FixtureRequest) -> None:
    before = ident()
    settings.SECRET_KEY = "another"  # type: ignore[attr-defined]
    assert ident() != before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        ("   ", None),
        ("bash", ["bash"]),
        ("sh -c 'a  b; \"c\"'", ["sh", "-c", 'a  b; "c"']),
        ("psql -U 'o''brien'", ["psql", "-U", "obrien"]),
        ("echo $HOME `id`", ["echo", "$HOME", "`id`"]),  # no shell of ours reads it
    ],
)
def test_a_command_is_split_as_a_shell_would(text: str, words: list[str] | None) -> None:
    assert parse_command(text) == words


@pytest.mark.parametrize("text", ["echo 'open", 'x "', "a\\", "x" * 5000])
def test_a_command_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_command(text)
