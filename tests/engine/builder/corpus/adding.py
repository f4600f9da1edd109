"""ADD: what COPY does, and archives unpacked."""

import bz2
import gzip
import lzma
import tarfile

from tests.engine.builder.corpus.row import BUILDAH, DOCKER, row
from tests.engine.tars import entry, folder, symlink, tar_of

ARCHIVE = tar_of(
    [
        folder("t", mode=0o750, uid=7, gid=8),
        entry("t/f", b"f\n", mode=0o4750, uid=7, gid=8),
        symlink("t/l", "f"),
        entry("t/h", type=tarfile.LNKTYPE, linkname="t/f", mode=0o4750, uid=7, gid=8),
        entry("top", b"top\n", mode=0o600),
        folder("empty", mode=0o1777),
    ]
)
UPWARDS = tar_of([entry("../up", b"up\n"), entry("/abs", b"abs\n"), entry("./dot", b"dot\n")])
ARCHIVES = {
    "a.tar": ARCHIVE,
    "a.tar.gz": gzip.compress(ARCHIVE, mtime=0),
    "a.tar.xz": lzma.compress(ARCHIVE),
    "a.tar.bz2": bz2.compress(ARCHIVE),
}

ROWS = (
    row("add-file", "FROM base:1\nADD f /new/f\nADD d /d\nADD f d /m/\n", {"f": "f\n", "d/x": "x\n"}),
    row("add-tar", "FROM base:1\nADD a.tar /plain\nADD a.tar /slash/\n", ARCHIVES),
    row("add-gzip", "FROM base:1\nADD a.tar.gz /x/\n", ARCHIVES),
    row("add-xz", "FROM base:1\nADD a.tar.xz /x/\n", ARCHIVES),
    row("add-bzip2", "FROM base:1\nADD a.tar.bz2 /x/\n", ARCHIVES),
    row("add-archive-with-another-name", "FROM base:1\nADD data /x/\n", {"data": ARCHIVES["a.tar.gz"]}),
    row(
        "add-no-archive",
        "FROM base:1\nADD no.tar /x/\nADD some.gz /x/\n",
        {"no.tar": "text\n", "some.gz": gzip.compress(b"text\n", mtime=0)},
    ),
    row("add-empty-archive", "FROM base:1\nADD e.tar /x/\n", {"e.tar": tar_of([])}),
    row(
        "add-archive-chown",
        "FROM base:1\nADD --chown=3:4 a.tar /x/\n",
        ARCHIVES,
        differs={DOCKER: {"file x": "Docker makes the folder for an archive root's"}},
    ),
    row(
        "add-archive-over",
        "FROM base:1\nRUN mkdir -p /x/t /x/top && echo > /x/t/kept\nADD a.tar /x\n",
        ARCHIVES,
        fails=True,
        differs={
            DOCKER: {
                "fails": "replaces what is in the way; here, as in BuildKit, nothing of another kind is overwritten"
            },
            BUILDAH: {
                "fails": "replaces what is in the way; here, as in BuildKit, nothing of another kind is overwritten"
            },
        },
    ),
    row(
        "add-archive-names",
        "FROM base:1\nADD u.tar /x/y/\n",
        {"u.tar": UPWARDS},
        fails=True,
        differs={
            DOCKER: {"fails": "an archive whose names leave its folder is refused here, Docker keeps them inside"},
            BUILDAH: {"fails": "an archive whose names leave its folder is refused here, buildah keeps them inside"},
        },
    ),
    row("add-archives-by-wildcard", "FROM base:1\nADD a.tar.* /x/\n", ARCHIVES),
    row("add-archive-in-a-folder", "FROM base:1\nADD d /x/\n", {"d/a.tar": ARCHIVE}),
    row("copy-archive", "FROM base:1\nCOPY a.tar /x/\n", ARCHIVES),
)
