"""COPY: what goes where, whose it is, and what is in its way."""

from tests.engine.builder.corpus.row import (
    BUILDAH,
    DOCKER,
    NEWER_THAN_BOTH,
    NEWER_THAN_DOCKER,
    fifo,
    folder,
    hard,
    link,
    mode,
    row,
)

SOME = {
    "a": "a\n",
    "b": "b\n",
    "d": folder(0o750, 3, 4),
    "d/x": mode(0o640, "x\n", 5, 6),
    "d/e": folder(0o700),
    "d/e/y": mode(0o755, "y\n"),
    "d/empty": folder(0o1777),
}
IGNORING = {
    "a.txt": "",
    "b.log": "",
    "keep.log": "",
    "deep/c.log": "",
    "deep/d.txt": "",
    "secret/s": "",
    "secret/open": "",
    "node/x/y": "",
}

ROWS = (
    row("file-to-file", "FROM base:1\nCOPY a /b\nCOPY a new/dir/c\nCOPY b /b\n", SOME),
    row("file-to-folder", "FROM base:1\nCOPY a /new/\nCOPY a /tmp\nCOPY a .\nCOPY ./b ./rel/\n", SOME),
    row("file-relative", "FROM base:1\nWORKDIR /w\nCOPY a b\nCOPY b sub/\nCOPY a ../up\nCOPY a .\n", SOME),
    row("folder-contents", "FROM base:1\nCOPY d /new\nCOPY d/ /slash/\nCOPY d/e /tmp\n", SOME),
    row("folder-onto-folder", "FROM base:1\nRUN mkdir -m 711 /t && chown 9:9 /t && echo > /t/kept\nCOPY d /t\n", SOME),
    row("folder-onto-file", "FROM base:1\nRUN echo > /f\nCOPY d /f\n", SOME, fails=True),
    row(
        "file-onto-folder-within",
        "FROM base:1\nRUN mkdir -p /t/x\nCOPY d /t\n",
        SOME,
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
        "folder-onto-file-within",
        "FROM base:1\nRUN mkdir /t; echo > /t/e\nCOPY d /t\n",
        SOME,
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
    row("several", 'FROM base:1\nCOPY a b d /many/\nCOPY ["a", "b", "/spaced dir/"]\n', SOME),
    row(
        "several-to-no-folder",
        "FROM base:1\nCOPY a b /many\n",
        SOME,
        fails=True,
        differs={BUILDAH: {"fails": "buildah makes the folder though no slash says that it is one"}},
    ),
    row("whole-context", "FROM base:1\nWORKDIR /all\nCOPY . .\n", SOME),
    row("missing", "FROM base:1\nCOPY nothing /\n", SOME, fails=True),
    row(
        "outside",
        "FROM base:1\nCOPY ../a /x\n",
        SOME,
        fails=True,
        differs={BUILDAH: {"fails": "buildah reads ../ at the top of the context as the top, as BuildKit does"}},
    ),
    row("root-of-context", "FROM base:1\nCOPY / /x/\nCOPY /a /y\n", SOME),
    row(
        "wildcards",
        """\
        FROM base:1
        COPY *.txt /txt/
        COPY ?.c /c/
        COPY [a-b].h /h/
        COPY d*/in? /in/
        COPY only* /single
        COPY dir* /dirs/
        """,
        {
            "a.txt": "1",
            "b.txt": "2",
            "x.c": "",
            "xy.c": "",
            "a.h": "",
            "c.h": "",
            "d1/in1": "",
            "d2/in2": "",
            "d2/out": "",
            "only1": "",
            "dir1/f": "",
            "dir2/g": "",
        },
    ),
    row("wildcard-nothing", "FROM base:1\nCOPY *.none /x/\n", SOME, fails=True),
    row(
        "wildcard-quoted",
        "FROM base:1\nCOPY arr[[]0].txt /x/\n",
        {"arr[0].txt": "", "arr0.txt": ""},
        differs={BUILDAH: {"file x/arr*": "buildah reads [[] as BuildKit does not"}},
    ),
    row(
        "names",
        'FROM base:1\nCOPY ["with space", "ü", "/x/"]\nCOPY . /all/\n',
        {"with space": "", "ü": "", "new\nline": "", "-dash": "", "d/.hidden": ""},
    ),
    row("variables", "FROM base:1\nENV F=a T=/t\nARG G=b\nCOPY $F ${G} $T/\n", SOME),
    row(
        "link-as-source",
        "FROM base:1\nCOPY to-file /f\nCOPY to-folder /d\nCOPY to-file to-folder /m/\n",
        {**SOME, "to-file": link("a"), "to-folder": link("d")},
    ),
    row(
        "links-within",
        "FROM base:1\nCOPY l /l\n",
        {
            "a": "",
            "l/up": link("../a"),
            "l/abs": link("/etc/passwd"),
            "l/none": link("nowhere"),
            "l/here": link("."),
            "l/f": "",
        },
    ),
    row("link-way", "FROM base:1\nCOPY way/x /x\n", {**SOME, "way": link("d")}),
    row(
        "link-leaves-context", "FROM base:1\nCOPY out /x\n", {"out": link("../../../etc/hostname-of-none")}, fails=True
    ),
    row(
        "link-destination-folder",
        "FROM base:1\nRUN mkdir /real && ln -s /real /abs && ln -s real /rel\n"
        "COPY a /abs/\nCOPY b /rel\nCOPY d /abs/sub\n",
        SOME,
    ),
    row(
        "link-destination-file",
        "FROM base:1\nRUN echo old > /real && ln -s real /link\nCOPY a /link\n",
        SOME,
        differs={
            BUILDAH: {
                "file link": "buildah replaces a link where Docker writes through it",
                "file real": "buildah replaces a link where Docker writes through it",
            }
        },
    ),
    row("link-destination-dangling", "FROM base:1\nRUN ln -s /missing/deep /link\nCOPY a /link/\n", SOME),
    row(
        "link-destination-dangling-file",
        "FROM base:1\nRUN ln -s /missing /link\nCOPY a /link\n",
        SOME,
        differs={BUILDAH: {"file missing*": "buildah takes a link to nothing for one to a folder"}},
    ),
    row(
        "link-within-destination",
        "FROM base:1\nRUN mkdir -p /t /real && ln -s /real /t/e && ln -s /real/x /t/x\nCOPY d/x /t/\n",
        SOME,
    ),
    row("link-onto-file", "FROM base:1\nRUN mkdir /t && echo old > /t/l\nCOPY s /t\n", {"s/l": link("x")}),
    row(
        "folder-onto-link-to-folder",
        "FROM base:1\nRUN mkdir -p /t /real && ln -s /real /t/e\nCOPY d /t\n",
        SOME,
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
        "hard-links",
        "FROM base:1\nCOPY h /h\nCOPY h/one h/two /single/\n",
        {"h/one": "same\n", "h/two": hard("h/one"), "h/sub/three": hard("h/one")},
    ),
    row(
        "modes",
        "FROM base:1\nCOPY m /m\n",
        {"m/s": mode(0o4711), "m/g": mode(0o2755), "m/none": mode(0), "m/d": folder(0o2770), "m/t": folder(0o1777)},
        differs={
            DOCKER: {
                "file m/[gs]": "loses the set-id bits when it gives files to root; here, as in BuildKit, they stay"
            },
            BUILDAH: {
                "file m/[dgs]": "loses the set-id bits when it gives files to root; here, as in BuildKit, they stay"
            },
        },
    ),
    row("pipe", "FROM base:1\nCOPY p /p\n", {"p/pipe": fifo(), "p/f": ""}),
    row(
        "chown-number", "FROM base:1\nCOPY --chown=5:6 d /d\nCOPY --chown=7 a /deep/er/a\nCOPY --chown=0:8 a /\n", SOME
    ),
    row(
        "chown-name",
        "FROM base:1\nCOPY --chown=nobody:root a /a\nCOPY --chown=1:nogroup a /b\n",
        SOME,
    ),
    row(
        "chown-name-alone",
        "FROM base:1\nCOPY --chown=nobody d /d\n",
        SOME,
        differs={
            DOCKER: {
                "fails": "Docker takes the name for a group's too, and there is none; here it is the user's own group"
            }
        },
    ),
    row("chown-unknown", "FROM base:1\nCOPY --chown=whoever a /a\n", SOME, fails=True),
    row("chown-variable", "FROM base:1\nARG WHO=3:4\nCOPY --chown=$WHO a /a\n", SOME),
    row(
        "chown-of-what-is-there",
        "FROM base:1\nRUN mkdir /t && echo > /t/old\nCOPY --chown=5:5 d /t\nCOPY --chown=6:6 a /t/\n",
        SOME,
    ),
    row("user-does-not-own", "FROM base:1\nUSER nobody\nCOPY a /made/a\n", SOME),
    row(
        "chmod",
        "FROM base:1\nCOPY --chmod=600 a /a\nCOPY --chmod=0755 d /d\nCOPY --chmod=4711 --chown=2:3 b /new/b\n",
        SOME,
        unknown=NEWER_THAN_DOCKER,
    ),
    row(
        "link-flag",
        "FROM base:1\nRUN mkdir -m 700 /t && ln -s t /l\nCOPY --link a /t/a\nCOPY --link --chown=5:6 d /new/\n",
        SOME,
        unknown=NEWER_THAN_BOTH,
        makes={"t/a": "-rw-r--r-- 0:0 a", "new": "drwxr-xr-x 5:6", "new/x": "-rw-r----- 5:6 x"},
    ),
    row(
        "parents",
        "FROM base:1\nCOPY --parents d/e/y d/x /p/\nCOPY --parents d/e /q/\n",
        SOME,
        unknown=NEWER_THAN_BOTH,
        makes={
            "p/d/e/y": "-rwxr-xr-x 0:0 y",
            "p/d/x": "-rw-r----- 0:0 x",
            "q/d/e/y": "-rwxr-xr-x 0:0 y",
            "q/d/x": "",
        },
    ),
    row(
        "parents-from-a-pivot",
        "FROM base:1\nCOPY --parents d/./e/* d/./x ./d/e/./y /p/\nCOPY --parents *d/./ /q/\nCOPY d/./x /r/\n",
        SOME,
        unknown=NEWER_THAN_BOTH,
        makes={
            "p/e/y": "-rwxr-xr-x 0:0 y",
            "p/x": "-rw-r----- 0:0 x",
            "p/y": "-rwxr-xr-x 0:0 y",
            "p/d": "",
            "q/e/y": "-rwxr-xr-x 0:0 y",
            "q/d": "",
            "r/x": "-rw-r----- 0:0 x",
        },
    ),
    row(
        "exclude",
        "FROM base:1\nCOPY --exclude=*.log --exclude=deep . /x/\n",
        IGNORING,
        unknown=NEWER_THAN_BOTH,
        makes={"x/a.txt": "-rw-r--r-- 0:0", "x/b.log": "", "x/deep": "", "x/node/x/y": "-rw-r--r-- 0:0"},
    ),
    row("unknown-flag", "FROM base:1\nCOPY --whatever a /a\n", SOME, fails=True),
    row(
        "ignored",
        "FROM base:1\nCOPY . /x/\n",
        {**IGNORING, ".dockerignore": "# comment\n*.log\n!keep.log\n**/*.txt\nsecret/*\n!secret/open\nnode\n"},
    ),
    row("ignored-source", "FROM base:1\nCOPY b.log /x\n", {**IGNORING, ".dockerignore": "*.log\n"}, fails=True),
    row("ignored-but", "FROM base:1\nCOPY . /x/\n", {**IGNORING, ".dockerignore": "*\n!deep/d.txt\n!/secret\n"}),
    row(
        "ignored-dockerfile",
        "FROM base:1\nCOPY . /x/\n",
        {**IGNORING, ".dockerignore": "Dockerfile\n.dockerignore\n/deep/../node/\n"},
    ),
)
