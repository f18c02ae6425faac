"""A tar archive, also compressed with gzip, bzip2, xz or zstd, read in place: nothing is unpacked
to disk.

Listing reads the headers once. Everything before a damage is listed. The damage itself is a last
item with the archive's name, so that the job reports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from tarfile import TarInfo
from typing import Any, NamedTuple, cast

from api.sources.access import Access
from api.sources.item import Item, Span, UnreadableItem, UnusableSource, make_printable
from api.sources.json_values import JSON
from api.sources.locations import is_hidden, name_of
from api.sources.sidecars import MAX_SIDECAR_BYTES, Listed, group_samples, read_sidecars
from api.sources.spans import cut_into_spans, narrow_entries
from api.sources.streams import Stream
from api.sources.tarheaders import BLOCK_BYTES, Member, decode_header, list_members

HELD_BYTES = (
    72 * 2**20
)  # one sample: an image of the largest default size (64 MiB) and its sidecars


class Place(NamedTuple):
    """Where a member is, or why it cannot be read. In JSON it is a list."""

    name: str
    offset: int = 0  # of its data
    size: int = 0
    checksum: int = 0  # of its header
    reason: str = ""
    message: str = ""


def is_tar(location: str, access: Access) -> bool:
    """Whether a file's content is a tar archive. Raises `UnusableSource`."""
    with closing(Stream(location, access)) as stream:
        try:
            return decode_header(stream.read_at(0, BLOCK_BYTES)) is not None
        except UnreadableItem:
            return False


class TarSource:
    """A tar archive. Read each item before asking for the next one: then a compressed archive is
    decompressed only once.

    `Span.where` is a list of samples: the place of the item, followed by those of its sidecars.
    """

    def __init__(self, location: str, access: Access | None = None) -> None:
        self.location = location
        self._access = access or Access()
        self._stream: Stream | None = None
        self._held: dict[int, bytes] = {}  # of the sample that is being read, by offset

    def spans(self, size: int) -> Iterator[Span]:
        return cut_into_spans(self._list_entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        self._open_once()
        samples_of_span = cast("Sequence[Sequence[Sequence[Any]]]", span.where)
        entries = ([Place(*place) for place in sample] for sample in samples_of_span)
        for sidecars, together in groupby(entries, key=itemgetter(slice(1, None))):
            places = [entry[0] for entry in together]
            if sidecars:
                self._hold(places, sidecars)
            for place in places:
                declared = read_sidecars(
                    (sidecar.name, partial(self._read, sidecar)) for sidecar in sidecars
                )
                yield Item(place.name, partial(self._read, place), declared)

    def narrow(self, span: Span, first: int, count: int) -> Span:
        return narrow_entries(span, first, count)

    def close(self) -> None:
        self._held = {}
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._access.close()

    def _list_entries(self) -> Iterator[JSON]:
        damages: list[UnreadableItem] = []
        with closing(Stream(self.location, self._access)) as stream:
            for sample in group_samples(_list_files(stream, damages)):
                yield [_to_place(file) for file in (sample.file, *sample.sidecars)]
        for damage in damages:
            if damage.reason == "unreadable":  # the storage failed, the archive may be fine
                raise UnusableSource(self.location, str(damage)) from damage
            yield [
                Place(
                    make_printable(name_of(self.location)),
                    reason=damage.reason,
                    message=str(damage),
                )
            ]

    def _open_once(self) -> Stream:
        if self._stream is None:
            self._stream = Stream(self.location, self._access)
        return self._stream

    def _hold(self, places: Sequence[Place], sidecars: Sequence[Place]) -> None:
        """Read a sample in the archive's order. In a compressed archive, moving back to an image
        would decompress everything again.
        """
        if not self._open_once().is_compressed:
            return
        held: dict[int, bytes] = {}
        left = HELD_BYTES
        for place in sorted({*places, *sidecars}, key=attrgetter("offset")):
            size = min(place.size, left, MAX_SIDECAR_BYTES + 1 if place in sidecars else left)
            with suppress(UnreadableItem):  # the item's own `read` raises it again
                held[place.offset] = self._read(place, size - 1)
                left -= size
        self._held = held

    def _read(self, place: Place, max_bytes: int) -> bytes:
        if place.reason:
            raise UnreadableItem(place.reason, place.message)
        size = min(place.size, max_bytes + 1)
        held = self._held.get(place.offset)
        if held is not None and len(held) >= size:
            return held[:size]
        header, data = self._member_bytes(place.offset, size)
        if header is None or header.chksum != place.checksum:
            raise UnreadableItem(
                "changed_archive", "the archive is no longer the one that was listed"
            )
        if len(data) < size:
            raise UnreadableItem("truncated_archive", "the archive ends within this member")
        return data

    def _member_bytes(self, offset: int, size: int) -> tuple[TarInfo | None, bytes]:
        try:
            stream = self._open_once()
            return decode_header(stream.read_at(offset - BLOCK_BYTES, BLOCK_BYTES)), stream.read_at(
                offset, size
            )
        except UnusableSource as err:
            raise UnreadableItem("unreadable", err.reason) from err
        except UnreadableItem:
            self.close()  # do not use a decompressor again after it failed
            raise


def _list_files(stream: Stream, damages: list[UnreadableItem]) -> Iterator[Listed[Member]]:
    try:
        for member in list_members(stream.read_at):
            name = member.name.removeprefix("./")  # `tar` writes names within `.` like this
            if not is_hidden(name):
                yield Listed(name, member)
    except UnreadableItem as damage:
        damages.append(damage)


def _to_place(file: Listed[Member]) -> Place:
    name, member = make_printable(file.name), file.place
    if member.refusal is not None:
        return Place(name, 0, 0, 0, *member.refusal)
    return Place(name, member.offset, member.size, member.checksum)
