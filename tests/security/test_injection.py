"""Text from hosts and people stays text: on every page, in the audit trail, in headers and in downloads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.test import Client

from containers.logs import download_name
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.logs import printable
from controlplane.lib.references import parse
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry
from hosts.forms import HostForm
from hosts.models import Host
from images.builds.models import Credential, Definition
from tests.security.fleet import Fleet, make, prove
from tests.security.routes import NEVER, TABLE, address
from tests.support.flush import empty_trail

ROOT = Path(__file__).parents[2]
READ = [route for route, rule in TABLE.items() if rule.get != NEVER and not rule.is_public]
PICTURE = "data:image/svg+xml;base64,"  # ours, for an app to scan
ESC = "\x1b"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "--><b>bold</b><!--",
    "</textarea></title></style><b>out</b>",
    "{{ 7|add:1234 }}{% debug %}{{ settings.SECRET_KEY }}",
    "<c-button href='javascript:alert(1)'>x</c-button>",
    "javascript:alert(1)",
    f"{ESC}]52;c;ZXZpbA=={ESC}\\",
    f"{ESC}]8;;http://evil.example{ESC}\\link{ESC}]8;;{ESC}\\",
    f"{ESC}[2J{ESC}[31mred",
    "one\r\ntwo\n2026-11-20 admin allowed everything",
    '=HYPERLINK("http://evil.example")',
    "‮gnp.exe",
    "nul\0nul",
    "a%0d%0aSet-Cookie: x=1",
]


class Tags(HTMLParser):
    """The tags of a page with their attributes' names, and where its links lead."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "formaction")]


def shape(client: Client, path: str) -> Tags:
    answer = client.get(path)
    assert answer.status_code in (200, 302, 503), path
    tags = Tags()
    if answer["Content-Type"].startswith("text/html"):
        tags.feed(answer.content.decode())
    return tags


def is_reference(text: str) -> bool:
    try:
        return bool(parse(text))
    except InvalidArgument:
        return False


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_has_the_same_tags_whatever_its_rows_say(db: None, text: str) -> None:
    """As with harmless text: so nothing of it has become a tag, an attribute or a part of the template."""
    fleet = make(text.replace("\0", ""))
    client = Client()
    client.force_login(fleet.administrator)
    prove(client, fleet.administrator)
    hostile = {route: shape(client, address(route, fleet)) for route in READ}
    empty_trail()
    for model in (
        type(fleet.recording),
        type(fleet.operation),
        Host,
        Definition,
        Credential,
        type(fleet.administrator),
    ):
        model._default_manager.all().delete()
    fleet.environment.delete()
    fleet.team.delete()
    fleet.role.delete()
    # Like with like: a form begins with the name of an image where what is kept is one.
    harmless = make("harmless" if is_reference(text.replace("\0", "")) else "harmless text")
    client.force_login(harmless.administrator)
    prove(client, harmless.administrator)
    for route in READ:
        expected = shape(client, address(route, harmless))
        found = hostile[route]
        assert sorted(found.tags) == sorted(expected.tags), route
        for link in found.links:
            assert link.startswith(("/", "?", "#", PICTURE)) or link == "", f"{route}: {link[:300]}"
            assert not link.startswith("//")


def test_a_page_does_not_run_what_looks_like_a_template(db: None) -> None:
    fleet = make("{{ 7|add:123456789012 }}{% now 'Y' %}")
    client = Client()
    client.force_login(fleet.administrator)
    for route in READ:
        answer = client.get(address(route, fleet))
        if answer["Content-Type"].startswith("text/html"):
            assert "123456789019" not in answer.content.decode(), route


@pytest.mark.parametrize("text", HOSTILE)
def test_an_audit_entry_is_one_line(fleet: Fleet, text: str) -> None:
    fleet.viewer.first_name = text
    entry = record(fleet.viewer, "container.stop", target_id=text, target_name=text, host_name=text, detail=text)
    entry = AuditEntry.objects.get(pk=entry.pk)
    for value in (entry.actor_name, entry.target_id, entry.target_name, entry.host_name, entry.detail):
        assert value.isprintable(), value
        assert len(value.splitlines()) == 1


SAY = """
import logging, sys
import django
django.setup()
log = logging.getLogger("images.builds.triggers")
text = sys.stdin.read()
log.warning("%s was not built: %s", text, ValueError(text))
try:
    raise ValueError(text)
except ValueError:
    log.exception("%s broke", text)
"""


def test_a_record_of_a_process_s_log_is_one_line(tmp_path: Path) -> None:
    """Names and engines' words stand in it, and whoever looks after Gantry reads it in a terminal."""
    done = subprocess.run(
        [sys.executable, "-c", SAY],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "GANTRY_HOME": str(tmp_path / "home"),
            "DJANGO_SETTINGS_MODULE": "controlplane.settings",
            "PYTHONIOENCODING": "utf-8:surrogateescape",
        },
        input="\n".join(HOSTILE) + "\nERROR root: all is lost",
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *traceback = done.stderr.split("\n")[:-1]
    assert first.startswith("WARNING images.builds.triggers: ")
    assert second.startswith("ERROR images.builds.triggers: ")
    assert traceback[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in traceback)
    assert all(line.isprintable() for line in (first, second, *traceback))
    assert r"\x1b]52;c;ZXZpbA==" in first


def test_what_is_escaped_can_be_read_back() -> None:
    assert printable("plain – text, ünïcode") == "plain – text, ünïcode"
    assert printable("a\nb\x1b\u202e") == r"a\nb\x1b\u202e"


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text])
def test_search_terms_come_back_as_text(administrator: Client, fleet: Fleet, text: str) -> None:
    for path in ("/containers/", "/images/", "/hosts/", "/operations/", "/operations/audit/"):
        expected = shape(administrator, f"{path}?q=zzz&label=zzz&image=zzz&verb=zzz&sort=zzz")
        answer = administrator.get(path, dict.fromkeys(("q", "label", "image", "verb", "sort"), text))
        assert answer.status_code == 200
        tags = Tags()
        tags.feed(answer.content.decode())
        assert set(tags.tags) <= set(expected.tags), path


@pytest.mark.parametrize("text", HOSTILE)
def test_a_file_name_and_headers_are_of_safe_characters(text: str) -> None:
    name = download_name(text, "20261120")
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("\"/\\;%<>'= ")
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_host_cannot_be_named_so(name: str, fleet: Fleet) -> None:
    form = HostForm({"name": name, "labels": "", "pull_limit": 1}, actor=fleet.administrator)
    assert not form.is_valid()
    assert set(form.errors) == {"name"}


@pytest.mark.parametrize("text", [f"{ESC}[2J", "a\nb", "<b>"])
def test_an_error_with_foreign_words_is_a_message_not_markup(administrator: Client, fleet: Fleet, text: str) -> None:
    answer = administrator.post(f"/containers/{fleet.container.pk}/rename/", {"name": text}, follow=True)
    assert answer.status_code == 400
    assert "<b>" not in answer.content.decode()
    toast = administrator.post(
        f"/containers/{fleet.container.pk}/rename/", {"name": text}, headers={"HX-Request": "true"}
    )
    assert "<b>" not in toast.content.decode()
    assert toast["HX-Retarget"] == "#toasts"


def test_there_is_nothing_a_spreadsheet_would_run(administrator: Client, fleet: Fleet) -> None:
    """No list is given as CSV. One that is, some day, has to defuse cells that begin with = + - @."""
    for path in ("/containers/", "/images/", "/hosts/", "/operations/", "/operations/audit/"):
        for query in ("?format=csv", "?export=csv"):
            answer = administrator.get(path + query, headers={"Accept": "text/csv"})
            assert answer["Content-Type"].startswith("text/html")
    for package in ("controlplane", "hosts", "images", "containers"):
        for file in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^\s*(import|from) csv\b|text/csv|spreadsheet", file.read_text(), re.M), file
