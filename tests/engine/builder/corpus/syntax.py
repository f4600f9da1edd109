"""How a Dockerfile is written: white space, escapes, comments, directives, heredocs."""

from tests.engine.builder.corpus.row import BUILDAH, DOCKER, NEWER_THAN_BOTH, row

ROWS = (
    row(
        "comments-and-blank-lines",
        """\
        # a comment

           # an indented one
        FROM base:1
        # between
        ENV A=1 \\
            # inside a continuation
            B=2 \\

            C=3
        """,
    ),
    row("white-space", "\n\n  FROM \t base:1  \n\tENV\tA=1\t \n  LABEL   a=b    c=d   \n \t \nCMD   echo    a   b  \n"),
    row("lower-case", 'from base:1\nenv A=1\nrUn echo x > /x\ncmd ["a"]\n'),
    row("carriage-returns", "FROM base:1\r\nENV A=1\r\nRUN echo a > /a && \\\r\n    echo b > /b\r\nCMD echo\r\n"),
    row("no-line-end", "FROM base:1\nLABEL a=b"),
    row(
        "continued",
        """\
        FROM base:1
        RUN echo one \\
            two \\
          > /x
        CMD ["a", \\
             "b"]
        """,
    ),
    row(
        "escape-backtick",
        """\
        # escape=`
        FROM base:1
        ENV A=C:\\dir B=a` b
        RUN echo one `
            two\\three > /x
        LABEL path="c:\\x\\"
        """,
        differs={
            BUILDAH: {"fails": "buildah expands variables with a backslash for the escape, whatever the directive says"}
        },
    ),
    row(
        "directives-and-no-directives",
        """\
        # syntax = docker/dockerfile:1
        # Escape = `
        FROM base:1
        # escape=\\
        ENV A=a`$B B=2
        """,
        differs={
            BUILDAH: {
                "config Env": "buildah expands variables with a backslash for the escape, whatever the directive says"
            }
        },
    ),
    row("byte-order-mark", "\ufeffFROM base:1\nENV A=1\n"),
    row(
        "json-that-is-none",
        """\
        FROM base:1
        CMD ['a', 'b']
        ENTRYPOINT [ "x" ] y
        """,
        differs={
            DOCKER: {
                "config Entrypoint": "reads the list and forgets what follows; here it is a shell's line",
                "history 3": "reads the list and forgets what follows; here it is a shell's line",
            },
            BUILDAH: {"config Entrypoint": "reads the list and forgets what follows; here it is a shell's line"},
        },
    ),
    row("json-unicode", 'FROM base:1\nCMD ["é", "\\u00e9", "a\\tb", "\\"q\\"", ""]\n'),
    row("utf-8", "FROM base:1\nENV GREETING=grüß\nLABEL ключ=значение\nRUN echo $GREETING > /ö\n"),
    row("unknown-instruction", "FROM base:1\nFETCH a\n", fails=True),
    row("no-from", "ENV A=1\n", fails=True),
    row("env-without-value", "FROM base:1\nENV A\n", fails=True),
    row("unclosed-quote", 'FROM base:1\nENV A="x\n', fails=True),
    row(
        "heredoc-script",
        """\
        FROM base:1
        RUN <<EOF
        echo one > /one
        cd /tmp
        echo $PWD > /two
        EOF
        """,
        unknown=NEWER_THAN_BOTH,
        makes={"one": "-rw-r--r-- 0:0 one", "two": "-rw-r--r-- 0:0 /tmp"},
    ),
    row(
        "heredoc-of-a-command",
        """\
        FROM base:1
        RUN cat > /x <<EOF && cat <<-'B' > /y
        a $((1+1))
        EOF
        \tindented $HOME
        \tB
        """,
        unknown=NEWER_THAN_BOTH,
        makes={"x": "-rw-r--r-- 0:0 a 2", "y": "-rw-r--r-- 0:0 indented $HOME"},
    ),
    row(
        "heredoc-files",
        """\
        FROM base:1
        ENV NAME=world
        COPY --chown=7:8 <<EOF <<"RAW" <<-TABS /made/
        hello $NAME
        EOF
        hello $NAME
        RAW
        \t\tin
        \tTABS
        COPY <<one /one
        1
        one
        """,
        unknown=NEWER_THAN_BOTH,
        makes={
            "made": "drwxr-xr-x 7:8",
            "made/EOF": "-rw-r--r-- 7:8 hello world",
            "made/RAW": "-rw-r--r-- 7:8 hello $NAME",
            "made/TABS": "-rw-r--r-- 7:8 in",
            "one": "-rw-r--r-- 0:0 1",
        },
    ),
)
