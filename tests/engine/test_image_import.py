"""docker import: a tar becomes an image of one layer; a bad one leaves nothing."""

import gzip
import hashlib
import http.server
import lzma
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.engine.test_image_archives import disk_of, files_of, inspect
from tests.engine.test_image_archives import native as native  # the fixture
from tests.support.engines import Native, unique
from tests.support.images import digest, make_tar

pytestmark = pytest.mark.root


def test_an_import_makes_an_image_of_one_layer(native: Native, tmp_path: Path) -> None:
    name = unique()
    (tmp_path / "root.tar").write_bytes(make_tar({"etc/name": b"x", "bin/x": b"y"}))
    image_id = native.cli(
        "import", "-m", "from a test", "-c", "CMD [\"/bin/x\"]", "-c", 'ENV A=1 B="two words"', "-c", "EXPOSE 80",
        str(tmp_path / "root.tar"), f"{name}:1",
    ).strip()  # fmt: skip
    found = inspect(native, f"{name}:1")
    assert found["Id"] == image_id
    assert found["Comment"] == "from a test"
    assert (found["Config"]["Cmd"], found["Config"]["Env"]) == (["/bin/x"], ["A=1", "B=two words"])
    assert found["Config"]["ExposedPorts"] == {"80/tcp": {}}
    assert found["RootFS"]["Layers"] == [f"sha256:{hashlib.sha256((tmp_path / 'root.tar').read_bytes()).hexdigest()}"]
    assert files_of(native, f"{name}:1") == {"name", "x"}
    history = native.expect("GET", f"/images/{name}:1/history")
    assert [(each["Comment"], each["Size"]) for each in history] == [("from a test", 2)]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_an_import_may_be_compressed(native: Native, compress: Callable[[bytes], bytes]) -> None:
    content = make_tar({"a": unique().encode()})
    status, answer = native.request("POST", "/images/create", compress(content), fromSrc="-", repo=unique(), tag="1")
    assert status == 200, answer
    assert inspect(native, answer["status"])["RootFS"]["Layers"] == [digest(content)]


def test_a_bad_import_is_refused(native: Native) -> None:
    before = disk_of(native)
    for content, query in (
        (b"", {}),
        (b"no tar" * 500, {}),
        (make_tar({"a": b""}), {"changes": "FROM x"}),
        (make_tar({"a": b""}), {"changes": "EXPOSE x"}),
        (make_tar({"a": b""}), {"repo": "UPPER"}),
        (make_tar({"a": b""}), {"platform": "/"}),
    ):
        assert native.request("POST", "/images/create", content, fromSrc="-", **query)[0] == 400, query
    assert disk_of(native) == before


def test_an_import_comes_from_an_address(native: Native, tmp_path: Path) -> None:
    content = make_tar({"a": unique().encode()})
    (tmp_path / "root.tar").write_bytes(content)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        status, answer = native.request("POST", "/images/create", fromSrc=f"{address}/root.tar")
        assert status == 200
        assert inspect(native, answer["status"])["RootFS"]["Layers"] == [digest(content)]
        assert native.request("POST", "/images/create", fromSrc=f"{address}/none")[0] == 400
    finally:
        server.shutdown()
        server.server_close()
    assert native.request("POST", "/images/create", fromSrc=f"{address}/root.tar")[0] == 503
