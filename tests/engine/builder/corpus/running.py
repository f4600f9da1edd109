"""RUN: what it deletes and replaces, who runs it, what it sees, and volumes."""

from tests.engine.builder.corpus.row import BUILDAH, NEWER_THAN_DOCKER, row

ROWS = (
    row(
        "run-forms",
        'FROM base:1\nRUN echo "shell $HOME" > /a\nRUN ["sh", "-c", "echo exec > /b"]\nRUN ["cp", "/a", "/$HOME"]\n',
    ),
    row("run-fails", "FROM base:1\nRUN exit 3\n", fails=True),
    row("run-missing-program", 'FROM base:1\nRUN ["/none"]\n', fails=True),
    row(
        "deleted",
        "FROM base:1\nRUN mkdir -p /d/e; echo > /d/f; echo > /d/e/g; echo > /x\n"
        "RUN rm /d/f /x /etc/group; rm -r /d/e\n",
    ),
    row("deleted-folder", "FROM base:1\nRUN mkdir -p /d/e && echo > /d/e/f\nRUN rm -r /d\n"),
    row(
        "folder-made-anew",
        "FROM base:1\nRUN mkdir /d && echo > /d/old\nRUN rm -r /d && mkdir -m 700 /d && echo > /d/new\n",
    ),
    row("folder-becomes-file", "FROM base:1\nRUN mkdir /d && echo > /d/old\nRUN rm -r /d && echo file > /d\n"),
    row("file-becomes-folder", "FROM base:1\nRUN echo > /f\nRUN rm /f && mkdir /f && echo > /f/in\n"),
    row("folder-becomes-link", "FROM base:1\nRUN mkdir /d /e && echo > /d/old\nRUN rm -r /d && ln -s e /d\n"),
    row(
        "deleted-and-copied-anew",
        "FROM base:1\nRUN mkdir /d && echo > /d/old\nRUN rm -r /d\nCOPY f /d/\n",
        {"f": "f\n"},
    ),
    row("moved", "FROM base:1\nRUN mkdir /d && echo 1 > /d/f\nRUN mv /d /e && mv /e/f /e/g\n"),
    row("modes-changed", "FROM base:1\nRUN echo > /f; mkdir /d\nRUN chmod 4755 /f; chown 5:6 /f /d; chmod 1777 /d\n"),
    row("hard-links-run", "FROM base:1\nRUN echo 1 > /a; ln /a /b\nRUN ln /a /c; mkdir /d; ln /a /d/e\n"),
    row("nodes", "FROM base:1\nRUN mkfifo -m 640 /pipe; mkdir /empty; ln -s /none /dangling; touch /zero\n"),
    row("umask-and-folder", "FROM base:1\nWORKDIR /w\nRUN umask > u; pwd >> u; touch f; mkdir d\n"),
    row(
        "environment",
        "FROM base:1\nENV A='a b'\nARG B=c\nRUN env | grep -v -e HOSTNAME -e SHLVL -e container | sort > /env\n",
    ),
    row("environment-of-a-user", "FROM base:1\nUSER nobody\nRUN echo $HOME $PWD > /tmp/home\n"),
    row(
        "volume-before-run",
        "FROM base:1\nRUN mkdir /v && echo > /v/before\nVOLUME /v\nRUN echo > /v/lost; echo > /kept\n",
    ),
    row("volume-before-copy", "FROM base:1\nVOLUME /v\nCOPY f /v/f\nRUN ls /v > /seen\n", {"f": "f\n"}),
    row("volume-after-run", "FROM base:1\nRUN mkdir /v && echo > /v/f && chown 5:5 /v\nVOLUME /v\n"),
    row("places-of-the-engine", "FROM base:1\nRUN echo x > /etc/resolv.conf; echo > /dev/shm/x; ls -a / > /dev/null\n"),
    row(
        "run-mounts",
        """\
        FROM base:1 AS src
        RUN echo stage > /s
        FROM base:1
        RUN --mount=type=bind,source=f,target=/m/f cat /m/f > /bound
        RUN --mount=type=bind,from=src,source=/,target=/src cat /src/s > /staged
        RUN --mount=type=tmpfs,target=/t echo > /t/gone; echo > /tmpfs
        RUN --mount=type=cache,target=/c echo > /c/gone; echo > /cache
        """,
        {"f": "f\n"},
        unknown=NEWER_THAN_DOCKER,
        makes={"bound": "-rw-r--r-- 0:0 f", "staged": "-rw-r--r-- 0:0 stage", "t/gone": "", "c/gone": ""},
        differs={BUILDAH: {"file m": "buildah leaves the folder a mount stood on"}},
    ),
)
