"""What the pages say of sizes, times, states and sorting, rendered by the templates themselves."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone
from django_cotton.compiler_regex import CottonCompiler


def rendered(text: str, **context: object) -> str:
    """As the loader would: components first, then the template."""
    return Template(CottonCompiler().process(text)).render(Context(context)).strip()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (148_300_000, "148 MB"), (9_400_000_000, "9.4 GB"), (None, "–")],
)
def test_sizes_are_written_as_the_docker_cli_writes_them(size: int | None, text: str) -> None:
    assert rendered("{{ size|bytes }}", size=size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12, "12 s"), (192, "3 min 12 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h"), (3600, "1 h")],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert rendered("{{ value|duration }}", value=timedelta(seconds=seconds)) == text


def test_a_moment_keeps_its_exact_time_beside_the_relative_one() -> None:
    when = timezone.now() - timedelta(minutes=3, seconds=10)
    html = rendered("{% ago when %}", when=when)
    assert ">3 min ago</time>" in html
    assert f'datetime="{when.isoformat()}"' in html


@pytest.mark.parametrize(
    ("kind", "state", "shape"),
    [
        ("container", "running", "s-running"),
        ("container", "paused", "s-paused"),
        ("container", "something new", "s-unknown"),
        ("host", "unreachable", "s-warning"),
        ("operation", "lost", "s-unknown"),
    ],
)
def test_a_state_has_a_shape_and_a_word_beside_its_colour(kind: str, state: str, shape: str) -> None:
    html = rendered('<c-state :kind="kind" :state="state" />', kind=kind, state=state)
    assert f"#{shape}" in html
    assert f'<span class="word">{state}</span>' in html


@pytest.mark.parametrize(("code", "tone"), [(0, "idle"), (137, "bad")])
def test_only_a_bad_exit_code_calls_for_attention(code: int, tone: str) -> None:
    html = rendered('<c-state kind="container" state="exited" :exit_code="code" />', code=code)
    assert f"exited ({code})" in html
    assert f'class="state {tone}"' in html


def test_a_container_of_a_host_out_of_contact_is_unknown_since_then() -> None:
    since = timezone.now() - timedelta(minutes=20)
    host = SimpleNamespace(name="far", state_since=since)
    container = SimpleNamespace(is_known=False, state="running", host=host)
    html = rendered('<c-container_state :container="container" />', container=container)
    assert "unknown" in html
    assert f'since <time datetime="{since.isoformat()}"' in html
    assert "s-running" not in html


def test_names_are_escaped_in_what_a_confirmation_will_list() -> None:
    name = "\"><script>alert(1)</script>'"
    container = SimpleNamespace(name=name, host=SimpleNamespace(name="far"))
    html = rendered('<p data-hits="{{ container|hit|as_json }}"></p>', container=container)
    assert "<script>" not in html
    assert html.count('"') == 2


def _request(query: str) -> HttpRequest:
    return RequestFactory().get(f"/containers/?{query}")


@pytest.mark.parametrize(
    ("query", "following", "now"),
    [("", "-name", "ascending"), ("sort=name", "-name", "ascending"), ("sort=-name", "name", "descending"),
     ("sort=host", "name", "none")],
)  # fmt: skip
def test_a_column_says_how_it_is_sorted_and_what_a_click_does(query: str, following: str, now: str) -> None:
    html = rendered("{% sorting 'name' 'name' as order %}{{ order.next }} {{ order.now }}", request=_request(query))
    assert html == f"{following} {now}"


def test_a_port_that_an_engine_lists_for_both_families_is_shown_once() -> None:
    ports = [
        {"container": 80, "host": 8080, "ip": "0.0.0.0", "protocol": "tcp"},
        {"container": 80, "host": 8080, "ip": "::", "protocol": "tcp"},
        {"container": 9000, "host": None, "ip": "", "protocol": "tcp"},
    ]
    html = rendered('<c-ports :ports="ports" />', ports=ports)
    assert html.count("8080") == 1
    assert "9000" not in html
