"""What a calibration measures about copies: how often unrelated pictures look like edited ones.

Known-real images are looked up as a probe would be, by all views of their perceptual hash, among
the known fakes of the calibration. Their files are read again for that, by the decoders. Images
whose files are gone are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.corpora.originals import find_bytes
from api.images import view_hashes_of
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.calibration.calibration import Compared
from index.calibration.copies import CopyCurve, CopyRates
from index.calibration.copy_distances import find_distances, fit_band, gather_views
from index.calibration.population import Population
from index.calibration.reading import draw_rows
from index.truth.coverage import image_sources
from index.truth.database import Database
from index.truth.perceptual import HASH_BYTES

# The most known-real images that are looked at again. Reading one takes 50 to 100 ms; this many
# show a rate of 0.3 %.
MOST_VIEWED = 1_000
AT_ONCE = 16  # pictures in memory


@dataclass(frozen=True, slots=True, eq=False)
class PictureReader:
    """Reads stored images again: `originals` keeps their bytes, `decoders` make pictures."""

    database: Database
    originals: BlobStore
    decoders: Decoders
    limits: ImageLimits

    def read(
        self, image_ids: Sequence[int], order: PictureOrder
    ) -> Iterator[tuple[int, Picture | None]]:
        """Yield each image with its picture; None if its file is gone or no longer a picture."""
        for some in _in_parts(image_ids, AT_ONCE):
            with self.database.read(unlimited=True) as conn:
                sources = image_sources(conn, some)
            waiting = []
            for image_id, source in zip(some, sources, strict=True):
                data, _ = find_bytes(source, self.originals, self.limits.max_image_bytes)
                waiting.append(
                    (image_id, None if data is None else self.decoders.submit(data, order))
                )
            for image_id, future in waiting:
                try:
                    yield image_id, None if future is None else future.result()
                except ImageError:
                    yield image_id, None


def measure_copies(
    reader: PictureReader, compared: Compared, sample: Sequence[int], seed: int
) -> CopyRates | None:
    """Measure how often known-real images of a sample look like copies of known fakes.

    None if no file of theirs can be read.
    """
    chosen = [sample[row] for row in draw_rows(len(sample), MOST_VIEWED, seed)]
    order = PictureOrder(reader.limits, view_hashes=True)
    views = {
        image_id: view_hashes_of(picture)
        for image_id, picture in reader.read(chosen, order)
        if picture is not None
    }
    if not views:
        return None
    rows = np.flatnonzero(np.isin(compared.reals.image_ids, list(views)))
    images = compared.reals.taking(rows)
    own = [views[image_id] for image_id in images.image_ids.tolist()]
    viewed = gather_views(own, images.sources)
    entries, entry_sources = _read_hashes(compared.fakes)
    found = find_distances(viewed, entries, entry_sources)
    band = fit_band(
        found,
        images.sources,
        compared=len(entries),
        corpus_size=compared.corpus_size,
        seed=seed,
    )
    population = (
        f"{band.n:,} known-real images of {band.n_sources:,} photographs, in all views, among "
        f"{compared.corpus_size:,} known fakes"
    )
    return CopyRates(CopyCurve(band, population), int(found.is_near_duplicate.sum()))


def _read_hashes(images: Population) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the reliable hashes (m, 32) of images, and their source numbers (m,)."""
    reliable = [
        (each.bits, source)
        for each, source in zip(images.hashes, images.sources.tolist(), strict=True)
        if each is not None and each.reliable
    ]
    bits = np.frombuffer(b"".join(bits for bits, _ in reliable), np.uint8).reshape(-1, HASH_BYTES)
    return bits, np.array([source for _, source in reliable], np.int64)


def _in_parts(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
