"""Who a process runs as: Docker's `user[:group]`, resolved by the container's own /etc/passwd and /etc/group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gantry_agent.engine.errors import InvalidArgument
from gantry_agent.engine.runtime.rootfs import read_inside

MAX_ID = (1 << 31) - 1  # as Docker's own limit


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
    accounts = [row for row in _rows(root, "/etc/passwd") if len(row) >= 4 and row[2].isdecimal()]
    groups = [row for row in _rows(root, "/etc/group") if len(row) >= 3 and row[2].isdecimal()]
    account = next((row for row in accounts if row[0] == name), None)
    if account is None and (name.isdecimal() or not name):
        account = next((row for row in accounts if int(row[2]) == int(name or 0)), None)
    if account is None and name and not name.isdecimal():
        raise InvalidArgument(f"unable to find user {name}: no matching entries in passwd file")
    uid = _checked(account[2] if account else name or "0")
    gid = _checked(account[3]) if account and account[3].isdecimal() else 0
    home = account[5] if account and len(account) > 5 and account[5].startswith("/") else "/"
    more: list[int] = []
    if group:
        gid = _group(groups, group)
    elif account:
        more = [int(row[2]) for row in groups if len(row) > 3 and account[0] in row[3].split(",")]
    more += [_group(groups, str(each)) for each in group_add]
    return User(uid, gid, more, home)


def _group(groups: Sequence[Sequence[str]], wanted: str) -> int:
    for row in groups:
        if row[0] == wanted:
            return _checked(row[2])
    if wanted.isdecimal():
        return _checked(wanted)
    raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")


def _checked(text: str) -> int:
    if len(text) > 10 or int(text) > MAX_ID:
        raise InvalidArgument("uids and gids must be in range 0-2147483647")
    return int(text)


def _rows(root: Path, path: str) -> Iterator[list[str]]:
    for line in read_inside(root, path).splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")
