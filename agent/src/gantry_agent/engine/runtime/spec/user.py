"""Who a process runs as: Docker's `user[:group]`, resolved by the container's own /etc/passwd and /etc/group."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime.rootfs import lines_inside

MAX_ID = (1 << 31) - 1  # as Docker's own limit
LONGEST = 10  # digits of it


@dataclass(frozen=True)
class User:
    """Numbers, and the home folder ("/" when none is known)."""

    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    home: str = "/"

    def to_oci(self) -> dict[str, object]:
        """OCI process.user. The own group is among the additional ones, as Docker has it since 20.10.18."""
        additional = list(dict.fromkeys([self.gid, *self.groups]))
        return {"uid": self.uid, "gid": self.gid, "additionalGids": additional, "umask": 0o022}


def resolve(root: Path, wanted: str, group_add: Sequence[str] = ()) -> User:
    """`wanted`: "", "name", "1000", "name:group", "1000:1000". Raises InvalidArgument as Docker words it.

    The rules are those of moby/sys/user GetExecUser: a number without an entry is itself with group 0; additional
    groups come from /etc/group, unless a group was given.
    """
    name, _, group = wanted.partition(":")
    account = _account(root, name)
    if account is None and name and not name.isdecimal():
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    uid = _checked(account[2] if account else name or "0")
    gid = _checked(account[3]) if account and account[3].isdecimal() else 0
    home = account[5] if account and len(account) > 5 and account[5].startswith("/") else "/"
    added = [str(each) for each in group_add]
    known, more = _groups(root, {group, *added}, account[0] if account and not group else None)
    if group:
        gid = _group(known, group)
    more += [_group(known, each) for each in added]
    return User(uid, gid, more, home)


def _account(root: Path, name: str) -> list[str] | None:
    """The first row of /etc/passwd with this name, else the first with this number."""
    number = name or "0"
    uid = int(number) if number.isdecimal() and len(number) <= LONGEST else None
    numbered = None
    for row in _rows(root, "/etc/passwd"):
        if len(row) < 4 or not row[2].isdecimal():
            continue
        if row[0] == name:
            return row
        if numbered is None and uid is not None and _is(row[2], uid):
            numbered = row
    return numbered


def _groups(root: Path, names: Collection[str], member: str | None) -> tuple[dict[str, str], list[int]]:
    """Of /etc/group: the numbers of `names`, and of the groups that `member` is in."""
    known: dict[str, str] = {}
    found: list[int] = []
    for row in _rows(root, "/etc/group"):
        if len(row) < 3 or not row[2].isdecimal():
            continue
        if row[0] in names:
            known.setdefault(row[0], row[2])
        if member is not None and len(row) > 3 and member in row[3].split(","):
            found.append(_checked(row[2]))
    return known, found


def _group(known: Mapping[str, str], wanted: str) -> int:
    if wanted in known:
        return _checked(known[wanted])
    if wanted.isdecimal():
        return _checked(wanted)
    raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")


def _is(text: str, number: int) -> bool:
    return len(text) <= LONGEST and int(text) == number


def _checked(text: str) -> int:
    if len(text) > LONGEST or int(text) > MAX_ID:
        raise InvalidArgument("uids and gids must be in range 0-2147483647")
    return int(text)


def _rows(root: Path, path: str) -> Iterator[list[str]]:
    for line in lines_inside(root, path):
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")
