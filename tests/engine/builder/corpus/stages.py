"""Several stages, COPY --from, targets, scratch, triggers."""

from tests.engine.builder.corpus.row import BUILDAH, DOCKER, folder, link, mode, row

ROWS = (
    row(
        "from-stage",
        "FROM base:1 AS one\nRUN mkdir -p /o/d; echo 1 > /o/f; chown 5:6 /o/f /o/d; chmod 700 /o/d; ln -s f /o/l\n"
        "FROM base:1\nCOPY --from=one /o /p\nCOPY --from=0 /o/f /q/\n"
        "COPY --from=ONE /o/l /r\n",
        differs={BUILDAH: {"fails": "buildah tells capitals of a stage's name apart"}},
    ),
    row(
        "from-stage-chown",
        "FROM base:1 AS one\nRUN mkdir /o; echo 1 > /o/f; chown 5:6 /o/f\nFROM base:1\n"
        "COPY --from=one --chown=8:9 /o /p\n",
    ),
    row("from-stage-relative", "FROM base:1 AS one\nWORKDIR /w\nRUN echo > f\nFROM base:1\nCOPY --from=one w/f /x\n"),
    row(
        "from-stage-wildcard",
        "FROM base:1 AS one\nRUN echo 1 > /f1; echo 2 > /f2\nFROM base:1\nCOPY --from=one /f* /x/\n",
    ),
    row("from-stage-missing", "FROM base:1 AS one\nFROM base:1\nCOPY --from=one /none /x\n", fails=True),
    row("from-image", "FROM base:1\nCOPY --from=base:1 /etc/passwd /etc/group /p/\n"),
    row(
        "stage-on-stage",
        "FROM base:1 AS one\nENV A=1\nRUN echo 1 > /one\nFROM one AS two\nENV B=$A\n"
        'RUN echo 2 > /two\nFROM two\nCMD ["x"]\n',
    ),
    row("target", "FROM base:1 AS one\nRUN echo 1 > /one\nFROM base:1 AS two\nRUN echo 2 > /two\n", target="one"),
    row("target-missing", "FROM base:1 AS one\n", target="none", fails=True),
    row("scratch", 'FROM scratch\nCOPY f /d/f\nENV A=1\nWORKDIR /w\nCMD ["/x"]\n', {"f": "f\n"}),
    row(
        "scratch-from-stage",
        "FROM base:1 AS b\nFROM scratch\nCOPY --from=b /bin/busybox /bin/sh /bin/\nRUN echo > /x\n",
        differs={
            DOCKER: {"config WorkingDir": "FROM scratch begins in /, as in BuildKit"},
            BUILDAH: {"config WorkingDir": "FROM scratch begins in /, as in BuildKit"},
        },
    ),
    row(
        "scratch-chown",
        "FROM scratch\nCOPY --chown=3:4 f /a/f\nCOPY d /\n",
        {"f": "", "d": folder(0o700), "d/l": link("x"), "d/m": mode(0o755)},
        differs={
            DOCKER: {"config WorkingDir": "FROM scratch begins in /, as in BuildKit"},
            BUILDAH: {"config WorkingDir": "FROM scratch begins in /, as in BuildKit"},
        },
    ),
    row(
        "scratch-nothing",
        "FROM scratch\n",
        fails=True,
        differs={BUILDAH: {"fails": "buildah makes an image of nothing"}},
    ),
    row("arg-in-from", "ARG B=base\nARG T\nFROM ${B}:${T:-1}\nENV B=$B\n"),
    row(
        "stage-name-by-arg",
        "ARG WHICH=one\nFROM base:1 AS one\nENV N=1\nFROM base:1 AS two\nENV N=2\nFROM $WHICH\nENV M=$N\n",
        args={"WHICH": "two"},
    ),
    row(
        "triggers",
        "FROM triggers:1\nENV AFTER=$FROM_TRIGGER\n",
        {"f": "f\n"},
        base="FROM base:1\nONBUILD ENV FROM_TRIGGER=1\nONBUILD COPY f /f\n"
        "ONBUILD RUN cat /f > /g\nONBUILD WORKDIR /t\n",
    ),
    row("missing-stage", "FROM base:1\nCOPY --from=5 /a /b\n", fails=True),
    row(
        "same-name-twice",
        "FROM base:1 AS a\nFROM base:1 AS a\n",
        differs={
            DOCKER: {"fails": "a name may be given again, as in BuildKit: the last one before counts"},
        },
    ),
)
