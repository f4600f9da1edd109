"""What a build downloads: ADD of an address, and a context or a Dockerfile that `remote` names."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.engine.builder.building import BASE, build, context, send
from tests.engine.tars import entry, tar_of
from tests.support.engines import Native

pytestmark = pytest.mark.root

FILE = b"from afar\n"
ARCHIVE = gzip.compress(tar_of([entry("inside", FILE)]), mtime=0)
ENDLESS = 64 << 20  # bytes: more than any Dockerfile
PAGES = {
    "/f": ("application/octet-stream", FILE),
    "/x.tar.gz": ("application/gzip", ARCHIVE),
    "/Dockerfile": ("text/plain", f"FROM {BASE}\nRUN echo read from afar\n".encode()),
    "/context.tar": (
        "application/x-tar",
        context({"Dockerfile": f"FROM {BASE}\nCOPY g /g\nRUN cat /g\n", "g": "in it\n"}),
    ),
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, content = PAGES.get(self.path, ("text/plain", b"#" * ENDLESS))
        self.send_response(404 if self.path == "/nothing" else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT")
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            pass  # the engine has seen enough

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_add_downloads_with_the_time_it_was_made_and_for_root_alone(engine: Native, address: str) -> None:
    image = build(engine, f"FROM {BASE}\nADD {address}/f /got/\n").image
    said = engine.cli("run", "--rm", "--network=none", image, "stat", "-c", "%a %u %Y", "/got/f")
    assert said == "600 0 1600000000\n"
    assert engine.cli("run", "--rm", "--network=none", image, "cat", "/got/f").encode() == FILE


@pytest.mark.parametrize(
    ("flag", "there"),
    [
        ("", "inside\nx.tar.gz\n"),
        ("--unpack=true", "inside\n"),
        ("--unpack=false", "local.tar.gz\nx.tar.gz\n"),
    ],
)
def test_an_archive_from_afar_is_unpacked_when_asked_for_and_a_local_one_by_itself(
    engine: Native, address: str, flag: str, there: str
) -> None:
    image = build(
        engine, f"FROM {BASE}\nADD {flag} local.tar.gz {address}/x.tar.gz /got/\n", {"local.tar.gz": ARCHIVE}
    ).image
    assert engine.cli("run", "--rm", "--network=none", image, "ls", "/got") == there


def test_an_archive_from_afar_is_another_step_than_the_same_one_here(engine: Native, address: str) -> None:
    """History tells of them alike."""
    members = [
        entry("Dockerfile", f"FROM {BASE}\nADD x.tar.gz /got/\n".encode()),
        entry("x.tar.gz", ARCHIVE, mode=0o600),
    ]
    send(engine, tar_of(members))
    image = build(engine, f"FROM {BASE}\nADD {address}/x.tar.gz /got/\n").image
    assert engine.cli("run", "--rm", "--network=none", image, "ls", "/got") == "x.tar.gz\n"


def test_a_checksum_is_held_to(engine: Native, address: str) -> None:
    right, wrong = hashlib.sha256(FILE).hexdigest(), "0" * 64
    assert build(engine, f"FROM {BASE}\nADD --checksum=sha256:{right} {address}/f /f\n").image
    error = build(engine, f"FROM {BASE}\nADD --checksum=sha256:{wrong} {address}/f /f\n").error
    assert "Dockerfile:2: ADD: digest mismatch" in error


def test_what_is_not_there_is_told(engine: Native, address: str) -> None:
    assert "answered 404" in build(engine, f"FROM {BASE}\nADD {address}/nothing /f\n").error
    assert "cannot determine filename" in build(engine, f"FROM {BASE}\nADD {address}/ /f\n").error


def test_remote_is_a_context_or_a_dockerfile(engine: Native, address: str) -> None:
    assert "read from afar" in send(engine, b"", remote=f"{address}/Dockerfile").text
    assert "in it" in send(engine, b"", remote=f"{address}/context.tar").text


def test_a_text_without_end_is_no_dockerfile(engine: Native, address: str) -> None:
    assert "bytes of text" in send(engine, b"", remote=f"{address}/endless").error


@pytest.mark.parametrize("remote", ["git@example.org:a", "ssh://example.org/a.git", "file:///etc", "ext::sh -c true"])
def test_other_sources_are_refused_by_name(engine: Native, remote: str) -> None:
    built = send(engine, b"", remote=remote)
    assert built.status in (400, 501)
    assert remote in built.error
