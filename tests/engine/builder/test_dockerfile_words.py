"""Words, quotes, escapes and variables, as Docker's builder reads them."""

import re

import pytest
from gantry_agent.engine.builder.dockerfile.errors import Fault, did_you_mean
from gantry_agent.engine.builder.dockerfile.globs import Glob
from gantry_agent.engine.builder.dockerfile.variables import MAX_EXPANDED, MAX_NESTING, Expander
from gantry_agent.engine.builder.dockerfile.words import json_strings, split_words, take_flags
from hypothesis import given
from hypothesis import strategies as st

ENV = {
    "HOME": "/root",
    "EMPTY": "",
    "GAPS": " a  b ",
    "FILE": "/srv/app/main.tar.gz",
    "STARS": "a*b?c\\d",
    "PATTERN": "*/",
    "WÖRT": "ü",
}
PLAIN = st.text(st.characters(exclude_characters="$'\"\\`", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("a", ["a"]),
        (" a \t b\u3000c ", ["a", "b", "c"]),
        ("a=b c='d e' f=\"g h\"", ["a=b", "c='d e'", 'f="g h"']),
        ("a=b\\ c d", ["a=b\\ c", "d"]),
        ("a=\\' b", ["a=\\'", "b"]),
        ('a="b\\" c" d', ['a="b\\" c"', "d"]),
        ("a='b\\' c", ["a='b\\'", "c"]),
        ("a=x'y z'\"u v\"w t", ["a=x'y z'\"u v\"w", "t"]),
        ("'' \"\"", ["''", '""']),
        ("a b\\", ["a", "b"]),
        ("a \\", ["a"]),
        ("a='b c", ["a='b c"]),
        ('a="b c\\', ['a="b c\\']),
        ("a\x1cb", ["a\x1cb"]),
    ],
)
def test_words_keep_their_quotes(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


def test_words_escape_with_the_character_chosen() -> None:
    assert split_words('a`" b\\ c', "`") == ['a`"', "b\\", "c"]


@pytest.mark.parametrize(
    ("text", "flags", "rest"),
    [
        ("a --b", [], "a --b"),
        ("--a --b=c d", ["--a", "--b=c"], "d"),
        ("  --a   b", ["--a"], "b"),
        ("--a='b c' d", ["--a=b c"], "d"),
        ('--a="b \\" c" d', ['--a=b " c'], "d"),
        ("--a='b\\'c' d", ["--a=b'c"], "d"),
        ("--a=b\\ c d", ["--a=b c"], "d"),
        ("--a -- --b c", ["--a"], "--b c"),
        ("--", [], ""),
        ("-a b", [], "-a b"),
        ("--ä=ö ü", ["--ä=ö"], "ü"),
        ("--a", ["--a"], ""),
    ],
)
def test_flags_come_first(text: str, flags: list[str], rest: str) -> None:
    assert take_flags(text) == (flags, rest)


def test_a_flag_whose_quote_has_no_end_is_refused() -> None:
    with pytest.raises(Fault, match="looking for matching double-quote"):
        take_flags('--a="b c')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        ('["a", "b c"]', ["a", "b c"]),
        ('[ "\\u00e4\\n\\\\" ]', ["ä\n\\"]),
        ('["\\ud83d\\ude00\\ud800"]', ["\U0001f600\ufffd"]),
        ("['a']", None),
        ('["a",]', None),
        ('["a"] b', None),
        ('["\\d"]', None),
        ("[ -f x ] && y", None),
        ("[NaN]", None),
        ("a", None),
        ("", None),
    ],
)
def test_the_exec_form_is_a_list_of_strings(text: str, expected: list[str] | None) -> None:
    assert json_strings(text) == expected


@pytest.mark.parametrize("text", ["[1]", "[true]", "[null]", '["a", ["b"]]', "[{}]", "[" + "9" * 9000 + "]"])
def test_json_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(Fault, match="arrays must be comprised of strings only"):
        json_strings(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Quotes and escapes
        ("a b", "a b"),
        ("a'b c'd", "ab cd"),
        ('a"b c"d', "ab cd"),
        ("''", ""),
        ("a\\b\\\\c\\'", "ab\\c'"),
        ("a\\", "a"),
        ('"a\\b\\"\\$\\\\"', 'a\\b"$\\'),
        ("'a\\b$HOME\"'", 'a\\b$HOME"'),
        ("\"it's $HOME\"", "it's /root"),
        # Names
        ("$HOME/x", "/root/x"),
        ("${HOME}x", "/rootx"),
        ("$HOMEx", ""),
        ("$UNSET.$EMPTY.", ".."),
        ("\\$HOME \\${HOME}", "$HOME ${HOME}"),
        ("$ $. $", "$ $. $"),
        ("$$", ""),
        ("$1a$12b", "ab"),
        ("$@$*", ""),
        ("$WÖRT", "ü"),
        ("${1}${@}", ""),
        # Words instead
        ("${UNSET:-w}${EMPTY:-w}${HOME:-w}", "ww/root"),
        ("${UNSET-w}${EMPTY-w}${HOME-w}", "w/root"),
        ("${UNSET:+w}${EMPTY:+w}${HOME:+w}", "w"),
        ("${UNSET+w}${EMPTY+w}${HOME+w}", "ww"),
        ("${HOME:?no}${HOME?no}${EMPTY?no}", "/root/root"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:-'a }'\\}\"b\"}", "a }}b"),
        ("${UNSET:-${EMPTY:-${HOME}}}", "/root"),
        ("${UNSET:-$HOME}}", "/root}"),
        ("${UNSET:-{a}b", "{ab"),
        ('"${UNSET:-"a b"}"', "a b"),
        # Patterns
        ("${FILE#*/}", "srv/app/main.tar.gz"),
        ("${FILE##*/}", "main.tar.gz"),
        ("${FILE%.*}", "/srv/app/main.tar"),
        ("${FILE%%.*}", "/srv/app/main"),
        ("${FILE#/s?v}", "/app/main.tar.gz"),
        ("${FILE#srv}", "/srv/app/main.tar.gz"),
        ("${FILE##*}", ""),
        ("${FILE%}", "/srv/app/main.tar.gz"),
        ("${FILE#/srv/${UNSET:-a}}", "pp/main.tar.gz"),
        ("${STARS#a\\*}", "b?c\\d"),
        ("${STARS%\\\\d}", "a*b?c"),
        ("${STARS%\"\\d\"}", "a*b?c"),
        ("${STARS%'\\d'}", "a*b?c"),
        ("${STARS%\\?*}", "a*b"),
        ("${UNSET#a}", ""),
        # Replacements
        ("${FILE/a/A}", "/srv/App/main.tar.gz"),
        ("${FILE//a/A}", "/srv/App/mAin.tAr.gz"),
        ("${FILE/\\//:}", ":srv/app/main.tar.gz"),
        ("${FILE//\\/*\\//:}", ":main.tar.gz"),
        ("${FILE//[.]/}", "/srv/app/main.tar.gz"),
        ("${FILE/.tar.gz/}", "/srv/app/main"),
        ("${FILE//?/x}", "x" * 20),
        ("${FILE/$PATTERN/$HOME:}", "/root:main.tar.gz"),
        ("${HOME/x/y}", "/root"),
        ("${HOME//o/${UNSET:-0}}", "/r00t"),
        ("${EMPTY/a/b}${UNSET//a/b}", ""),
    ],
)  # fmt: skip
def test_a_word_is_expanded(text: str, expected: str) -> None:
    assert Expander(ENV).word(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a", "looking for matching single-quote"),
        ('"a', "looking for matching double-quote"),
        ('"a\\"', "looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${HOME", "syntax error: missing '}'"),
        ("${HOME:-a", "syntax error: missing '}'"),
        ("${HOME#a", "syntax error: missing '}'"),
        ("${HOME/a", "syntax error: missing '/' in ${}"),
        ("${HOME/a/b", "syntax error: missing '}'"),
        ("${HOME//a}", "syntax error: missing '/' in ${}"),
        ("${}", "syntax error: bad substitution"),
        ("${{HOME}}", "syntax error: bad substitution"),
        ("${:-a}", "syntax error: bad substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        ("${HOME:=a}", "unsupported modifier (:=) in substitution"),
        ("${HOME:a}", "unsupported modifier (:a) in substitution"),
        ("${HOME:#a}", "unsupported modifier (:#) in substitution"),
        ("${HOME=a}", "unsupported modifier (=) in substitution"),
        ("${HOME^^}", "unsupported modifier (^) in substitution"),
        ("${UNSET?}", "UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${UNSET:?say $HOME}", "UNSET: say /root"),
        ("${HOME#\\x}", "invalid escape '\\x'"),
    ],
)
def test_what_cannot_be_expanded_is_refused(text: str, message: str) -> None:
    with pytest.raises(Fault, match=re.escape(message)):
        Expander(ENV).word(text)


def test_a_backtick_escapes_when_it_is_the_escape_character() -> None:
    expander = Expander(ENV, "`")
    assert expander.word('C:\\x\\`$HOME`` "`""') == 'C:\\x\\$HOME` "'
    assert expander.word("'`'") == "`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("a'b c'", ["ab c"]),
        ("x$GAPS", ["x", "a", "b"]),
        ("$GAPS.", ["a", "b", "."]),
        ('x"$GAPS"', ["x a  b "]),
        ("$EMPTY '' $UNSET", []),
        ("a\\ b", ["a b"]),
    ],
)
def test_white_space_of_variables_parts_words(text: str, expected: list[str]) -> None:
    assert Expander(ENV).words(text) == expected


def test_a_heredoc_keeps_its_quotes() -> None:
    text = 'say \'$HOME\' "${UNSET:-"x"}" \\$HOME \\\\ \\\nit\'s\n'
    assert Expander(ENV).text(text) == 'say \'/root\' ""x"" $HOME \\ \nit\'s\n'


def test_names_that_are_not_set_are_collected() -> None:
    missing: set[str] = set()
    Expander(ENV, missing=missing).word("$HOME $A ${B:-$C} '$D' ${EMPTY:-x}")
    assert missing == {"A", "B", "C"}


@given(PLAIN)
def test_text_without_marks_is_itself(text: str) -> None:
    expander = Expander(ENV)
    assert expander.word(text) == expander.text(text) == text


@given(st.text("ab$'\"\\{}:-+?#%/*\n `", max_size=40), st.sampled_from("\\`"))
def test_any_text_is_expanded_or_refused(text: str, escape: str) -> None:
    expander = Expander({"a": "x$b'", "b": ""}, escape)
    for expand in (expander.word, expander.words, expander.text):
        said = "expanded"
        try:
            expand(text)
        except Fault as exc:
            said = str(exc)
        assert said


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=14), st.booleans())
def test_patterns_match_as_a_regular_expression_does(pattern: str, value: str, longest: bool) -> None:
    star = ".*" if longest else ".*?"
    expression = pattern.replace("?", ".").replace("*", star)
    glob = Glob.parse(pattern)
    begin = re.match(expression, value)
    assert glob.without_start(value, longest=longest) == (value[begin.end() :] if begin else value)
    ends = [start for start in range(len(value) + 1) if re.fullmatch(expression, value[start:])]
    assert glob.without_end(value, longest=longest) == (value[: min(ends) if longest else max(ends)] if ends else value)
    greedy = pattern.replace("?", ".").replace("*", ".*")
    assert glob.replaced(value, "-", everywhere=False, limit=99) == re.sub(greedy, "-", value, count=1)


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [("xxyy", "", "-x-x-y-y-"), ("xxyy", "*", "-"), ("xxyy", "x", "--yy"), ("xxyy", "?y", "x-y"), ("", "*", "-")],
)
def test_nothing_behind_a_match_is_no_match(value: str, pattern: str, expected: str) -> None:
    assert Glob.parse(pattern).replaced(value, "-", everywhere=True, limit=99) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${a:-" * 30_000 + "}" * 30_000, f"nested more than {MAX_NESTING} deep"),
        ('"${a:-' * 5000, f"nested more than {MAX_NESTING} deep"),
        ("$A" * 100, f"more than {MAX_EXPANDED} characters"),
        ("${A#*?y}" * 100, f"more than {MAX_EXPANDED} characters"),
        ("${A//x/" + "y" * 100 + "}", "makes too long a text"),
    ],
)
def test_what_grows_without_bounds_is_refused(text: str, message: str) -> None:
    with pytest.raises(Fault, match=message):
        Expander({"A": "x" * 100_000}).word(text)


def test_patterns_cost_one_pass() -> None:
    value = "a" * 100_000
    assert Expander({"A": value}).word("${A##" + "*a" * 10_000 + "b}") == value
    assert Expander({"A": value}).word("${A%%*" + "?a" * 10_000 + "b*}") == value


def test_deep_but_bounded_nesting_is_read() -> None:
    assert Expander({}).word("${a:-" * MAX_NESTING + "x" + "}" * MAX_NESTING) == "x"


@pytest.mark.parametrize(
    ("word", "expected"),
    [("COPPY", " (did you mean COPY?)"), ("RNU", " (did you mean RUN?)"), ("XYZZY", ""), ("C" * 70_000, "")],
)
def test_slips_are_guessed_at(word: str, expected: str) -> None:
    assert did_you_mean(word, ["COPY", "RUN", "FROM", "WORKDIR"]) == expected
