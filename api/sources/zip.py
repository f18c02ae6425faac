"""A zip archive (PKWARE's APPNOTE), read in place: nothing is unpacked to disk.

Its directory is in memory.
"""

from __future__ import annotations

import stat
from bz2 import BZ2File
from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, BinaryIO, cast
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from api.sources.access import Access
from api.sources.item import Item, Span, UnreadableItem, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import PIECE_BYTES, describe_error, is_hidden, read_up_to
from api.sources.sidecars import Listed, group_samples, read_sidecars, sample_key
from api.sources.spans import cut_into_spans, narrow_entries

IS_ENCRYPTED = 0x1  # general purpose bit 0, APPNOTE 4.4.4
SMALL_PIECE_BYTES = (
    4096  # the least that zipfile reads; for LZMA and Zstandard it decompresses all of it
)


class ZipSource:
    """A zip archive, in the order of its directory.

    `Span.where` is a list of samples: the item's name, its number in the directory, and the numbers
    of its sidecars.
    """

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        self._access = access or Access()
        self._file: BinaryIO | None = None
        self._archive: ZipFile | None = None

    def spans(self, size: int) -> Iterator[Span]:
        return cut_into_spans(self._list_entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        directory = self._open_once().infolist()
        for name, *numbers in cast("Sequence[Sequence[Any]]", span.where):
            member, *sidecars = [
                directory[number] for number in numbers if number < len(directory)
            ] or [None]
            if member is None or make_printable(_name_member(member, numbers[0])) != name:
                yield Item(name, _refuse_changed)
                continue
            declared = read_sidecars(
                (sidecar.filename, partial(self._read, sidecar)) for sidecar in sidecars if sidecar
            )
            yield Item(name, partial(self._read, member), declared)

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return narrow_entries(span, first, count)

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()
        if self._file is not None:
            self._file.close()
        self._archive = self._file = None
        self._access.close()

    def _list_entries(self) -> Iterator[JSON]:
        files = [
            Listed(_name_member(member, number), number)
            for number, member in enumerate(self._open_once().infolist())
            if not member.filename.endswith("/") and not is_hidden(member.filename)
        ]
        files.sort(key=lambda file: (sample_key(file.name), file.name))
        for sample in sorted(group_samples(files), key=lambda sample: sample.file.place):
            yield [
                make_printable(sample.file.name),
                *(file.place for file in (sample.file, *sample.sidecars)),
            ]

    def _open_once(self) -> ZipFile:
        if self._archive is None:
            self._file = self._access.open_binary(self.location)
            try:
                self._archive = ZipFile(self._file)
            except Exception as err:  # a damaged directory makes zipfile raise many kinds of errors
                self.close()
                raise UnusableSource(
                    self.location, f"not a readable zip archive: {describe_error(err)}"
                ) from err
        return self._archive

    def _read(self, member: ZipInfo, max_bytes: int) -> bytes:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnreadableItem("not_a_file", "a symbolic link")
        if member.flag_bits & IS_ENCRYPTED:
            raise UnreadableItem("encrypted", "encrypted with a password")
        try:
            data = self._read_member(member, max_bytes + 1)
        except NotImplementedError as err:
            raise UnreadableItem("unsupported_member", describe_error(err)) from err
        except Exception as err:  # each compression and each protocol has its own errors
            is_storage = isinstance(err, OSError) and err.errno is not None
            raise UnreadableItem(
                "unreadable" if is_storage else "corrupt_member", describe_error(err)
            ) from err
        if len(data) != min(member.file_size, max_bytes + 1):
            raise UnreadableItem(
                "corrupt_member", "its length differs from the archive's directory"
            )
        return data

    def _read_member(self, member: ZipInfo, size: int) -> bytes:
        if member.compress_type == ZIP_BZIP2:
            with (
                self._open_once().open(_copy_as_stored(member)) as packed,
                BZ2File(packed) as unpacked,
            ):
                return read_up_to(cast("BinaryIO", unpacked), size)
        is_bounded = member.compress_type in (ZIP_STORED, ZIP_DEFLATED)
        with self._open_once().open(member) as file:
            return read_up_to(
                cast("BinaryIO", file), size, PIECE_BYTES if is_bounded else SMALL_PIECE_BYTES
            )


def _name_member(member: ZipInfo, number: int) -> str:
    """Return the name of a member; a damaged one may have none."""
    return member.filename or f"member {number + 1}"


def _copy_as_stored(member: ZipInfo) -> ZipInfo:
    """Return the member as if its compressed bytes were its contents.

    zipfile does not limit what bzip2 decompresses: a few bytes can become gigabytes. bzip2 has
    checksums of its own, so zipfile's is not needed.
    """
    packed = copy(member)
    packed.compress_type, packed.file_size = ZIP_STORED, member.compress_size
    del packed.CRC
    return packed


def _refuse_changed(_: int) -> bytes:
    raise UnreadableItem("changed_archive", "the archive is no longer the one that was listed")
