"""Reading what locations name: the one place where a source's files are found, listed and opened.

Local paths are read from the disk, http and https URLs by `web`, and other URLs by fsspec, which
needs another package for most protocols (s3fs for `s3://`, gcsfs for `gs://`). Listing skips hidden
names (with a leading dot: they belong to tools, not to the corpus) and does not follow links to
folders, so that it cannot loop.

With roots, every location is judged by them before it is opened, and what is opened is what was
judged; so a name that comes out of a table, a list or an archive leads no further than one that a
client sent. Knows no kind of source.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from api.errors import SourceNotAllowed
from api.sources.beneath import (
    OutsideFolder,
    list_beneath,
    open_beneath,
    require_regular,
    stat_beneath,
)
from api.sources.item import UnreadableItem, UnusableSource
from api.sources.locations import (
    describe_error,
    is_chained,
    join_location,
    local_path,
    read_up_to,
)
from api.sources.roots import Roots
from api.sources.urls import is_web

if TYPE_CHECKING:
    from ssrfguard import Resolver

    from api.sources.web import Web

Kind = Literal["file", "folder"]


class Access:
    """What may be read, and the connections by which it is read.

    `roots` None: the operator asks, and anything may be read. `resolver` replaces the system's way
    to resolve the names of hosts (the interface of `socket.getaddrinfo`). `only_public`: on the
    web, only public addresses are connected to. Raises ValueError for roots that can mean nothing.
    Safe for threads.
    """

    def __init__(
        self,
        roots: Sequence[str] | None = None,
        *,
        resolver: Resolver | None = None,
        only_public: bool = False,
    ) -> None:
        self._only_public = only_public
        self._roots = None if roots is None else Roots(roots)
        self._resolver = resolver
        self._opened_web: Web | None = None

    def require(self, location: str, *, asked: str | None = None) -> None:
        """Raise `SourceNotAllowed` for a location outside of the roots, after following links.

        `asked` is what a client sent for it: the error repeats that, not where it lies here.
        """
        try:
            if self._roots is not None:
                self._roots.require(location)
        except SourceNotAllowed as err:
            if asked is None:
                raise
            raise SourceNotAllowed(asked, err.reason, is_as_sent=True) from None

    def kind_of(self, location: str) -> Kind | None:
        """Return whether a file or a folder is there; None for neither.

        Raises `UnusableSource`, `SourceNotAllowed`.
        """
        try:
            return self._kind_of(location)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: NUL in a path
            return None
        except (OSError, UnreadableItem) as err:
            raise UnusableSource(location, describe_error(err)) from err

    def open_binary(self, location: str) -> BinaryIO:
        """Open a file to read and to seek in, buffered.

        Raises `UnusableSource`, `SourceNotAllowed`.
        """
        try:
            if is_web(location):
                return self._web.open(location)
            file = self._open(location)
            if local_path(location) is None:
                _check_seekable(file)
        except UnreadableItem as err:
            raise UnusableSource(location, str(err)) from err
        return file

    def read_bytes(self, location: str, max_bytes: int) -> bytes:
        """Read a file; of one larger than `max_bytes`, its first ``max_bytes + 1`` bytes.

        Raises `UnreadableItem`, also for what is not allowed.
        """
        try:
            if is_web(location):
                return self._web.read(location, max_bytes)
            with self._open(location) as file, _raise_os_errors():
                return read_up_to(file, max_bytes + 1)
        except (OSError, ValueError) as err:
            raise UnreadableItem("unreadable", describe_error(err)) from err
        except UnusableSource as err:
            raise UnreadableItem("unreadable", err.reason) from err
        except SourceNotAllowed as err:
            raise UnreadableItem("not_allowed", str(err)) from err

    def walk(self, folder: str) -> Iterator[tuple[str, str]]:
        """List every file under a folder: its relative name (with forward slashes), its location.

        The order never changes: a folder's files, then its folders, each by the name up to its
        first dot and then by the whole name, so that files of one sample are adjacent. Memory is
        bounded by the largest folder. A subfolder that cannot be listed is returned like a file;
        reading it raises the reason. Raises `UnusableSource`, `SourceNotAllowed`.
        """
        pending = [""]
        while pending:
            relative = pending.pop()
            location = join_location(folder, relative) if relative else folder
            try:
                files, folders = self._list_children(location)
            except (OSError, SourceNotAllowed) as err:
                if not relative and isinstance(err, OSError):
                    raise UnusableSource(folder, describe_error(err)) from err
                if not relative:
                    raise
                yield relative, location
                continue
            within = f"{relative}/" if relative else ""
            yield from ((within + name, join_location(location, name)) for name in files)
            pending.extend(within + name for name in reversed(folders))

    def close(self) -> None:
        """Close idle connections. The object can be used again."""
        if self._opened_web is not None:
            self._opened_web.close()

    @property
    def _web(self) -> Web:
        if self._opened_web is None:
            from api.sources.web import Web  # noqa: PLC0415 - httpx takes 100 ms

            self._opened_web = Web(self._roots, self._resolver, only_public=self._only_public)
        return self._opened_web

    def _kind_of(self, location: str) -> Kind | None:
        if is_web(location):
            return "file" if self._web.exists(location) else None
        path = local_path(location)
        if path is not None:
            mode = self._stat(location, path).st_mode
            return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else None
        filesystem, remote_path = self._open_filesystem(location)
        with _raise_os_errors():
            kind = filesystem.info(remote_path)["type"]
        return "file" if kind == "file" else "folder" if kind == "directory" else None

    def _stat(self, location: str, path: Path) -> os.stat_result:
        if self._roots is None:
            return path.stat()
        try:
            return stat_beneath(path, self._roots.folders)
        except OutsideFolder as err:
            raise SourceNotAllowed(location) from err

    def _open(self, location: str) -> BinaryIO:
        path = local_path(location)
        return self._open_stored(location) if path is None else self._open_local(location, path)

    def _open_local(self, location: str, path: Path) -> BinaryIO:
        try:
            if self._roots is not None:
                return open_beneath(path, self._roots.folders)
            require_regular(path.stat())
            return path.open("rb")
        except OutsideFolder as err:
            raise SourceNotAllowed(location) from err
        except IsADirectoryError as err:
            raise self._explain_folder(path, err) from err
        except (OSError, ValueError) as err:
            raise _explain_unreadable(path, err) from err

    def _explain_folder(self, path: Path, err: OSError) -> UnreadableItem:
        try:
            next(self._scan(path), None)
        except OSError as why:  # `walk` returned it like a file, because it cannot be listed
            return _explain_unreadable(path, why)
        return UnreadableItem("not_a_file", describe_error(err))

    def _open_stored(self, location: str) -> BinaryIO:
        filesystem, path = self._open_filesystem(location)
        try:
            with _raise_os_errors():
                return cast("BinaryIO", filesystem.open(path, "rb"))
        except (FileNotFoundError, IsADirectoryError) as err:
            if self.kind_of(location) == "folder":
                raise UnreadableItem("not_a_file", "a folder, not a file") from err
            raise UnreadableItem("not_found", "no such file") from err
        except OSError as err:
            raise UnreadableItem("unreadable", describe_error(err)) from err

    def _list_children(self, folder: str) -> tuple[list[str], list[str]]:
        """List the names of a folder's files and folders, sorted. Raises OSError."""
        path = local_path(folder)
        files: list[str] = []
        folders: list[str] = []
        listed = self._list_stored(folder) if path is None else self._list_local(folder, path)
        for name, is_folder in listed:
            if not name.startswith("."):
                (folders if is_folder else files).append(name)
        return sorted(files, key=_sort_key), sorted(folders, key=_sort_key)

    def _list_local(self, location: str, folder: Path) -> Iterator[tuple[str, bool]]:
        try:
            for entry in self._scan(folder):
                is_folder = _is_folder(entry)
                if not (is_folder and entry.is_symlink()):
                    yield entry.name, is_folder
        except OutsideFolder as err:
            raise SourceNotAllowed(location) from err

    def _scan(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        if self._roots is not None:
            yield from list_beneath(folder, self._roots.folders)
            return
        with os.scandir(folder) as entries:
            yield from entries

    def _list_stored(self, folder: str) -> Iterator[tuple[str, bool]]:
        filesystem, path = self._open_filesystem(folder)
        with _raise_os_errors():
            entries = filesystem.ls(path, detail=True)
        for entry in entries:
            full_name = entry["name"].rstrip("/")
            if full_name != path.rstrip(
                "/"
            ):  # object stores list a folder's marker under the folder's own name
                yield full_name.rpartition("/")[2], entry["type"] == "directory"

    def _open_filesystem(self, location: str) -> tuple[Any, str]:
        """Return the fsspec file system of a URL, without a cache of listings, and the path in it.

        Its own client for the web is never used, also not at the end of a chain.
        """
        if self._roots is not None:
            self._roots.require(location)
        if is_chained(location) and any(map(is_web, location.split("::"))):
            raise UnusableSource(location, "name the web address itself; archives are read there")
        import fsspec  # noqa: PLC0415 - takes 60 ms, which local sources do not need

        try:
            filesystem, path = fsspec.url_to_fs(location, use_listings_cache=False)
        # an unknown protocol, one whose package is missing (the message names it), no credentials
        except Exception as err:
            raise UnusableSource(location, describe_error(err)) from err
        return filesystem, path


def read_any_file(location: str, max_bytes: int) -> bytes:
    """Read a file that the operator names, as `Access.read_bytes` does. Raises `UnreadableItem`."""
    access = Access()
    try:
        return access.read_bytes(location, max_bytes)
    finally:
        access.close()


def _explain_unreadable(path: Path, err: OSError | ValueError) -> UnreadableItem:
    if isinstance(err, OSError) and err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if path.is_symlink():
            return UnreadableItem("not_a_file", "a broken link")
        return UnreadableItem("not_found", "no such file")
    if isinstance(err, OSError) and err.errno == errno.EINVAL:
        return UnreadableItem("not_a_file", describe_error(err))
    return UnreadableItem("unreadable", describe_error(err))


def _check_seekable(file: BinaryIO) -> None:
    try:
        file.seek(1)
        file.seek(0)
    except (OSError, ValueError) as err:  # the server sends whole files only
        file.close()
        raise UnreadableItem("unreadable", "cannot be read at any position") from err


def _sort_key(name: str) -> tuple[str, str]:
    return name.partition(".")[0], name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link: reading it raises the reason
        return False


@contextmanager
def _raise_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as err:  # each protocol's package has its own errors
        raise OSError(f"{type(err).__name__}: {err}") from err
