"""Which images a Dockerfile uses: what is told, and what is rather not guessed at."""

from __future__ import annotations

import pytest

from images.builds.bases import uses, uses_of_triggers


def told(text: str, *, heredocs: bool = True, **args: str) -> list[tuple[int, str]]:
    """(line, reference) of each; "?" for one that cannot be told."""
    return [(use.line, "?" if use.why else use.reference) for use in uses(text, args, heredocs=heredocs).images]


def test_every_place_an_image_may_stand() -> None:
    text = (
        "ARG V=1\n"
        "FROM --platform=linux/amd64 shop/web:$V AS first\n"
        "RUN --mount=type=bind,from=secret/app:prod,target=/x true\n"
        "FROM first AS second\n"
        "COPY --chown=1:1 --from=First /a /b\n"
        "COPY --from=0 /a /b\n"
        "COPY --from=7 /a /b\n"
        "ADD --from=other/image@sha256:" + "a" * 64 + " /a /b\n"
        "FROM scratch\n"
        "ONBUILD COPY --from=third/app:1 /a /b\n"
        "onbuild RUN --mount=FROM=fourth/app:1 true\n"
    )
    assert told(text) == [
        (2, "shop/web:1"),
        (3, "secret/app:prod"),
        (7, "7"),
        (8, "other/image@sha256:" + "a" * 64),
        (10, "third/app:1"),
        (11, "fourth/app:1"),
    ]


def test_a_stage_that_no_target_needs_is_told_too() -> None:
    assert told("FROM a/b AS one\nFROM secret/app\nFROM a/b AS three\n") == [(1, "a/b"), (2, "secret/app"), (3, "a/b")]


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("ARG X=a\nFROM $X/b\n", {}, "a/b"),
        ("ARG X=a\nFROM ${X}/b\n", {"X": "secret"}, "secret/b"),
        ('ARG X="a/b"\nFROM $X\n', {}, "a/b"),
        ("ARG X=a\nARG Y=$X/b\nFROM $Y\n", {}, "a/b"),
        ("ARG X=a/b\nFROM ${X:-secret/app}\n", {}, "a/b"),
        ("ARG X\nFROM ${X:-a/b}\n", {}, "a/b"),
        ("ARG X=1\nFROM ${X:+a/b}\n", {}, "a/b"),
        ("FROM $X\n", {"X": "a/b"}, "?"),
        ("FROM ${HTTP_PROXY:-a/b}\n", {"HTTP_PROXY": "secret/app"}, "?"),
        ("ARG X\nFROM a/b$X\n", {}, "a/b"),
        ("ARG X\nFROM ${X-a/b}\n", {}, "?"),
        ("ARG X=a'b'\nFROM $X\n", {}, "?"),
        ('ARG X="a b"\nFROM $X\n', {}, "?"),
        ("ARG X=a\nFROM ${X%b}\n", {}, "?"),
        ('FROM "a/b"\n', {}, "?"),
        ("FROM a\\/b\n", {}, "?"),
        ("FROM a/b c\n", {}, "?"),
        ("FROM a/b AS Secret\n", {}, "?"),
        ("RUN true\n", {}, "?"),
        ("", {}, "?"),
    ],
)
def test_the_values_of_arguments(text: str, args: dict[str, str], expected: str) -> None:
    assert [each for _, each in told(text, **args)] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "FROM a/b\nRUN x \\\\\nFROM secret/app\n",
        "FROM a/b\nRUN x \\\u00a0\nFROM secret/app\n",
        "FROM a/b\nRUN x \\\x0c\nFROM secret/app\n",
        "FROM a/b\nRUN x \u2028FROM secret/app\n",
        "FROM a/b\nRUN x \\\n  # a comment\nFROM secret/app\n",
        "FROM a/b\nRUN x \\\nCOPY --from=secret/app /a /b\n",
        "# escape=`\nFROM a/b\nRUN x `\nFROM secret/app\n",
        "# strange = yes\n# escape=`\nFROM a/b\n",
        "FROM a/b\nRUN cat << EOF\nFROM secret/app\nEOF\n",
        'FROM a/b\nRUN echo "<<EOF"\nFROM secret/app\nEOF\n',
        'FROM a/b\nRUN echo "x <<EOF y"\nFROM secret/app\nEOF\n',
        "FROM a/b\nRUN cat <<EOF\n\tEOF\nRUN cat <<X\nEOF\nFROM secret/app\nX\n",
        "FROM a/b\nRUN cat <<1X\nFROM c AS secret\n1X\nCOPY --from=secret /a /b\n",
        "FROM a/b\nRUN cat <<A-B\nFROM c AS secret\nA-B\nCOPY --from=secret /a /b\n",
        'FROM a/b\nCOPY --chown="a b" --from=secret/app x y\n',
        "FROM a/b\nARG S=secret/app\nCOPY --from=$S x y\n",
        "FROM a/b\nRUN --mount=type=bind,$X true\n",
        'FROM a/b\nRUN --mount=type=bind,"from=secret/app" true\n',
        "FROM a/b\nONBUILD RUN cat <<EOF\nFROM secret/app\nEOF\n",
        "FROM a/b\n" + "RUN true\n" * 5001 + "FROM secret/app\n",
    ],
)
def test_what_engines_may_read_otherwise_is_not_guessed_at(text: str) -> None:
    assert "?" in [each for _, each in told(text)]


def test_a_here_document_that_all_read_alike() -> None:
    text = "FROM a/b\nRUN python3 - <<'EOF' && true\nfrom flask import Flask\nEOF\nCOPY <<-X /a\n\tb\n\tX\nFROM c/d\n"
    assert told(text) == [(1, "a/b"), (8, "c/d")]
    assert "?" in [each for _, each in told(text, heredocs=False)]
    assert told("FROM a/b\nRUN echo $((1<<2)) && cat <<< x\nFROM c/d\n") == [(1, "a/b"), (3, "c/d")]


@pytest.mark.parametrize(
    ("reference", "is_id"),
    [("abc123", True), ("sha256:abc", True), ("a" * 64, True), ("abc123:1", False), ("shop/abc", False)],
)
def test_what_an_engine_may_find_by_an_id(reference: str, is_id: bool) -> None:
    assert uses(f"FROM {reference}\n", {}, heredocs=True).images[0].is_id is is_id


def test_flags_that_open_the_host_are_told() -> None:
    found = uses("FROM a/b\nRUN --network=host true\nRUN --security=insecure --device=x true\n", {}, heredocs=True)
    assert found.flags == {"--network=host": 2, "--security=insecure": 3, "--device=x": 3}


def test_what_a_base_brings_along() -> None:
    triggers = ["COPY --from=secret/app:prod /a /b", "RUN true", "COPY --from=0 /a /b", "RUN cat <<EOF\nx\nEOF"]
    found = uses_of_triggers([*triggers, "RUN --network=host true"], 4, heredocs=True)
    assert [(use.line, use.reference) for use in found.images] == [(4, "secret/app:prod"), (4, "0")]
    assert found.flags == {"--network=host": 4}
    assert uses_of_triggers(triggers, 4, heredocs=False).images[-1].hides


@pytest.mark.parametrize(
    "text",
    [
        "RUN true\n",
        "FROM a/b\nRUN --$X true\n",
        'FROM a/b\nRUN --net"work"=host true\n',
        'FROM a/b\nCOPY --chown="a b" --network=host x y\n',
        "FROM a/b\nRUN x \\\nRUN --network=host true\n",
        "FROM a/b\nRUN cat <<EOF\nRUN --security=insecure true\nEOF\n",
        "FROM a/b\nRUN cat <<EOF\nRUN \\\n--device=x true\nEOF\n",
        "FROM a/b\nRUN cat <<EOF\nRUN --mount=type=cache,target=/m true\nEOF\n",
        "FROM a/b\nRUN cat <<EOF\nCO\\\nPY --from=secret/app a \\\nEOF\n",
    ],
)
def test_where_a_flag_may_be_hidden(text: str) -> None:
    assert any(use.hides for use in uses(text, {}, heredocs=True).images)


def test_where_none_can_be() -> None:
    text = "FROM a/b\nRUN cat <<EOF && apk \\\n  add --no-cache x\nfrom y import \\\n  z\nadd --all\nEOF\n"
    text += "COPY --from=$X a b\n"
    assert not any(use.hides for use in uses(text, {}, heredocs=True).images)
    assert [use.is_base for use in uses(text, {}, heredocs=True).images] == [True, False]
