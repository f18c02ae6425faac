"""Local paths and URLs as text: taking them apart, joining them, writing and parsing names.

Anything with `scheme://` is a URL. `file://` is a local path written as a URL; as in fsspec,
percent signs have no meaning in it. Opens nothing: `access` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = (
    2**20
)  # one read asks for this much, so that a limit far above a file's length costs no memory

_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]+)://"
)  # at least two characters: one is the drive of a Windows path
_WEB_HOST = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


def is_chained(location: str) -> bool:
    """Whether a URL chains file systems in the way of fsspec: `zip://a.png::http://host/b.zip`."""
    return is_url(location) and "::" in location.partition("://")[2]


def local_path(location: str) -> Path | None:
    """Return the path of a local location; None for the URL of anything else."""
    if not is_url(location):
        return Path(location)
    scheme, _, path = location.partition("://")
    if scheme.lower() != "file":
        return None
    # RFC 8089: an empty host and `localhost` are this machine
    return Path(path[len("localhost") :] if path.lower().startswith("localhost/") else path)


def make_absolute(location: str) -> str:
    """Make a local path absolute; return a URL unchanged. Links and `..` stay, since resolving only
    one of them would change the meaning.
    """
    return location if is_url(location) else str(Path(location).absolute())


def join_location(folder: str, name: str) -> str:
    """Return the location of a name within a folder. An absolute path or a URL stays unchanged; on
    the web an absolute path is one of the same host.
    """
    if is_url(name):
        return name
    if name.startswith("/") and (web := _WEB_HOST.match(folder)):
        return web[0] + name
    if Path(name).is_absolute():
        return name
    if not is_url(folder):
        return str(Path(folder, name))
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def folder_of(location: str) -> str:
    """Return the folder of a location."""
    if not is_url(location):
        return str(Path(location).parent)
    scheme, _, path = _drop_query(location).partition("://")
    return f"{scheme}://{path.rstrip('/').rpartition('/')[0]}"


def name_of(location: str) -> str:
    """Return the last part of a location, without the query of a web address."""
    if not is_url(location):
        return Path(location).name
    return _drop_query(location).partition("://")[2].rstrip("/").rpartition("/")[2]


def is_hidden(name: str) -> bool:
    """Whether a relative name has a part with a leading dot, other than `.` and `..`."""
    # not by pathlib, which interns every part: millions of names would fill the interned strings
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def encode_path(path: str) -> str:
    """Encode a path, also with bytes that are not UTF-8, as text that JSON and SQL can hold.
    `decode_path` reverses it.
    """
    return (
        path.replace("\\", r"\\")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "backslashreplace")
    )


def decode_path(text: str) -> str:
    """Return the path that `encode_path` encoded."""
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] else "\\", text)


def read_up_to(file: BinaryIO, size: int, piece_bytes: int = PIECE_BYTES) -> bytes:
    """Read `size` bytes from the file's position, fewer only at its end.

    One read of a file from the web can return less than was asked for.
    """
    pieces = []
    while size > 0 and (piece := file.read(min(size, piece_bytes))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def describe_error(err: BaseException) -> str:
    """Describe an error in one line, for people; some libraries use several lines."""
    words = (isinstance(err, OSError) and err.strerror) or str(err) or type(err).__name__
    return words.splitlines()[0]


def _drop_query(url: str) -> str:
    return (
        re.split(r"[?#]", url, maxsplit=1)[0]
        if url.lower().startswith(("http://", "https://"))
        else url
    )
