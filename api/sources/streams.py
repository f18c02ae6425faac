"""The decompressed bytes of a file, readable at any offset. The first bytes decide the compression.

A compressed file is decompressed while it is read, and is never in memory as a whole. Moving
forward decompresses what lies between; moving back starts again at the beginning. Bytes that cannot
be read are an `UnreadableItem`: `truncated_archive`, `corrupt_archive`, or `unreadable` if the
storage failed.
"""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
from collections.abc import Callable, Mapping
from typing import BinaryIO, cast

from api.sources.access import Access
from api.sources.item import UnreadableItem, UnusableSource
from api.sources.locations import describe_error, read_up_to


class Stream:
    """A file opened for reading, decompressed.

    Raises `UnusableSource` if the file cannot be read, or has a compression that this release of
    Python cannot read.
    """

    def __init__(self, location: str, access: Access | None = None) -> None:
        self._file = (access or Access()).open_binary(location)
        try:
            open_decompressed = _choose_decompressor(location, self._file)
            self.is_compressed = open_decompressed is not None
            self._data = open_decompressed(self._file) if open_decompressed else self._file
        except BaseException:
            self._file.close()
            raise

    def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the data. Raises `UnreadableItem`."""
        try:
            self._data.seek(offset)
            return read_up_to(self._data, size)
        except EOFError as err:
            raise UnreadableItem("truncated_archive", "the compressed data end too early") from err
        except Exception as err:  # each compression and each protocol has its own errors
            is_storage = not self.is_compressed or (
                isinstance(err, OSError) and err.errno is not None
            )
            raise UnreadableItem(
                "unreadable" if is_storage else "corrupt_archive", describe_error(err)
            ) from err

    def close(self) -> None:
        self._data.close()
        self._file.close()


def _choose_decompressor(location: str, file: BinaryIO) -> Callable[[BinaryIO], BinaryIO] | None:
    try:
        beginning = file.read(max(map(len, DECOMPRESSORS)))
        file.seek(0)
    except Exception as err:  # each protocol has its own errors
        raise UnusableSource(location, describe_error(err)) from err
    for magic, open_decompressed in DECOMPRESSORS.items():
        if beginning.startswith(magic):
            if open_decompressed is None:
                raise UnusableSource(
                    location,
                    "compressed with zstd, which this release of Python cannot read; 3.14 can",
                )
            return open_decompressed
    return None


def _open_gzip(file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=file))


def _open_bz2(file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", bz2.BZ2File(file))


def _open_xz(file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", lzma.LZMAFile(file))


def _find_zstd() -> Callable[[BinaryIO], BinaryIO] | None:
    try:
        return cast(
            "Callable[[BinaryIO], BinaryIO]", importlib.import_module("compression.zstd").ZstdFile
        )
    except ImportError:  # before Python 3.14
        return None


DECOMPRESSORS: Mapping[
    bytes, Callable[[BinaryIO], BinaryIO] | None
] = {  # RFC 1952, bzip2's manual, xz 1.2, RFC 8878
    b"\x1f\x8b": _open_gzip,
    b"BZh": _open_bz2,
    b"\xfd7zXZ\x00": _open_xz,
    b"\x28\xb5\x2f\xfd": _find_zstd(),
}
