"""The local features of stored pictures: where they come from, and a bounded memory of them.

A picture's features are those that were stored at ingest, where its corpus keeps them; else those
of its thumbnail; else those of its original. The thumbnail comes before the original because it is
enough to verify a copy, and takes 15 ms where a photograph of 12 megapixels takes 300. Whatever is
decoded goes through the decoders, as bytes from outside do.

What is remembered holds while the same files are kept of the picture. So a process that runs for
weeks compares what one does that was just started.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace

from api.images import BlobStores
from embedder.copies.features import (
    MAX_KEYPOINTS,
    InvalidFeatures,
    LocalFeatures,
    can_extract,
)
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import EmbedderError
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.errors import BlobCorrupt

log = logging.getLogger(__name__)

# About 800 thumbnails: those that look-ups come back to.
MAX_HELD_BYTES = 64 * 2**20

_Source = LocalFeatures | Future[Picture] | None
# The sizes in bytes of what is kept of a picture: features, thumbnail, original.
_Kept = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """Where the features of a picture come from, and what was kept of it before they were read."""

    source: _Source
    kept: _Kept


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Features in memory, and what was kept of the picture when they were read."""

    features: LocalFeatures
    kept: _Kept


class StoredFeatures:
    """Finds the features of stored pictures by their sha256. Thread-safe."""

    def __init__(
        self,
        stores: BlobStores,
        decoders: Decoders,
        limits: ImageLimits,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        self._features = stores.features
        self._pictures = (stores.thumbnails, stores.originals)
        self._decoders = decoders
        # The thumbnail of a long strip is narrower than what a model reads.
        self._order = PictureOrder(replace(limits, min_image_side=1), local_features=MAX_KEYPOINTS)
        self._max_held_bytes = max_held_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def can_compare(self) -> bool:
        """Whether features can be made, and something is kept of any picture to compare them
        with.
        """
        stores = (self._features, *self._pictures)
        return can_extract() and not all(store.is_empty() for store in stores)

    def find_all(self, sha256s: Sequence[str]) -> Iterator[LocalFeatures | None]:
        """Yield the features of each picture in turn; None where nothing is kept that shows them.

        What must be decoded is decoded ahead. A file that is broken is logged and passed over.
        """
        if not self.can_compare():
            yield from (None for _ in sha256s)
            return
        distinct = {sha256: self._begin(sha256) for sha256 in dict.fromkeys(sha256s)}
        try:
            for sha256 in sha256s:
                found = self._finish(sha256, distinct[sha256])
                distinct[sha256] = replace(distinct[sha256], source=found)
                yield found
        finally:
            for begun in distinct.values():
                if isinstance(begun.source, Future):
                    begun.source.cancel()

    def _begin(self, sha256: str) -> _Begun:
        kept = tuple(store.size(sha256) for store in (self._features, *self._pictures))
        with self._lock:
            held = self._held.get(sha256)
            if held is not None and held.kept == kept:
                self._held.move_to_end(sha256)
                return _Begun(held.features, kept)
        return _Begun(self._find_source(sha256), kept)

    def _find_source(self, sha256: str) -> _Source:
        stored = self._read(self._features, sha256)
        if stored is not None:
            try:
                return LocalFeatures.from_bytes(stored)
            except InvalidFeatures as err:
                log.warning("stored features of %s: %s", sha256, err)
        return self._submit(sha256, self._pictures)

    def _submit(self, sha256: str, stores: Sequence[BlobStore]) -> Future[Picture] | None:
        """Have the first picture decoded that is there."""
        for store in stores:
            data = self._read(store, sha256)
            if data is not None:
                return self._decoders.submit(data, self._order, urgent=True)
        return None

    def _finish(self, sha256: str, begun: _Begun) -> LocalFeatures | None:
        source = begun.source
        if isinstance(source, Future):
            found = self._await(sha256, source)
            if found is None:  # the thumbnail is broken: its original may not be
                again = self._submit(sha256, self._pictures[1:])
                found = None if again is None else self._await(sha256, again)
        else:
            found = source
        if found is not None:
            self._hold(sha256, _Held(found, begun.kept))
        return found

    def _await(self, sha256: str, future: Future[Picture]) -> LocalFeatures | None:
        try:
            return future.result().local_features
        except (EmbedderError, CancelledError) as err:
            log.warning("a stored picture of %s cannot be compared: %s", sha256, err)
            return None

    def _read(self, store: BlobStore, sha256: str) -> bytes | None:
        try:
            return store.find(sha256)
        except BlobCorrupt as err:
            log.warning("%s", err)
            return None

    def _hold(self, sha256: str, held: _Held) -> None:
        with self._lock:
            before = self._held.pop(sha256, None)
            if before is not None:
                self._held_bytes -= before.features.held_bytes
            self._held[sha256] = held
            self._held_bytes += held.features.held_bytes
            while self._held_bytes > self._max_held_bytes:
                _, oldest = self._held.popitem(last=False)
                self._held_bytes -= oldest.features.held_bytes
