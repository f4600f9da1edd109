"""Too much of anything: bodies, headers, fields. It ends with an answer, soon, and nothing is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import Client
from gantry_agent import keys

from controlplane.asgi import application
from controlplane.lib.bodies import MOST_BYTES, BodyLimit
from controlplane.operations.models import Operation
from hosts.models import EnrolmentToken
from tests.security.fleet import Fleet

Headers = list[tuple[bytes, bytes]]
NAMES = ["x-repeated", "cookie", "origin", "host", "accept", "content-type", "referer", "x-forwarded-for", "hx-target"]


def scope(path: str = "/login/", method: str = "POST", headers: Headers | None = None) -> dict[str, Any]:
    given = [(b"host", b"127.0.0.1:8420"), *(headers or [])]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": given,
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8420),
    }


async def status(browser: ApplicationCommunicator) -> int:
    answer = await browser.receive_output(timeout=30)
    assert answer["type"] == "http.response.start"
    while (await browser.receive_output(timeout=30)).get("more_body"):
        pass
    await browser.wait(timeout=30)
    return int(answer["status"])


@pytest.mark.parametrize("said", [b"8388609", b"99999999999999999999", b"-1", b"x", b"1e3", b"\xb2"])
async def test_a_body_that_says_it_is_too_large_is_not_read(said: bytes) -> None:
    browser = ApplicationCommunicator(application, scope(headers=[(b"content-length", said)]))
    assert await status(browser) == 413
    assert browser.input_queue.empty()


async def test_a_body_that_does_not_say_its_size_is_read_no_further_than_the_limit() -> None:
    """Django would write all of it to the disk before any view is asked."""
    browser = ApplicationCommunicator(application, scope(headers=[(b"transfer-encoding", b"chunked")]))
    piece = b"x" * (1024 * 1024)
    pieces = MOST_BYTES // len(piece) + 20
    for _ in range(pieces):
        await browser.send_input({"type": "http.request", "body": piece, "more_body": True})
    assert await status(browser) == 413
    assert browser.input_queue.qsize() >= 10


async def test_a_body_within_the_limit_arrives_whole() -> None:
    seen: list[bytes] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            seen.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    browser = ApplicationCommunicator(BodyLimit(inner, most=10), scope(headers=[(b"content-length", b"10")]))
    await browser.send_input({"type": "http.request", "body": b"12345", "more_body": True})
    await browser.send_input({"type": "http.request", "body": b"67890", "more_body": False})
    assert await status(browser) == 204
    assert b"".join(seen) == b"1234567890"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.django_db(transaction=True)
async def test_ten_thousand_headers_of_one_name(name: str) -> None:
    """CVE-2025-14550 and its like: an answer, and the suite's time limit says soon."""
    headers = [(name.encode(), b"a=b")] * 10_000
    browser = ApplicationCommunicator(application, scope("/healthz", "GET", headers))
    await browser.send_input({"type": "http.request", "body": b"", "more_body": False})
    assert await status(browser) in (200, 400, 503)


@pytest.mark.parametrize("path", ["/containers/do/stop/", "/images/remove/", "/login/", "/hosts/add/"])
def test_ten_thousand_fields_are_refused(administrator: Client, fleet: Fleet, path: str) -> None:
    """The list of ids, too: a selection ends at a thousand."""
    answer = administrator.post(path, {"ids": ["1"] * 10_000, "images": ["1"] * 10_000})
    assert answer.status_code == 400
    assert not Operation.objects.exclude(pk=fleet.operation.pk).exists()


@pytest.mark.parametrize("path", ["/containers/", "/images/", "/operations/", "/hosts/", "/containers/run/"])
def test_ten_thousand_parameters_in_an_address(administrator: Client, fleet: Fleet, path: str) -> None:
    query = "&".join(f"q=a{number}&host=1&label=x" for number in range(10_000))
    assert administrator.get(f"{path}?{query}").status_code in (200, 400)


@pytest.mark.parametrize("path", ["/containers/run/", "/hosts/add/", "/login/"])
def test_a_field_of_megabytes_is_refused(administrator: Client, fleet: Fleet, path: str) -> None:
    assert administrator.post(path, {"environment": "x" * 3_000_000}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"[" * 8000, b'{"a":' * 2000, b'{"token":"\\ud800","public_key":"x"}', b"\xff\xfe", b"1e999", b"null", b'"x"'],
)
def test_an_agents_document_of_any_shape_is_refused_in_words(client: Client, db: None, body: bytes) -> None:
    answer = client.post("/agent/enrol", body, "application/json")
    assert answer.status_code == 400
    assert answer.json()["hint"]


@pytest.mark.parametrize("field", ["token", "hostname", "agent_version"])
def test_half_a_character_is_no_defect_of_ours(client: Client, fleet: Fleet, field: str) -> None:
    """No database can store one."""
    _, token = EnrolmentToken.issue(fleet.host, fleet.administrator)
    said = {"token": token, "public_key": keys.public_text(keys.generate()), "hostname": "h", "agent_version": "1"}
    answer = client.post("/agent/enrol", json.dumps(said | {field: "\ud800\0"}), "application/json")
    assert answer.status_code == (403 if field == "token" else 200)


@pytest.mark.parametrize("length", ["", "x", "-5"])
def test_an_odd_length_is_refused(client: Client, db: None, length: str) -> None:
    answer = client.post("/agent/enrol", b"{}", "application/json", CONTENT_LENGTH=length)
    assert answer.status_code == 400
