"""`.dockerignore`: which files of a build's context its instructions do not see.

Rules: Docker documentation, "Build context", ".dockerignore files"; where that is silent,
github.com/moby/patternmatcher (ignorefile.ReadAll, MatchesOrParentMatches). The last pattern that matches a path, or a
folder it is in, decides. A slash at the end says nothing: `logs/` also matches a file called logs.
"""

from dataclasses import dataclass, field
from typing import Self

from gantry_agent.engine.errors import InvalidArgument

from .dockerfile.words import SPACES
from .patterns import PathPattern, clean

IGNORE_FILE = ".dockerignore"
MAX_LINE = 65_535  # bytes, as in Docker (Go's bufio.MaxScanTokenSize)
MAX_PATTERNS = 10_000
_MOST_FOLDERS = 10_000  # remembered of a walk; more are forgotten and looked at again


@dataclass(frozen=True)
class Rule:
    """One line: a pattern, and whether a `!` makes it an exception."""

    pattern: PathPattern
    exception: bool = False


@dataclass(frozen=True)
class Ignore:
    """The rules of a file, in order. Paths are relative to the context, their parts joined by single slashes."""

    rules: tuple[Rule, ...] = ()
    _folders: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Raises InvalidArgument naming the line."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")  # as file names are
        rules = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            try:
                rule = _rule(line)
            except InvalidArgument as exc:
                raise InvalidArgument(f"{IGNORE_FILE} line {number}: {exc.message}") from exc
            if rule:
                rules.append(rule)
            if len(rules) > MAX_PATTERNS:
                raise InvalidArgument(f"{IGNORE_FILE} has more than {MAX_PATTERNS} patterns")
        return cls(tuple(rules))

    def excludes(self, path: str) -> bool:
        """Whether COPY, ADD and bind mounts do not see it. Folders and files are alike."""
        last = self._last_match(path)
        return last >= 0 and not self.rules[last].exception

    def may_skip_folder(self, folder: str) -> bool:
        """Whether nothing in an excluded folder can be wanted, so that it need not be walked."""
        last = self._last_match(folder)
        if last < 0 or self.rules[last].exception:
            return False
        return not any(rule.exception and rule.pattern.may_match_below(folder) for rule in self.rules[last + 1 :])

    def sends(self, path: str, dockerfile: str = "Dockerfile") -> bool:
        """Whether a client sends it: what is not excluded, and in any case what the build itself reads."""
        return path in (dockerfile, *ignore_files(dockerfile)) or not self.excludes(path)

    def _last_match(self, path: str) -> int:
        """The last rule for the path or a folder it is in, -1 when there is none."""
        if not self.rules or path in ("", "."):
            return -1
        folder, slash, _ = path.rpartition("/")
        above = self._folders.get(folder, -2) if slash else -1
        if above == -2:
            above = self._walk_down(folder)
        return self._match(path, above)

    def _walk_down(self, folder: str) -> int:
        """The last rule for a folder, from the top; what is found on the way is remembered."""
        last, end = -1, 0
        while end < len(folder):
            end = folder.find("/", end + 1)
            end = len(folder) if end < 0 else end
            last = self._match(folder[:end], last)
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders.clear()
            self._folders[folder[:end]] = last
        return last

    def _match(self, path: str, above: int) -> int:
        """The last rule that matches the path itself, or `above`, the one for the folder, if that comes later."""
        for index in range(len(self.rules) - 1, above, -1):
            if self.rules[index].pattern.matches(path):
                return index
        return above


def ignore_files(dockerfile: str = "Dockerfile") -> tuple[str, str]:
    """The files that may hold the rules of a build, the first one there counts: the Dockerfile's own, the context's."""
    return f"{dockerfile}{IGNORE_FILE}", IGNORE_FILE


def _rule(line: str) -> Rule | None:
    """The rule a line holds, None for a comment or nothing."""
    if len(line) * 4 > MAX_LINE and len(line.encode("utf-8", "surrogatepass")) > MAX_LINE:
        raise InvalidArgument(f"longer than {MAX_LINE} bytes")
    text = "" if line.startswith("#") else line.strip(SPACES)
    if not text:
        return None
    mark = "!" if text.startswith("!") else ""
    # The mark is looked for again once the path is clean, as in Docker: `/!x` and `./!x` are exceptions too.
    text = clean((mark + _from_top(text.removeprefix(mark).strip(SPACES))).strip(SPACES))
    if text == "!":
        raise InvalidArgument('illegal exclusion pattern: "!"')
    return Rule(PathPattern.parse(text.removeprefix("!")), text.startswith("!"))


def _from_top(path: str) -> str:
    """The path clean and without the slash that only says where it begins."""
    path = clean(path) if path else ""
    return path[1:] if path.startswith("/") and len(path) > 1 else path
