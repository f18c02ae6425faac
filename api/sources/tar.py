"""A tar archive, also compressed with gzip, bzip2, xz or zstd, read in place: nothing is unpacked
to disk.

Listing goes through the headers once. Everything before a damage is listed; the damage itself is a
last item with the archive's name, so that the job reports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from tarfile import TarInfo
from typing import Any, NamedTuple, cast

from api.sources.item import Item, Span, UnreadableItem, UnusableSource, printable
from api.sources.json_values import JSON
from api.sources.locations import is_hidden, name_of
from api.sources.sidecars import MAX_SIDECAR_BYTES, Listed, read_sidecars, samples
from api.sources.spans import in_spans
from api.sources.streams import Stream
from api.sources.tarheaders import BLOCK_BYTES, Member, header_of, members

HELD_BYTES = (
    72 * 2**20
)  # of one sample: an image as large as is taken by default (64 MiB), and its sidecars


class Place(NamedTuple):
    """Where a member is, or why it cannot be read; in JSON a list."""

    name: str
    offset: int = 0  # of its data
    size: int = 0
    checksum: int = 0  # of its header
    reason: str = ""
    message: str = ""


def is_tar(location: str) -> bool:
    """Whether a file is a tar archive, by content. Raises `UnusableSource`."""
    with closing(Stream(location)) as stream:
        try:
            return header_of(stream.read_at(0, BLOCK_BYTES)) is not None
        except UnreadableItem:
            return False


class TarSource:
    """A tar archive. Read each item before the next is taken: a compressed archive is then gone
    through once.

    `Span.where` is a list of samples: the item's place and behind it those of its sidecars.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._stream: Stream | None = None
        self._held: dict[int, bytes] = {}  # by offset, of the sample being read

    def spans(self, size: int) -> Iterator[Span]:
        return in_spans(self._entries(), size)

    def items(self, span: Span) -> Iterator[Item]:
        self._opened()
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

    def close(self) -> None:
        self._held = {}
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _entries(self) -> Iterator[JSON]:
        damages: list[UnreadableItem] = []
        with closing(Stream(self.location)) as stream:
            for sample in samples(_listed(stream, damages)):
                yield [_place(file) for file in (sample.file, *sample.sidecars)]
        for damage in damages:
            if (
                damage.reason == "unreadable"
            ):  # the storage failed, which says nothing of the archive
                raise UnusableSource(self.location, str(damage)) from damage
            yield [
                Place(printable(name_of(self.location)), reason=damage.reason, message=str(damage))
            ]

    def _opened(self) -> Stream:
        if self._stream is None:
            self._stream = Stream(self.location)
        return self._stream

    def _hold(self, places: Sequence[Place], sidecars: Sequence[Place]) -> None:
        """Read a sample in the archive's order, where going back to an image would mean to begin
        again.
        """
        if not self._opened().is_compressed:
            return
        held: dict[int, bytes] = {}
        left = HELD_BYTES
        for place in sorted({*places, *sidecars}, key=attrgetter("offset")):
            size = min(place.size, left, MAX_SIDECAR_BYTES + 1 if place in sidecars else left)
            with suppress(UnreadableItem):  # which is raised again by the item's own `read`
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
            stream = self._opened()
            return header_of(stream.read_at(offset - BLOCK_BYTES, BLOCK_BYTES)), stream.read_at(
                offset, size
            )
        except UnusableSource as err:
            raise UnreadableItem("unreadable", err.reason) from err
        except UnreadableItem:
            self.close()  # a decompressor that failed once is not asked again
            raise


def _listed(stream: Stream, damages: list[UnreadableItem]) -> Iterator[Listed[Member]]:
    try:
        for member in members(stream.read_at):
            name = member.name.removeprefix("./")  # as `tar` writes the names within `.`
            if not is_hidden(name):
                yield Listed(name, member)
    except UnreadableItem as damage:
        damages.append(damage)


def _place(file: Listed[Member]) -> Place:
    name, member = printable(file.name), file.place
    if member.refusal is not None:
        return Place(name, 0, 0, 0, *member.refusal)
    return Place(name, member.offset, member.size, member.checksum)
