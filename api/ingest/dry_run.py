"""An ingest tried out: everything is read, hashed, decoded and compared; nothing is embedded or
written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

from pydantic import Field

from api.fields import Answer, CorpusName, FailedItem
from api.ingest.opening import opened_source
from api.ingest.ready import ReadyChunks
from api.ingest.request import IngestRequest
from api.ingest.single import hash_of
from api.ingest.task import CHUNK_ITEMS, READY_ROWS
from api.jobs.task import Left, Taken
from api.lineup import choose_settings, load_embedder, make_image_limits, make_space, open_database
from api.settings import Settings
from api.sources.item import Source, UnreadableItem
from api.sources.ready import ReadySource
from embedder.errors import ImageError
from embedder.pictures.decode import ImageLimits, decode
from index.errors import NoData
from index.near_hashes import NearHashes
from index.truth.database import Database
from index.truth.images import find_known_images
from index.truth.perceptual import PerceptualHash
from index.truth.quarantine import find_quarantined_images
from index.truth.spaces import Space


class DryRunAnswer(Answer):
    """What an ingest would come to: found == new + linked + skipped + failed."""

    corpus: CorpusName
    found: int = Field(ge=0, description="Items that the sources hold.")
    new: int = Field(ge=0, description="Items that would be embedded and added.")
    linked: int = Field(
        ge=0, description="Images known from another corpus, which would not be embedded again."
    )
    skipped: int = Field(
        ge=0,
        description="Items that the corpus has, live or in quarantine, or that came earlier in "
        "the same sources.",
    )
    failed: int = Field(ge=0, description="Items that cannot be taken.")
    duplicates: int = Field(
        ge=0, description="Of the skipped: their bytes came earlier in the same sources."
    )
    near_duplicates: int = Field(
        ge=0, description="Of the new: their picture came earlier, by perceptual hash."
    )
    failures: list[FailedItem] = Field(
        description="Each item that failed, in the order of the sources."
    )


class _Report:
    """What was met so far. Hashes take 32 bytes an image, and so do the perceptual ones."""

    def __init__(self) -> None:
        self.found = self.new = self.linked = self.skipped = self.duplicates = (
            self.near_duplicates
        ) = 0
        self.failures: list[FailedItem] = []
        self._seen: set[bytes] = set()
        self._pictures = NearHashes()

    def fail(self, name: str, reason: str, detail: str) -> None:
        self.failures.append(FailedItem(name=name, reason=reason, detail=detail))

    def is_repeated(self, sha256: str) -> bool:
        """Whether these bytes came before; they have now."""
        digest = bytes.fromhex(sha256)
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False

    def take(self, picture: PerceptualHash | None) -> None:
        """A picture that would be added."""
        self.new += 1
        if picture is not None and picture.reliable:
            self.near_duplicates += bool(self._pictures.find([picture])[0].size)
            self._pictures.add([self.new], [picture.bits])


def dry_run(settings: Settings, request: IngestRequest) -> DryRunAnswer:
    """What an ingest of these sources would come to. A database that is not there yet is an empty
    one.

    Raises `UnusableSource`, `InvalidRequest`, `ForeignSpace`, `ModelError`.
    """
    _ = request.parsed_pattern
    report = _Report()
    space = make_space(load_embedder(choose_settings(settings)).info)
    with ExitStack() as stack:
        database = _database(settings, stack)
        ready = ReadyChunks(space, request)
        for location in request.sources:
            source = stack.enter_context(opened_source(location, request, settings))
            if isinstance(source, ReadySource):
                ready.require_space(source)
                _try_ready(source, ready, request, database, space, report)
            else:
                _try_images(source, request, database, space, make_image_limits(settings), report)
    return DryRunAnswer(
        corpus=request.corpus,
        found=report.found,
        new=report.new,
        linked=report.linked,
        skipped=report.skipped,
        failed=len(report.failures),
        duplicates=report.duplicates,
        near_duplicates=report.near_duplicates,
        failures=report.failures,
    )


def _database(settings: Settings, stack: ExitStack) -> Database | None:
    try:
        return stack.enter_context(open_database(settings))
    except NoData:
        return None


def _try_images(
    source: Source,
    request: IngestRequest,
    database: Database | None,
    space: Space,
    limits: ImageLimits,
    report: _Report,
) -> None:
    for name, data in _read(source, limits, report):
        sha256 = hashlib.sha256(data).hexdigest()
        if not _is_new(sha256, request, database, space, report):
            continue
        try:
            report.take(hash_of(decode(data, limits)))
        except ImageError as err:
            report.fail(name, err.reason, str(err))


def _read(source: Source, limits: ImageLimits, report: _Report) -> Iterator[tuple[str, bytes]]:
    for span in source.spans(CHUNK_ITEMS):
        report.found += span.count
        for item in source.items(span):
            try:
                yield item.name, item.read(limits.max_image_bytes)
            except UnreadableItem as err:
                report.fail(item.name, err.reason, str(err))


def _try_ready(
    source: ReadySource,
    ready: ReadyChunks,
    request: IngestRequest,
    database: Database | None,
    space: Space,
    report: _Report,
) -> None:
    for span in source.spans(READY_ROWS):
        report.found += span.count
        for end in ready.read(source, span, 0):
            if isinstance(end, Left):
                report.fail(end.item.name, end.item.reason, end.item.detail)
            elif isinstance(end, Taken):
                image = end.entry.image
                if _is_new(image.sha256, request, database, space, report):
                    report.take(image.perceptual_hash)


def _is_new(
    sha256: str, request: IngestRequest, database: Database | None, space: Space, report: _Report
) -> bool:
    """Whether the image would be embedded and added; counted, where it would not."""
    if report.is_repeated(sha256):
        report.duplicates += 1
        report.skipped += 1
        return False
    if database is None:
        return True
    with database.read() as conn:
        known = find_known_images(conn, space, [sha256]).get(sha256)
        quarantined = known is not None and sha256 in find_quarantined_images(
            conn, request.corpus, [sha256]
        )
    if known is None or not (known.embedded or quarantined):
        return True
    if quarantined or request.corpus in known.corpora:
        report.skipped += 1
    else:
        report.linked += 1
    return False
