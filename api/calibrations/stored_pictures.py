"""The pictures of stored images, made again for a calibration from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from api.copies.stored_features import StoredFeatures
from api.corpora.originals import find_bytes
from embedder.copies.features import LocalFeatures
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.truth.coverage import image_sources
from index.truth.databases.database import Database

AT_ONCE = 16  # pictures in memory


def always_wanted() -> None:
    """Let the work go on."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureReader:
    """Reads stored images again: `originals` keeps their bytes, `decoders` make pictures, `stored`
    finds local features of known fakes. `require_wanted` is called every second or so, and raises
    an error of its own where the work shall end.
    """

    database: Database
    originals: BlobStore
    stored: StoredFeatures
    decoders: Decoders
    limits: ImageLimits
    require_wanted: Callable[[], None] = always_wanted

    def read(
        self, image_ids: Sequence[int], order: PictureOrder
    ) -> Iterator[tuple[int, Picture | None]]:
        """Yield each image with its picture; None if its file is gone or no longer a picture."""
        for start in range(0, len(image_ids), AT_ONCE):
            self.require_wanted()
            some = image_ids[start : start + AT_ONCE]
            with self.database.read(unlimited=True) as conn:
                sources = image_sources(conn, some)
            waiting = []
            for image_id, source in zip(some, sources, strict=True):
                data, _ = find_bytes(source, self.originals, self.limits.max_image_bytes)
                future = None if data is None else self.decoders.submit(data, order)
                waiting.append((image_id, future))
            for image_id, future in waiting:
                try:
                    yield image_id, None if future is None else future.result()
                except ImageError:
                    yield image_id, None

    def find_features(self, image_ids: Sequence[int]) -> Iterator[LocalFeatures | None]:
        """Yield the local features of stored images; None where nothing shows them."""
        self.require_wanted()
        with self.database.read(unlimited=True) as conn:
            sources = image_sources(conn, image_ids)
        yield from self.stored.find_all([source.image.sha256 for source in sources])
