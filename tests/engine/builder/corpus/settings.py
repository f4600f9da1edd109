"""What goes into the image's configuration."""

from tests.engine.builder.corpus.row import BUILDAH, DOCKER, row

FORGETS_THE_REST = (
    "Docker 20.10 forgets what stands behind a list; here, as in BuildKit of today, all of it is a shell's line"
)
OF_THE_BASE = "a stage on top of another has its arguments, as in BuildKit"

ROWS = (
    row(
        "env-forms",
        """\
        FROM base:1
        ENV OLD a  value "in" one
        ENV A=1 B="two words" C='single $A' D=es\\ caped
        ENV E=$A F=${A}x G=\\$A H="$B" I=
        ENV A=2 J=$A
        ENV PATH=$PATH:/opt
        """,
        differs={BUILDAH: {"config Env": "a variable of the base that is set again moves to the end"}},
    ),
    row(
        "env-modifiers",
        """\
        FROM base:1
        ENV SET=s EMPTY=
        ENV A=${SET:-d} B=${EMPTY:-d} C=${NONE:-d} D=${SET:+p} E=${EMPTY:+p} F=${NONE:+p}
        ENV G=${NONE:-${SET}} H=${NONE:-$SET-x} I=x${NONE}y
        """,
    ),
    row("env-same-line", "FROM base:1\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n"),
    row(
        "env-where",
        "FROM base:1\nENV D=/d U=5 P=81 V=/v S=SIGINT\nWORKDIR $D/x\nUSER ${U}:$U\nEXPOSE $P/udp\n"
        'VOLUME $V\nSTOPSIGNAL $S\nLABEL l=$D "$U"=k\nRUN echo $D > /tmp/$U\nCMD echo $D\n',
    ),
    row(
        "arg-scopes",
        """\
        ARG TAG=1
        ARG OUTER=out
        FROM base:$TAG
        ARG OUTER
        ARG INNER=in
        ARG NONE
        ARG DERIVED=$INNER-$OUTER
        ENV SEEN=$OUTER/$INNER/$NONE/$DERIVED/$TAG
        RUN echo $OUTER $INNER $NONE $DERIVED > /seen
        ENV INNER=env
        RUN echo $INNER > /env
        """,
        args={"INNER": "given"},
    ),
    row(
        "arg-before-and-after",
        """\
        FROM base:1
        ENV EARLY=${A:-unset}
        ARG A=1
        RUN echo $A > /a
        ARG A=2
        RUN echo $A > /b
        """,
    ),
    row(
        "arg-predefined",
        "FROM base:1\nRUN echo $HTTP_PROXY > /proxy\n",
        args={"HTTP_PROXY": "http://proxy:1"},
        differs={DOCKER: {"history 2": "Docker counts the arguments though a proxy is none that it tells"}},
    ),
    row(
        "arg-of-the-base-stage",
        "FROM base:1 AS a\nARG X=1\nENV E=2\nARG E=3\nFROM a AS b\nENV Y=[$X]\nRUN echo $X $E > /x\n"
        "FROM b\nARG X=4\nRUN echo $X > /y\n",
        differs={
            DOCKER: dict.fromkeys(("file x", "config Env", "history 5", "history 6"), OF_THE_BASE),
            BUILDAH: dict.fromkeys(("file x", "config Env"), OF_THE_BASE),
        },
        makes={"x": "-rw-r--r-- 0:0 1 2", "y": "-rw-r--r-- 0:0 4"},
    ),
    row("arg-of-another-stage", "FROM base:1 AS a\nARG X=1\nFROM base:1\nENV Y=[$X]\n"),
    row(
        "labels",
        """\
        FROM base:1
        LABEL one=1 "two words"="a b" three='single "inside"' four=es\\ caped
        LABEL old style value
        LABEL multi="a \\
        b" one=again
        LABEL empty= com.example.dotted-key="x=y"
        """,
    ),
    row(
        "expose",
        "FROM base:1\nEXPOSE 80 53/udp 8000-8003 443/TCP\nEXPOSE 80/tcp 9/sctp\n",
        differs={BUILDAH: {"config ExposedPorts": "buildah knows no ranges, and keeps capitals"}},
    ),
    row(
        "expose-bad",
        "FROM base:1\nEXPOSE 80/xyz\n",
        fails=True,
        differs={BUILDAH: {"fails": "buildah takes any protocol"}},
    ),
    row(
        "users",
        "FROM base:1\nUSER nobody\nRUN id > /tmp/id; echo x > /tmp/x\nUSER 1000\nRUN id -u > /tmp/1000\n"
        "USER 5:6\nRUN echo > /tmp/56\nUSER nobody:root\n",
    ),
    row(
        "workdir",
        "FROM base:1\nWORKDIR /a\nWORKDIR b\nWORKDIR ../c\nRUN pwd > here\nWORKDIR /\nWORKDIR d//e/./f/\n"
        "USER 3\nWORKDIR /of/whom\n",
        differs={BUILDAH: {"file of*": "buildah gives a folder it makes to the USER"}},
    ),
    row("workdir-is-there", "FROM base:1\nRUN mkdir -m 700 /w && chown 4:5 /w\nWORKDIR /w\nWORKDIR /w/in\n"),
    row("workdir-through-a-link", "FROM base:1\nRUN mkdir /real && ln -s real /link\nWORKDIR /link/x\n"),
    row(
        "commands-shell",
        """\
        FROM base:1
        CMD echo "hi"   $HOME
        ENTRYPOINT exec top -b
        """,
    ),
    row("commands-exec", 'FROM base:1\nENTRYPOINT ["e", "$HOME"]\nCMD ["a", "b c", "\\\\"]\n'),
    row(
        "commands-exec-and-a-rest",
        'FROM base:1\nENTRYPOINT ["e"] rest\nCMD ["c"] rest\n',
        differs={DOCKER: dict.fromkeys(("config Entrypoint", "config Cmd", "history *"), FORGETS_THE_REST)},
    ),
    row("commands-empty", "FROM base:1\nENTRYPOINT []\nCMD []\n"),
    row("entrypoint-forgets-the-base-s-command", 'FROM base:1\nENTRYPOINT ["e"]\n'),
    row("entrypoint-keeps-its-own-command", 'FROM base:1\nCMD ["c"]\nENTRYPOINT ["e"]\n'),
    row(
        "entrypoint-of-the-base",
        'FROM entrypoint-of-the-base:1\nCMD ["new"]\n',
        base='FROM base:1\nENTRYPOINT ["e"]\nCMD ["c"]\n',
    ),
    row(
        "shell",
        'FROM base:1\nSHELL ["/bin/sh", "-ec"]\nRUN echo $0 $- > /x\nCMD echo\nENTRYPOINT run\n'
        "HEALTHCHECK CMD test -e /x\nENV A=1\nCOPY Dockerfile /d\nWORKDIR /w\n"
        "",
        differs={
            BUILDAH: {
                "config Cmd": "buildah runs the shell form of these with /bin/sh whatever SHELL says",
                "config Entrypoint": "buildah runs the shell form of these with /bin/sh whatever SHELL says",
            }
        },
    ),
    row("stopsignal", "FROM base:1\nSTOPSIGNAL SIGRTMIN+3\n"),
    row("stopsignal-number", "FROM base:1\nSTOPSIGNAL 9\n"),
    row("stopsignal-bad", "FROM base:1\nSTOPSIGNAL SIGNOTHING\n", fails=True),
    row(
        "healthcheck",
        "FROM base:1\n"
        "HEALTHCHECK --interval=5m --timeout=3.5s --start-period=1h1m --retries=4 CMD curl -f  x || exit 1\n",
    ),
    row("healthcheck-exec", 'FROM base:1\nHEALTHCHECK CMD ["test", "-e", "/"]\n'),
    row("healthcheck-none", "FROM base:1\nHEALTHCHECK CMD true\nHEALTHCHECK NONE\n"),
    row("volume-forms", 'FROM base:1\nVOLUME /a /b\nVOLUME ["/c", "/d e"]\nVOLUME /a\n'),
    row("maintainer", "FROM base:1\nMAINTAINER Some One <a@b>\n"),
    row(
        "onbuild",
        'FROM base:1\nONBUILD RUN echo $A\nONBUILD  copy  . /x\nONBUILD ENV A=1 \\\n  B=2\nONBUILD CMD ["x"]\n',
    ),
    row("onbuild-bad", "FROM base:1\nONBUILD ONBUILD RUN x\n", fails=True),
    row("onbuild-from", "FROM base:1\nONBUILD FROM base:1\n", fails=True),
    row("nothing-new", "FROM base:1\n"),
)
