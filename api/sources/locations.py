"""Local paths and URLs behind the same functions: reading, listing, and taking names apart.

Anything with `scheme://` is a URL and is read through fsspec, which needs a package of its own for
most protocols (s3fs for `s3://`, gcsfs for `gs://`). `file://` is a local path written as a URL; as
in fsspec, percent signs have no meaning in it. Listing leaves out hidden names (a leading dot: the
file manager's, not the corpus keeper's) and does not follow links to folders, so that a loop cannot
trap it. Knows no kind of source.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

from api.errors import SourceNotAllowed
from api.sources.item import UnreadableItem, UnusableSource

PIECE_BYTES = (
    2**20
)  # what one read asks for, so that a bound far above a file's length costs no memory

_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]+)://"
)  # two characters at least: one is the drive of a Windows path
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def is_url(location: str) -> bool:
    return _URL.match(location) is not None


def resolved(location: str) -> str:
    """A local path made absolute, links and `..` left in it for they belong together; a URL as it
    is.
    """
    return location if is_url(location) else str(Path(location).absolute())


def joined(folder: str, name: str) -> str:
    """The location of a name within a folder; a name that is a location of its own stays what it
    is.
    """
    if is_url(name) or Path(name).is_absolute():
        return name
    if not is_url(folder):
        return str(Path(folder, name))
    return folder + name if folder.endswith("/") else f"{folder}/{name}"


def folder_of(location: str) -> str:
    """The folder that a location lies in."""
    if not is_url(location):
        return str(Path(location).parent)
    scheme, _, path = _without_query(location).partition("://")
    return f"{scheme}://{path.rstrip('/').rpartition('/')[0]}"


def name_of(location: str) -> str:
    """The last part of a location, without a web address's query."""
    if not is_url(location):
        return Path(location).name
    return _without_query(location).partition("://")[2].rstrip("/").rpartition("/")[2]


def is_hidden(name: str) -> bool:
    """Whether a relative name has a part with a leading dot, other than `.` and `..`."""
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def as_text(path: str) -> str:
    """A path as text that JSON and SQL can hold and `from_text` turns back, bytes that are no UTF-8
    included.
    """
    return (
        path.replace("\\", r"\\")
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "backslashreplace")
    )


def from_text(text: str) -> str:
    """The path that `as_text` was given."""
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] else "\\", text)


def kind_of(location: str) -> Literal["file", "folder"] | None:
    """What lies there; None for nothing, and for what is neither. Raises `UnusableSource`."""
    try:
        return _kind_of(location)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL within a path
        return None
    except OSError as err:
        raise UnusableSource(location, first_line(err)) from err


def open_binary(location: str) -> BinaryIO:
    """A file to read and to seek in, buffered. Raises `UnusableSource`."""
    try:
        file = _open(location)
        if is_url(location):
            _check_seekable(file)
    except UnreadableItem as err:
        raise UnusableSource(location, str(err)) from err
    return file


def read_bytes(location: str, max_bytes: int) -> bytes:
    """A file's bytes; of one over `max_bytes` only one byte more than that.

    Raises `UnreadableItem`.
    """
    try:
        with _open(location) as file, _as_os_errors():
            return read_up_to(file, max_bytes + 1)
    except (OSError, ValueError) as err:
        raise UnreadableItem("unreadable", first_line(err)) from err
    except UnusableSource as err:
        raise UnreadableItem("unreadable", err.reason) from err


def read_up_to(file: BinaryIO, size: int, piece_bytes: int = PIECE_BYTES) -> bytes:
    """`size` bytes from where the file stands, fewer only at its end.

    A file from the web gives less than was asked.
    """
    pieces = []
    while size > 0 and (piece := file.read(min(size, piece_bytes))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def require_within(location: str, roots: Sequence[str] | None) -> None:
    """Raises `SourceNotAllowed` on what lies outside of the roots, wherever links lead;

    None: anything may be read.
    """
    if roots is not None and not any(_is_within(location, root) for root in roots):
        raise SourceNotAllowed(location)


def walk(folder: str) -> Iterator[tuple[str, str]]:
    """Every file under a folder, as its name relative to it (forward slashes) and its location.

    The order never changes: a folder's files, then its folders, each by the name up to its first
    dot and then by the whole name, so that files of one sample are neighbours. Memory is bounded by
    the largest folder. A folder within that cannot be listed is given as if it were a file; reading
    it says why. Raises `UnusableSource`.
    """
    pending = [""]
    while pending:
        relative = pending.pop()
        location = joined(folder, relative) if relative else folder
        try:
            files, folders = _children(location)
        except OSError as err:
            if not relative:
                raise UnusableSource(folder, first_line(err)) from err
            yield relative, location
            continue
        within = f"{relative}/" if relative else ""
        yield from ((within + name, joined(location, name)) for name in files)
        pending.extend(within + name for name in reversed(folders))


def first_line(err: BaseException) -> str:
    """An error's words, which some libraries spread over many lines, as one line for a person."""
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
        if not stat.S_ISREG(mode):  # a pipe or a device would block for ever
            raise UnreadableItem("not_a_file", "not a regular file")
        return path.open("rb")
    except (OSError, ValueError) as err:
        raise _unreadable(path, err) from err


def _unreadable(path: Path, err: OSError | ValueError) -> UnreadableItem:
    if isinstance(err, OSError) and err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if path.is_symlink():
            return UnreadableItem("not_a_file", "a link that leads to nothing")
        return UnreadableItem("not_found", "no such file")
    return UnreadableItem("unreadable", first_line(err))


def _open_remote(location: str) -> BinaryIO:
    filesystem, path = _filesystem(location)
    try:
        with _as_os_errors():
            return cast("BinaryIO", filesystem.open(path, "rb"))
    except (FileNotFoundError, IsADirectoryError) as err:
        if kind_of(location) == "folder":
            raise UnreadableItem("not_a_file", "a folder, not a file") from err
        raise UnreadableItem("not_found", "no such file") from err
    except OSError as err:
        raise UnreadableItem("unreadable", first_line(err)) from err


def _check_seekable(file: BinaryIO) -> None:
    try:
        file.seek(1)
        file.seek(0)
    except (OSError, ValueError) as err:  # a web server that hands out whole files only
        file.close()
        raise UnreadableItem(
            "unreadable", "can only be read from its beginning to its end"
        ) from err


def _kind_of(location: str) -> Literal["file", "folder"] | None:
    path = _local_path(location)
    if path is not None:
        mode = path.stat().st_mode
        return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else None
    filesystem, remote_path = _filesystem(location)
    with _as_os_errors():
        kind = filesystem.info(remote_path)["type"]
    return "file" if kind == "file" else "folder" if kind == "directory" else None


def _children(folder: str) -> tuple[list[str], list[str]]:
    """The names of a folder's files and folders, sorted. Raises OSError."""
    path = _local_path(folder)
    files: list[str] = []
    folders: list[str] = []
    for name, is_folder in _remote_names(folder) if path is None else _local_names(path):
        if not name.startswith("."):
            (folders if is_folder else files).append(name)
    return sorted(files, key=_place), sorted(folders, key=_place)


def _place(name: str) -> tuple[str, str]:
    return name.partition(".")[0], name


def _local_names(folder: Path) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = _is_folder(entry)
            if not (is_folder and entry.is_symlink()):
                yield entry.name, is_folder


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes round in circles: reading it will say so
        return False


def _remote_names(folder: str) -> Iterator[tuple[str, bool]]:
    filesystem, path = _filesystem(folder)
    with _as_os_errors():
        entries = filesystem.ls(path, detail=True)
    for entry in entries:
        full_name = entry["name"].rstrip("/")
        if full_name != path.rstrip(
            "/"
        ):  # object stores keep a folder's marker under the folder's own name
            yield full_name.rpartition("/")[2], entry["type"] == "directory"


def _local_path(location: str) -> Path | None:
    scheme, found, path = location.partition("://")
    if not is_url(location):
        return Path(location)
    return Path(path) if found and scheme.lower() == "file" else None


def _filesystem(location: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, which remembers no listings, and the URL's path in it."""
    import fsspec  # noqa: PLC0415 - 60 ms that local sources need not wait for

    try:
        filesystem, path = fsspec.url_to_fs(location, use_listings_cache=False)
    # an unknown protocol, one whose package is missing (the message names it), no credentials
    except Exception as err:
        raise UnusableSource(location, first_line(err)) from err
    return filesystem, path


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as err:  # every protocol's package has errors of its own
        raise OSError(f"{type(err).__name__}: {err}") from err


def _without_query(url: str) -> str:
    return (
        re.split(r"[?#]", url, maxsplit=1)[0]
        if url.lower().startswith(("http://", "https://"))
        else url
    )
