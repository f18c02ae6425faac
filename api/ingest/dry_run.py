"""An ingest tried out: everything is read, hashed, decoded and compared; nothing is embedded or
written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from pydantic import Field

from api.decoding import make_image_limits, open_decoders
from api.fields import Answer, CorpusName, FailedItem
from api.images import hash_of
from api.ingest.opening import open_any
from api.ingest.ready import ReadyChunks
from api.ingest.request import IngestRequest
from api.ingest.task import CHUNK_ITEMS, READY_ROWS
from api.jobs.task import Added, NotTaken
from api.lineup import choose_settings, make_space, open_database
from api.model import locate_files
from api.settings import Settings
from api.sources.item import Source, UnreadableItem
from api.sources.ready import ReadySource
from embedder.decoding.ahead import make_pictures_ahead
from embedder.decoding.picture import Decoders, PictureOrder
from embedder.errors import ImageError
from embedder.network.download import describe_model
from embedder.pictures.limits import ImageLimits
from index.errors import NoData
from index.near_hashes import NearHashes
from index.truth.databases.database import Database
from index.truth.images import find_known_images
from index.truth.perceptual import PerceptualHash
from index.truth.quarantine import find_quarantined_images
from index.truth.spaces import Space

# As many as keep the decoders of a large machine at work, and as many bytes as a stream of the
# embedder holds.
PICTURES_AHEAD = 64
MAX_AHEAD_BYTES = 256 * 2**20


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
    """Counts so far. The hashes take 32 bytes an image, and the perceptual hashes as many."""

    def __init__(self) -> None:
        self.found = self.new = self.linked = self.skipped = self.duplicates = 0
        self.near_duplicates = 0
        self.failures: list[FailedItem] = []
        self._entries: set[bytes] = set()
        self._pictures = NearHashes()

    def fail(self, name: str, reason: str, detail: str) -> None:
        self.failures.append(FailedItem(name=name, reason=reason, detail=detail))

    def has_entry(self, sha256: str) -> bool:
        """Return whether these bytes would be an entry by now."""
        return bytes.fromhex(sha256) in self._entries

    def link(self, sha256: str) -> None:
        """Count a known image that would be added without embedding it."""
        self.linked += 1
        self._entries.add(bytes.fromhex(sha256))

    def add(self, sha256: str, picture: PerceptualHash | None) -> None:
        """Count an image that would be embedded and added."""
        self.new += 1
        self._entries.add(bytes.fromhex(sha256))
        if picture is not None and picture.reliable:
            self.near_duplicates += bool(self._pictures.find([picture])[0].size)
            self._pictures.add([self.new], [picture.bits])


def dry_run(settings: Settings, request: IngestRequest) -> DryRunAnswer:
    """Report what an ingest of these sources would do; a missing database counts as an empty one.

    Raises `UnusableSource`, `InvalidRequest`, `ForeignSpace`, `ModelError`.
    """
    _ = request.parsed_pattern  # raises if the pattern is invalid
    space = make_space(describe_model(locate_files(choose_settings(settings))))
    with ExitStack() as stack:
        database = _find_database(settings, stack)
        decoders = stack.enter_context(open_decoders(settings))
        limits = make_image_limits(settings)
        return Trial(database, space, decoders, limits, settings.upload_dir, request).run()


def _find_database(settings: Settings, stack: ExitStack) -> Database | None:
    try:
        return stack.enter_context(open_database(settings))
    except NoData:
        return None


class Trial:
    """One dry run over the sources of a request. It needs no model, only the space of one."""

    def __init__(
        self,
        database: Database | None,
        space: Space,
        decoders: Decoders,
        limits: ImageLimits,
        upload_dir: Path,
        request: IngestRequest,
    ) -> None:
        self._database = database
        self._space = space
        self._decoders = decoders
        self._limits = limits
        self._upload_dir = upload_dir
        self._request = request
        self._ready = ReadyChunks(space, request)
        self._report = _Report()

    def run(self) -> DryRunAnswer:
        """Read all sources. Raises `UnusableSource`, `ForeignSpace`, `InvalidRequest`."""
        for location in self._request.sources:
            with closing(open_any(location, self._request, self._upload_dir)) as source:
                if isinstance(source, ReadySource):
                    self._ready.require_space(source)
                    self._try_ready(source)
                else:
                    self._try_images(source)
        report = self._report
        return DryRunAnswer(
            corpus=self._request.corpus,
            found=report.found,
            new=report.new,
            linked=report.linked,
            skipped=report.skipped,
            failed=len(report.failures),
            duplicates=report.duplicates,
            near_duplicates=report.near_duplicates,
            failures=report.failures,
        )

    def _try_images(self, source: Source) -> None:
        pictures = make_pictures_ahead(
            self._decoders,
            self._list_unknown(source),
            ahead=PICTURES_AHEAD,
            max_bytes=MAX_AHEAD_BYTES,
        )
        with closing(pictures):
            for (name, sha256), future in pictures:
                if self._is_duplicate(sha256):  # of one that was being decoded
                    continue
                try:
                    self._report.add(sha256, hash_of(future.result()))
                except ImageError as err:
                    self._report.fail(name, err.reason, str(err))

    def _list_unknown(
        self, source: Source
    ) -> Iterator[tuple[tuple[str, str], bytes, PictureOrder]]:
        """Yield name and sha256 of each image that would be embedded, with its bytes."""
        order = PictureOrder(self._limits, perceptual_hash=True)
        for name, data in self._read(source):
            sha256 = hashlib.sha256(data).hexdigest()
            if self._is_new(sha256):
                yield (name, sha256), data, order

    def _read(self, source: Source) -> Iterator[tuple[str, bytes]]:
        for span in source.spans(CHUNK_ITEMS):
            self._report.found += span.count
            for item in source.items(span):
                try:
                    yield item.name, item.read(self._limits.max_image_bytes)
                except UnreadableItem as err:
                    self._report.fail(item.name, err.reason, str(err))

    def _try_ready(self, source: ReadySource) -> None:
        for span in source.spans(READY_ROWS):
            self._report.found += span.count
            for result in self._ready.read(source, span, 0):
                if isinstance(result, NotTaken):
                    self._report.fail(result.item.name, result.item.reason, result.item.detail)
                elif isinstance(result, Added):
                    image = result.content.image
                    if self._is_new(image.sha256):
                        self._report.add(image.sha256, image.perceptual_hash)

    def _is_new(self, sha256: str) -> bool:
        """Return whether the image would be embedded and added; count it if not."""
        if self._is_duplicate(sha256):
            return False
        if self._database is None:
            return True
        corpus = self._request.corpus
        with self._database.read() as conn:
            known = find_known_images(conn, self._space, [sha256]).get(sha256)
            quarantined = known is not None and sha256 in find_quarantined_images(
                conn, corpus, [sha256]
            )
        if known is None or not (known.embedded or quarantined):
            return True
        if quarantined or corpus in known.corpora:
            self._report.skipped += 1
        else:
            self._report.link(sha256)
        return False

    def _is_duplicate(self, sha256: str) -> bool:
        """Return whether the bytes came earlier in the same sources; count them if so."""
        if not self._report.has_entry(sha256):
            return False
        self._report.duplicates += 1
        self._report.skipped += 1
        return True
