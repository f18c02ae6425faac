"""Local paths and URLs behind the same functions: reading, listing, and parsing names.

Anything with `scheme://` is a URL and is read by fsspec, which needs another package for most
protocols (s3fs for `s3://`, gcsfs for `gs://`). `file://` is a local path written as a URL; as in
fsspec, percent signs have no meaning in it. Listing skips hidden names (with a leading dot: they
belong to tools, not to the corpus) and does not follow links to folders, so that it cannot loop.
Knows no kind of source.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from api.errors import SourceNotAllowed
from api.sources.item import UnreadableItem, UnusableSource

PIECE_BYTES = (
    2**20
)  # one read asks for this much, so that a limit far above a file's length costs no memory

_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]+)://"
)  # at least two characters: one is the drive of a Windows path
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


def make_absolute(location: str) -> str:
    """Make a local path absolute; return a URL unchanged. Links and `..` stay, since resolving only
    one of them would change the meaning.
    """
    return location if is_url(location) else str(Path(location).absolute())


def join_location(folder: str, name: str) -> str:
    """Return the location of a name within a folder. An absolute path or a URL stays unchanged."""
    if is_url(name) or Path(name).is_absolute():
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


def kind_of(location: str) -> Literal["file", "folder"] | None:
    """Return whether a file or a folder is there; None for neither. Raises `UnusableSource`."""
    try:
        return _kind_of(location)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL within a path
        return None
    except OSError as err:
        raise UnusableSource(location, describe_error(err)) from err


def open_binary(location: str) -> BinaryIO:
    """Open a file to read and to seek in, buffered. Raises `UnusableSource`."""
    try:
        file = _open(location)
        if is_url(location):
            _check_seekable(file)
    except UnreadableItem as err:
        raise UnusableSource(location, str(err)) from err
    return file


def read_bytes(location: str, max_bytes: int) -> bytes:
    """Read a file; of one larger than `max_bytes`, its first ``max_bytes + 1`` bytes.

    Raises `UnreadableItem`.
    """
    try:
        with _open(location) as file, _raise_os_errors():
            return read_up_to(file, max_bytes + 1)
    except (OSError, ValueError) as err:
        raise UnreadableItem("unreadable", describe_error(err)) from err
    except UnusableSource as err:
        raise UnreadableItem("unreadable", err.reason) from err


def read_up_to(file: BinaryIO, size: int, piece_bytes: int = PIECE_BYTES) -> bytes:
    """Read `size` bytes from the file's position, fewer only at its end.

    One read of a file from the web can return less than was asked for.
    """
    pieces = []
    while size > 0 and (piece := file.read(min(size, piece_bytes))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def require_within(location: str, roots: Sequence[str] | None) -> None:
    """Raise `SourceNotAllowed` for a location outside of the roots, after following links.

    `roots` None: anything may be read.
    """
    if roots is not None and not any(_is_within(location, root) for root in roots):
        raise SourceNotAllowed(location)


def walk(folder: str) -> Iterator[tuple[str, str]]:
    """List every file under a folder: its relative name (with forward slashes) and its location.

    The order never changes: a folder's files, then its folders, each by the name up to its first
    dot and then by the whole name, so that files of one sample are adjacent. Memory is bounded by
    the largest folder. A subfolder that cannot be listed is returned like a file; reading
    it raises the reason. Raises `UnusableSource`.
    """
    pending = [""]
    while pending:
        relative = pending.pop()
        location = join_location(folder, relative) if relative else folder
        try:
            files, folders = _list_children(location)
        except OSError as err:
            if not relative:
                raise UnusableSource(folder, describe_error(err)) from err
            yield relative, location
            continue
        within = f"{relative}/" if relative else ""
        yield from ((within + name, join_location(location, name)) for name in files)
        pending.extend(within + name for name in reversed(folders))


def describe_error(err: BaseException) -> str:
    """Describe an error in one line, for people; some libraries use several lines."""
    words = (isinstance(err, OSError) and err.strerror) or str(err) or type(err).__name__
    return words.splitlines()[0]


def _is_within(location: str, root: str) -> bool:
    if is_url(location) or is_url(root):
        prefix = root if root.endswith("/") else f"{root}/"
        return ".." not in location.split("/") and (location == root or location.startswith(prefix))
    real, real_root = os.path.realpath(location), os.path.realpath(root)
    return real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep)


def _open(location: str) -> BinaryIO:
    path = _local_path(location)
    return _open_remote(location) if path is None else _open_local(path)


def _open_local(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            raise UnreadableItem("not_a_file", "a folder, not a file")
        if not stat.S_ISREG(mode):  # reading a pipe or a device would block
            raise UnreadableItem("not_a_file", "not a regular file")
        return path.open("rb")
    except (OSError, ValueError) as err:
        raise _explain_unreadable(path, err) from err


def _explain_unreadable(path: Path, err: OSError | ValueError) -> UnreadableItem:
    if isinstance(err, OSError) and err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if path.is_symlink():
            return UnreadableItem("not_a_file", "a broken link")
        return UnreadableItem("not_found", "no such file")
    return UnreadableItem("unreadable", describe_error(err))


def _open_remote(location: str) -> BinaryIO:
    filesystem, path = _open_filesystem(location)
    try:
        with _raise_os_errors():
            return cast("BinaryIO", filesystem.open(path, "rb"))
    except (FileNotFoundError, IsADirectoryError) as err:
        if kind_of(location) == "folder":
            raise UnreadableItem("not_a_file", "a folder, not a file") from err
        raise UnreadableItem("not_found", "no such file") from err
    except OSError as err:
        raise UnreadableItem("unreadable", describe_error(err)) from err


def _check_seekable(file: BinaryIO) -> None:
    try:
        file.seek(1)
        file.seek(0)
    except (OSError, ValueError) as err:  # the web server sends whole files only
        file.close()
        raise UnreadableItem("unreadable", "cannot be read at any position") from err


def _kind_of(location: str) -> Literal["file", "folder"] | None:
    path = _local_path(location)
    if path is not None:
        mode = path.stat().st_mode
        return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else None
    filesystem, remote_path = _open_filesystem(location)
    with _raise_os_errors():
        kind = filesystem.info(remote_path)["type"]
    return "file" if kind == "file" else "folder" if kind == "directory" else None


def _list_children(folder: str) -> tuple[list[str], list[str]]:
    """List the names of a folder's files and folders, sorted. Raises OSError."""
    path = _local_path(folder)
    files: list[str] = []
    folders: list[str] = []
    for name, is_folder in _list_remote(folder) if path is None else _list_local(path):
        if not name.startswith("."):
            (folders if is_folder else files).append(name)
    return sorted(files, key=_sort_key), sorted(folders, key=_sort_key)


def _sort_key(name: str) -> tuple[str, str]:
    return name.partition(".")[0], name


def _list_local(folder: Path) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = _is_folder(entry)
            if not (is_folder and entry.is_symlink()):
                yield entry.name, is_folder


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link: reading it raises the reason
        return False


def _list_remote(folder: str) -> Iterator[tuple[str, bool]]:
    filesystem, path = _open_filesystem(folder)
    with _raise_os_errors():
        entries = filesystem.ls(path, detail=True)
    for entry in entries:
        full_name = entry["name"].rstrip("/")
        if full_name != path.rstrip(
            "/"
        ):  # object stores list a folder's marker under the folder's own name
            yield full_name.rpartition("/")[2], entry["type"] == "directory"


def _local_path(location: str) -> Path | None:
    scheme, found, path = location.partition("://")
    if not is_url(location):
        return Path(location)
    return Path(path) if found and scheme.lower() == "file" else None


def _open_filesystem(location: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, without a cache of listings, and the path in it."""
    import fsspec  # noqa: PLC0415 - takes 60 ms, which local sources do not need

    try:
        filesystem, path = fsspec.url_to_fs(location, use_listings_cache=False)
    # an unknown protocol, one whose package is missing (the message names it), no credentials
    except Exception as err:
        raise UnusableSource(location, describe_error(err)) from err
    return filesystem, path


@contextmanager
def _raise_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as err:  # each protocol's package has its own errors
        raise OSError(f"{type(err).__name__}: {err}") from err


def _drop_query(url: str) -> str:
    return (
        re.split(r"[?#]", url, maxsplit=1)[0]
        if url.lower().startswith(("http://", "https://"))
        else url
    )
