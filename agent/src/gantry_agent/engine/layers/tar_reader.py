"""A reader of tar streams: ustar, GNU and PAX, from any source of chunks, in constant memory.

Written for content nobody vouches for, and for speed: a layer has tens of thousands of small files. Names stay bytes.
Only what is said in POSIX.1-2017 (pax), GNU tar's manual ("Standard Format", "Sparse Formats") is understood; the
rest is refused by name. Members come in order; a body not read is skipped.
"""

import zlib
from collections.abc import Callable, Iterator

BLOCK = 512
MAX_SPECIAL = 1 << 20  # bytes of a long name or a PAX header; Go's archive/tar has the same limit
MAX_FRAGMENTS = 1 << 16  # data fragments of one sparse file
XATTR_PREFIX = b"SCHILY.xattr."
ZERO_BLOCK = bytes(BLOCK)
SECOND = 1_000_000_000
NOBODY = (1 << 32) - 1  # the number that tells chown to leave an owner alone
MAX_TIME = 1 << 62  # nanoseconds; later ones do not fit the system call

FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
BODILESS = b"123456"  # their size field means nothing; GNU tar and Go read no body either
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE, b"D": FOLDER} | {
    kind: kind for kind in (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO)
}


class TarError(Exception):
    """The stream is no tar archive, or one that this reader refuses."""


class Member:
    """One entry. `size` is the file's own size, `stored` the bytes of body in the stream; they differ when sparse."""

    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "size", "sparse", "stored", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.name = b""
        self.kind = FILE
        self.link = b""
        self.mode = self.uid = self.gid = self.size = self.stored = self.mtime = self.major = self.minor = 0
        self.xattrs: dict[bytes, bytes] | None = None
        self.sparse: list[tuple[int, int]] | None = None


class Source:
    """Chunks of any size, read in the sizes asked for. `more()` answers the next chunk, b"" at the end."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._chunk = b""
        self._view = memoryview(b"")
        self._at = 0
        self._has_ended = False

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end of the stream."""
        start, end = self._at, self._at + size
        if end <= len(self._chunk):
            self._at = end
            return self._chunk[start:end]
        parts, missing = [self._chunk[start:]], end - len(self._chunk)
        while missing > 0 and self._next():
            self._at = min(missing, len(self._chunk))
            parts.append(self._chunk[: self._at])
            missing -= self._at
        return b"".join(parts)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """`size` bytes without copying. Raises TarError when the stream ends before."""
        while size:
            if self._at == len(self._chunk) and not self._next():
                raise TarError("the archive ends inside a file")
            start = self._at
            self._at = min(start + size, len(self._chunk))
            size -= self._at - start
            yield self._view[start : self._at]

    def skip(self, size: int) -> None:
        """Go past `size` bytes. Raises TarError when the stream ends before."""
        if self._at + size <= len(self._chunk):
            self._at += size
        else:
            for _ in self.pieces(size):
                pass

    def drain(self) -> None:
        """Read to the end of the stream."""
        while self._next():
            pass
        self._at = len(self._chunk)

    def _next(self) -> bool:
        chunk = b"" if self._has_ended else self._more()
        self._has_ended = not chunk
        self._chunk, self._view, self._at = chunk, memoryview(chunk), 0
        return bool(chunk)


class TarReader:
    """Iterate for the members; `body()` gives the current one's content."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._body = 0  # bytes of body left to read
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        while member := self._next():
            yield member
        self.source.drain()

    def body(self) -> Iterator[memoryview]:
        """The current member's stored bytes, in pieces; once."""
        size, self._body = self._body, 0
        return self.source.pieces(size)

    def _next(self) -> Member | None:
        """The next member with what its extension headers say of it. Raises TarError."""
        pax: dict[bytes, bytes] = {}
        sparse_map: list[int] = []
        name = link = b""
        while True:
            self.source.skip(self._body + self._padding)
            header = self.source.read(BLOCK)
            if not header or header == ZERO_BLOCK:
                self._body = self._padding = 0
                return None
            kind = header[156:157]
            self._start_body(_size(header))
            if kind == b"x":
                pax, sparse_map = parse_pax(self._special())
            elif kind == b"g":
                self._special()  # of the whole archive; Go's reader, which made most layers, ignores it too
            elif kind == b"L":
                name = self._special().rstrip(b"\0")
            elif kind == b"K":
                link = self._special().rstrip(b"\0")
            else:
                return self._member(header, pax, sparse_map, name, link)

    def _start_body(self, size: int) -> None:
        self._body, self._padding = size, -size % BLOCK

    def _special(self) -> bytes:
        if self._body > MAX_SPECIAL:
            raise TarError(f"an extension header of {self._body} bytes; at most {MAX_SPECIAL} are read")
        size, self._body = self._body, 0
        content = self.source.read(size)
        if len(content) != size:
            raise TarError("the archive ends inside an extension header")
        return content

    def _member(
        self, header: bytes, pax: dict[bytes, bytes], sparse_map: list[int], name: bytes, link: bytes
    ) -> Member:
        member = Member()
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise TarError(f"an entry of unknown kind {header[156:157]!r}")
        member.kind = kind
        member.name = name or _name(header)
        member.link = link or header[157:257].partition(b"\0")[0]
        member.mode = _number(header[100:108]) & 0o7777
        member.uid, member.gid = _number(header[108:116]), _number(header[116:124])
        member.size = member.stored = self._body
        member.mtime = _number(header[136:148]) * SECOND
        if kind in (CHARACTER, BLOCK_DEVICE):
            member.major, member.minor = _number(header[329:337]), _number(header[337:345])
        if pax:
            self._apply(member, pax, sparse_map)
        if header[156:157] == b"S":
            self._old_sparse(member, header)
        if kind == FILE and member.name.endswith(b"/"):
            member.kind = FOLDER  # the way of Version 7 to say so
        if member.kind != FILE:
            member.size = 0
        if not member.name or b"\0" in member.name or b"\0" in member.link:
            raise TarError(f"an entry with an impossible name: {member.name[:100]!r}")
        if not (0 <= member.uid < NOBODY and 0 <= member.gid < NOBODY):
            raise TarError(f"an entry of impossible owner {member.uid}:{member.gid}")
        if not -MAX_TIME < member.mtime < MAX_TIME:
            member.mtime = 0
        return member

    def _apply(self, member: Member, pax: dict[bytes, bytes], sparse_map: list[int]) -> None:
        for key, value in pax.items():
            if key == b"path":
                member.name = value
            elif key == b"linkpath":
                member.link = value
            elif key == b"size" and member.kind not in BODILESS:
                self._start_body(_decimal(value))
                member.size = member.stored = self._body
            elif key == b"uid":
                member.uid = _decimal(value)
            elif key == b"gid":
                member.gid = _decimal(value)
            elif key == b"mtime":
                member.mtime = _time(value)
            elif key.startswith(XATTR_PREFIX):
                member.xattrs = member.xattrs or {}
                member.xattrs[key[len(XATTR_PREFIX) :]] = value
        if any(key.startswith(b"GNU.sparse.") for key in pax):
            self._pax_sparse(member, pax, sparse_map)

    def _pax_sparse(self, member: Member, pax: dict[bytes, bytes], sparse_map: list[int]) -> None:
        """Formats 0.0 (repeated offset and numbytes), 0.1 (map) and 1.0 (the map starts the body)."""
        member.name = pax.get(b"GNU.sparse.name", member.name)
        size = _decimal(pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size") or b"0")
        if pax.get(b"GNU.sparse.major") == b"1":
            numbers = self._map_in_body()
        elif b"GNU.sparse.map" in pax:
            numbers = [_decimal(part) for part in pax[b"GNU.sparse.map"].split(b",") if part]
        else:
            numbers = sparse_map
        self._set_sparse(member, size, numbers)

    def _map_in_body(self) -> list[int]:
        text = self._block_of_body()
        count = _decimal(text.partition(b"\n")[0])
        if count > MAX_FRAGMENTS:
            raise TarError(f"a sparse file of {count} fragments; at most {MAX_FRAGMENTS} are read")
        while text.count(b"\n") < 2 * count + 1:
            text += self._block_of_body()
        return [_decimal(part) for part in text.split(b"\n")[1 : 2 * count + 1]]

    def _block_of_body(self) -> bytes:
        if self._body < BLOCK:
            raise TarError("a sparse file's map is longer than the file")
        self._body -= BLOCK
        return self.source.read(BLOCK)

    def _old_sparse(self, member: Member, header: bytes) -> None:
        numbers = _fields(header, 386, 4)
        is_extended = header[482]
        while is_extended:
            block = self.source.read(BLOCK)
            if len(block) != BLOCK or len(numbers) > 2 * MAX_FRAGMENTS:
                raise TarError("a sparse file with a broken map")
            numbers += _fields(block, 0, 21)
            is_extended = block[504]
        self._set_sparse(member, _number(header[483:495]), numbers)

    def _set_sparse(self, member: Member, size: int, numbers: list[int]) -> None:
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        end = 0
        for offset, length in pairs:
            if offset < end or length < 0:
                raise TarError("a sparse file whose fragments overlap")
            end = offset + length
        if len(numbers) % 2 or len(pairs) > MAX_FRAGMENTS or end > size or sum(pair[1] for pair in pairs) != self._body:
            raise TarError("a sparse file whose map does not fit its size")
        member.size, member.stored, member.sparse = size, self._body, pairs


def parse_pax(content: bytes) -> tuple[dict[bytes, bytes], list[int]]:
    """The records of a PAX header ("LENGTH key=value\\n"), and the sparse map of format 0.0, whose keys repeat.

    Raises TarError.
    """
    records: dict[bytes, bytes] = {}
    sparse_map: list[int] = []
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        length = _decimal(content[at:space]) if space > 0 else 0
        record = content[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if at + length > len(content) or record[-1:] != b"\n" or not equals:
            raise TarError("a broken PAX header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse_map.append(_decimal(value))
            if len(sparse_map) > 2 * MAX_FRAGMENTS:
                raise TarError("a sparse file with too many fragments")
        records[key] = value
        at += length
    return records, sparse_map


def _size(header: bytes) -> int:
    """The size of the body, after checking the header itself. Raises TarError."""
    if len(header) != BLOCK:
        raise TarError("the archive ends inside a header")
    # The low half of Adler-32 is one plus the sum of the bytes, modulo 65521: the checksum tar wants, made in C.
    total = (zlib.adler32(header) & 0xFFFF) - sum(header[148:156]) + 8 * 32 - 1
    try:
        is_wrong = (_number(header[148:156]) - total) % 65521
    except TarError:
        is_wrong = 1
    if is_wrong:
        raise TarError("a header with a wrong checksum: this is no tar archive, or a damaged one")
    size = _number(header[124:136])
    if size < 0:
        raise TarError("an entry with a negative size")
    return 0 if header[156] in BODILESS else size


def _name(header: bytes) -> bytes:
    name = header[0:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _number(field: bytes) -> int:
    """An octal number, or GNU's base 256. Raises TarError."""
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if first & 0x40 else value
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise TarError(f"a header whose number is {field!r}") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise TarError(f"a PAX header whose number is {text[:40]!r}")
    return int(text)


def _time(text: bytes) -> int:
    """Seconds with a fraction as nanoseconds."""
    whole, _, fraction = text.partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    nanoseconds = int((fraction + bytes(9)).replace(b"\0", b"0")[:9] or b"0") if fraction.isdigit() else 0
    return sign * (_decimal(whole.lstrip(b"-")) * SECOND + nanoseconds)


def _fields(block: bytes, start: int, count: int) -> list[int]:
    """Offsets and lengths of an old GNU sparse map; unused ones are empty."""
    numbers: list[int] = []
    for at in range(start, start + 24 * count, 24):
        if block[at] == 0:
            break
        numbers += [_number(block[at : at + 12]), _number(block[at + 12 : at + 24])]
    return numbers
