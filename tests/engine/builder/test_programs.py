"""Real programs built from Debian content, run, served through a published port and asked by HTTP.

The base is what debootstrap makes; compilers come from Debian's mirror, libraries from PyPI, in the build itself. RUN
uses the machine's network (and its root certificates, for a network that has an authority of its own).
"""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bare import machine
from tests.conftest import need
from tests.engine.builder.building import Files, build
from tests.support.counts import IS_FULL
from tests.support.engines import Native
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.root

DEBIAN = "debian:bookworm"
LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/lib/git-core", "./usr/lib/gcc",
            "./var/cache/apt", "./dev", "./proc", "./sys")  # fmt: skip
APT = "--mount=type=cache,target=/var/lib/apt/lists --mount=type=cache,target=/var/cache/apt,id=debs"
INSTALL = f"RUN {APT} apt-get update -q && apt-get install -qy --no-install-recommends"
CERTIFICATES = Path(os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"))
TIMEOUT = 900.0  # seconds a build may take

C_SERVER = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8000)};
    const char *said = "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nfrom C\n";
    char asked[4096];
    int server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&at, sizeof at) || listen(server, 16)) return perror("listen"), 1;
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (read(client, asked, sizeof asked) > 0 && write(client, said, strlen(said)) < 0) perror("write");
        close(client);
    }
}
"""
C_DOCKERFILE = f"""\
FROM {DEBIAN} AS build
{INSTALL} gcc libc6-dev
WORKDIR /src
COPY server.c .
RUN gcc -Wall -Werror -O2 -static -o /server server.c

FROM scratch
COPY --from=build /server /server
EXPOSE 8000
USER 1000:1000
ENTRYPOINT ["/server"]
"""

PYTHON_APP = """\
from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index():
    return f"from Flask, hello {request.args.get('name', 'nobody')}\\n"
"""
PYTHON_DOCKERFILE = f"""\
FROM {DEBIAN} AS build
{INSTALL} python3-venv
ARG PIP_INDEX_URL
RUN python3 -m venv /app/venv
COPY requirements.txt /app/
RUN --mount=type=bind,source=ca.pem,target=/run/ca.pem --mount=type=cache,target=/root/.cache/pip \\
    /app/venv/bin/pip install --cert /run/ca.pem --requirement /app/requirements.txt

FROM {DEBIAN}
COPY --from=build /app/venv /app/venv
COPY app.py /app/
WORKDIR /app
USER nobody
EXPOSE 8000
CMD ["venv/bin/flask", "run", "--host=0.0.0.0", "--port=8000"]
"""

NODE_SERVER = """\
const http = require("http");
const words = require("./words");
http.createServer((_, answer) => answer.end(words.join(" ") + "\\n")).listen(8000);
"""
NODE_BUNDLE = """\
// What a bundler does, in small: every module becomes a function of one file.
const fs = require("fs");
const parts = ["words", "server"].map((name) => `"./${name}": (module, require) => {${fs.readFileSync(name + ".js")}}`);
console.log(`const all = {${parts}}, made = {};
const load = (name) => {
  if (!all[name]) return require(name);
  if (!made[name]) { made[name] = {exports: {}}; all[name](made[name], load); }
  return made[name].exports;
};
load("./server");`);
"""
NODE_DOCKERFILE = f"""\
FROM {DEBIAN} AS node
{INSTALL} nodejs

FROM node AS bundle
WORKDIR /src
COPY *.js ./
RUN node bundle.js > /bundle.js && node --check /bundle.js

FROM node
COPY --from=bundle /bundle.js /srv/
EXPOSE 8000
CMD ["node", "/srv/bundle.js"]
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Native]:
    need(Native.why_not(), machine.why_not())
    with Native() as engine:
        tar = ["tar", "-C", str(machine.tree()), "--numeric-owner", *(f"--exclude={each}" for each in LEFT_OUT)]
        with subprocess.Popen([*tar, "-c", "."], stdout=subprocess.PIPE) as packing:
            importing = ["docker", "-H", f"unix://{engine.socket}", "import", "-", "imported:1"]
            subprocess.run(importing, stdin=packing.stdout, check=True, capture_output=True)
        unsafe = "RUN echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io"  # it is thrown away
        assert build(engine, f"FROM imported:1\n{unsafe}\n", t=DEBIAN).image
        yield engine


def answer(engine: Native, dockerfile: str, files: Files, query: str = "") -> str:
    """Build it, run it, and ask it."""
    image = build(engine, dockerfile, files, networkmode="host", timeout=TIMEOUT).image
    port = free_port()
    bindings = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    engine.run(image, HostConfig={"PortBindings": bindings})

    def ask() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{query}", timeout=5) as got:
                return str(got.read().decode())
        except OSError:
            return ""

    return eventually(ask, timeout=30, what="the program answers")


@pytest.mark.timeout(TIMEOUT)
def test_a_c_program_on_scratch(engine: Native) -> None:
    assert answer(engine, C_DOCKERFILE, {"server.c": C_SERVER}) == "from C\n"


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.skipif(not IS_FULL, reason="a minute of downloads: with GANTRY_FULL=1")
def test_a_python_program_with_its_dependencies_from_pypi(engine: Native) -> None:
    files = {"app.py": PYTHON_APP, "requirements.txt": "flask>=3,<4\n", "ca.pem": CERTIFICATES.read_bytes()}
    assert answer(engine, PYTHON_DOCKERFILE, files, "?name=you") == "from Flask, hello you\n"


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.skipif(not IS_FULL, reason="a minute of downloads: with GANTRY_FULL=1")
def test_a_node_program_in_stages(engine: Native) -> None:
    files = {"server.js": NODE_SERVER, "words.js": 'module.exports = ["from", "Node"];\n', "bundle.js": NODE_BUNDLE}
    assert answer(engine, NODE_DOCKERFILE, files) == "from Node\n"
