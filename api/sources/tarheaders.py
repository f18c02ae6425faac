"""The headers of a tar archive, in order: POSIX.1-2001 pax, ustar, GNU and V7 (pubs.opengroup.org,
`pax`).

`tarfile` decodes a header block. The loop is here, because that of `tarfile` keeps every member,
reads extensions of any length into memory, and takes a damaged header for the end of the archive.
Knows nothing about images.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from api.sources.item import UnreadableItem

BLOCK_BYTES = 512
MAX_EXTENSION_BYTES = 2**20  # extended attributes may take 64 KiB each
MAX_NAME_LENGTH = 4096  # PATH_MAX of Linux
MAX_MEMBER_BYTES = 2**62  # within the range of file positions

ReadAt = Callable[[int, int], bytes]

_ZEROS = bytes(BLOCK_BYTES)
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_WITHOUT_DATA = {  # no data follows, whatever size the header states
    tarfile.DIRTYPE: "a folder",
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member other than a folder.

    `refusal` is the reason and the message if it cannot be read as a file.
    """

    name: str
    offset: int  # of its data
    size: int
    checksum: int  # of its header
    refusal: tuple[str, str] | None = None


def list_members(read_at: ReadAt) -> Iterator[Member]:
    """List every member except folders, in order, also across concatenated archives.

    Raises `UnreadableItem` where the archive ends too early (`truncated_archive`) or is damaged
    (`corrupt_archive`).
    """
    position = 0
    is_ended = False
    general: dict[str, str] = {}  # pax attributes of all members
    own: dict[str, str] = {}  # and of the next member
    while len(block := read_at(position, BLOCK_BYTES)) == BLOCK_BYTES:
        position += BLOCK_BYTES
        if block == _ZEROS:
            is_ended = True
            continue
        header = decode_header(block)
        if header is None:
            if is_ended:  # some writers leave other data in the last record
                return
            raise UnreadableItem("corrupt_archive", f"no header at byte {position - BLOCK_BYTES:,}")
        is_ended = False
        if header.type in _EXTENSIONS:
            attributes = general if header.type == tarfile.XGLTYPE else own
            attributes |= _read_extension(header, read_at, position)
            position += _pad(header.size)
            continue
        position = _skip_sparse_map(block, header, read_at, position)
        size = _read_size(header, general | own)
        if header.type != tarfile.DIRTYPE:
            yield _build_member(header, position, size, general | own)
        own = {}
        position += 0 if header.type in _WITHOUT_DATA else _pad(size)
    if not is_ended:
        raise UnreadableItem(
            "truncated_archive",
            f"the archive ends at byte {position + len(block):,}, without its end mark",
        )


def decode_header(block: bytes) -> tarfile.TarInfo | None:
    """Decode a header block; None if its checksum shows that it is none."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return header if 0 <= header.size <= MAX_MEMBER_BYTES else None


def _pad(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _read_extension(header: tarfile.TarInfo, read_at: ReadAt, position: int) -> dict[str, str]:
    """Read the name, the size and the holes from an extension header."""
    if header.size > MAX_EXTENSION_BYTES:
        raise UnreadableItem("corrupt_archive", f"an extension header of {header.size:,} bytes")
    content = read_at(position, header.size)
    if len(content) < header.size:
        raise UnreadableItem("truncated_archive", "the archive ends within an extension header")
    match header.type:
        case tarfile.GNUTYPE_LONGLINK:
            return {}
        case tarfile.GNUTYPE_LONGNAME:
            return {"path": content.partition(b"\x00")[0].decode("utf-8", "surrogateescape")}
        case _:
            return {key: value for key, value in _read_pax_records(content) if _is_wanted(key)}


def _is_wanted(key: str) -> bool:
    return key in ("path", "size") or key.startswith("GNU.sparse.")


def _read_pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Read the records `length key=value` of a pax header. The length counts the record's bytes."""
    position = 0
    while position < len(content) and content[position] != 0:
        digits = content[position : position + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = content[position + len(digits) + 1 : position + length]
        if position + length > len(content) or not record.endswith(b"\n") or b"=" not in record:
            raise UnreadableItem("corrupt_archive", "a damaged extension header")
        key, _, value = record[:-1].decode("utf-8", "surrogateescape").partition("=")
        yield key, value
        position += length


def _skip_sparse_map(block: bytes, header: tarfile.TarInfo, read_at: ReadAt, position: int) -> int:
    """Return where the data begin, after the blocks with which GNU's old format continues its list
    of holes.
    """
    if header.type != tarfile.GNUTYPE_SPARSE:
        return position
    continues = block[482]
    while continues:
        block = read_at(position, BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise UnreadableItem("truncated_archive", "the archive ends within a list of holes")
        continues = block[504]
        position += BLOCK_BYTES
    return position


def _read_size(header: tarfile.TarInfo, attributes: dict[str, str]) -> int:
    if "size" not in attributes:
        return header.size
    digits = attributes["size"]
    if not (digits.isdecimal() and len(digits) < 20 and int(digits) <= MAX_MEMBER_BYTES):
        raise UnreadableItem("corrupt_archive", "its size is not a number")
    return int(digits)


def _build_member(
    header: tarfile.TarInfo, offset: int, size: int, attributes: dict[str, str]
) -> Member:
    name = attributes.get("GNU.sparse.name") or attributes.get("path") or header.name
    is_sparse = header.type == tarfile.GNUTYPE_SPARSE or any(
        key.startswith("GNU.sparse.") for key in attributes
    )
    refusal = None
    if header.type in _WITHOUT_DATA:
        refusal = ("not_a_file", _WITHOUT_DATA[header.type])
    elif is_sparse:
        refusal = ("unsupported_member", "a sparse file")
    elif header.type not in tarfile.REGULAR_TYPES:
        refusal = ("unsupported_member", f"a member of type {header.type!r}")
    elif len(name) > MAX_NAME_LENGTH:
        refusal = ("unsupported_member", f"a name of {len(name):,} characters")
    return Member(name[:MAX_NAME_LENGTH], offset, size, header.chksum, refusal)
