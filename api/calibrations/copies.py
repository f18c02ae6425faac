"""What a calibration measures about copies: how often unrelated pictures look like edited ones.

Known-real images are looked up as a probe would be, among the known fakes of the calibration: all
views by perceptual hash, and some of them by geometry too, which verifies the known fakes that are
nearest by hash and by the model. Their files are read again for that, by the decoders. Images whose
files are gone are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from api.copies.stored_features import StoredFeatures
from api.copies.verifying import MAX_CANDIDATES
from api.corpora.originals import find_bytes
from api.images import view_hashes_of
from embedder.copies.features import MAX_KEYPOINTS, LocalFeatures, can_extract
from embedder.copies.matching import find_correspondence
from embedder.decoding.picture import Decoders, Picture, PictureOrder
from embedder.errors import ImageError
from embedder.pictures.limits import ImageLimits
from index.blobs import BlobStore
from index.calibration.calibration import Compared
from index.calibration.copies import CopyCurve, CopyRates, fit_inliers
from index.calibration.copy_distances import (
    ViewedImages,
    find_distances,
    find_nearest_entries,
    fit_band,
    gather_views,
)
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import Population
from index.calibration.reading import draw_rows
from index.copies import ViewHash
from index.truth.coverage import image_sources
from index.truth.database import Database
from index.truth.perceptual import HASH_BYTES

# The most known-real images that are looked at again. Reading one takes 50 to 100 ms; this many
# show a rate of 0.3 %.
MOST_VIEWED = 1_000
# Of these, the most whose candidates geometry verifies, as a look-up does: 0.2 s each on one core,
# and the thumbnails of their candidates, 15 ms each. This many show a rate of 1.5 %.
MOST_VERIFIED = 200
AT_ONCE = 16  # pictures in memory


@dataclass(frozen=True, slots=True, eq=False)
class PictureReader:
    """Reads stored images again: `originals` keeps their bytes, `decoders` make pictures, `stored`
    finds local features of known fakes.
    """

    database: Database
    originals: BlobStore
    stored: StoredFeatures
    decoders: Decoders
    limits: ImageLimits

    def read(
        self, image_ids: Sequence[int], order: PictureOrder
    ) -> Iterator[tuple[int, Picture | None]]:
        """Yield each image with its picture; None if its file is gone or no longer a picture."""
        for start in range(0, len(image_ids), AT_ONCE):
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
        with self.database.read(unlimited=True) as conn:
            sources = image_sources(conn, image_ids)
        yield from self.stored.find_all([source.image.sha256 for source in sources])


def measure_copies(
    reader: PictureReader, compared: Compared, sample: Sequence[int], seed: int
) -> CopyRates | None:
    """Measure how often known-real images of a sample look like copies of known fakes.

    None if no file of theirs can be read.
    """
    chosen = [sample[row] for row in draw_rows(len(sample), MOST_VIEWED, seed)]
    verified = {chosen[row] for row in draw_rows(len(chosen), MOST_VERIFIED, seed)}
    views, features = _look_at(reader, chosen, verified if can_extract() else set())
    if not views:
        return None
    entries = _Entries.of(compared.fakes)
    images, viewed = _gather(compared.reals, views)
    found = find_distances(viewed, entries.bits, entries.sources)
    band = fit_band(
        found,
        images.sources,
        compared=len(entries.bits),
        corpus_size=compared.corpus_size,
        seed=seed,
    )
    population = (
        f"{band.n:,} known-real images of {band.n_sources:,} photographs, in all views, among "
        f"{compared.corpus_size:,} known fakes"
    )
    rates = CopyRates(CopyCurve(band, population), int(found.is_near_duplicate.sum()))
    return _add_inliers(rates, reader, compared, entries, views, features, seed)


def count_inliers(
    probe: LocalFeatures, entries: Iterator[LocalFeatures | None]
) -> tuple[int, int] | None:
    """Return the largest number of inliers over entries, and over those that look alike. None if no
    entry could be compared.
    """
    largest = counted = -1
    for features in entries:
        if features is None:
            continue
        fit = find_correspondence(features, probe)
        largest = max(largest, 0 if fit is None else fit.inliers)
        counted = max(counted, 0 if fit is None else fit.counted_inliers)
    return None if largest < 0 else (largest, counted)


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """The known fakes with a reliable hash: hashes (m, 32), source numbers (m,), rows (m,)."""

    bits: NDArray[np.uint8]
    sources: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, fakes: Population) -> _Entries:
        reliable = [
            (row, each.bits)
            for row, each in enumerate(fakes.hashes)
            if each is not None and each.reliable
        ]
        rows = np.array([row for row, _ in reliable], np.int64)
        bits = np.frombuffer(b"".join(bits for _, bits in reliable), np.uint8)
        return cls(bits.reshape(-1, HASH_BYTES), fakes.sources[rows], rows)


Views = Mapping[int, tuple[ViewHash, ...]]


def _look_at(
    reader: PictureReader, image_ids: Sequence[int], verified: set[int]
) -> tuple[Views, Mapping[int, LocalFeatures]]:
    """Return by image id the views of images that can be read, and the features of some."""
    views: dict[int, tuple[ViewHash, ...]] = {}
    features: dict[int, LocalFeatures] = {}
    for is_verified in (False, True):
        order = PictureOrder(
            reader.limits,
            view_hashes=True,
            local_features=MAX_KEYPOINTS if is_verified else None,
        )
        some = [each for each in image_ids if (each in verified) is is_verified]
        for image_id, picture in reader.read(some, order):
            if picture is None:
                continue
            views[image_id] = view_hashes_of(picture)
            if picture.local_features is not None:
                features[image_id] = picture.local_features
    return views, features


def _gather(reals: Population, views: Views) -> tuple[Population, ViewedImages]:
    """Return the images that have views, with them."""
    images = reals.taking(np.flatnonzero(np.isin(reals.image_ids, list(views))))
    own = [views[image_id] for image_id in images.image_ids.tolist()]
    return images, gather_views(own, images.sources)


def _add_inliers(
    rates: CopyRates,
    reader: PictureReader,
    compared: Compared,
    entries: _Entries,
    views: Views,
    features: Mapping[int, LocalFeatures],
    seed: int,
) -> CopyRates:
    """Add how many inliers the candidates of the images have whose features are given."""
    images, viewed = _gather(compared.reals, {each: views[each] for each in features})
    candidates = _choose_candidates(images, viewed, compared.fakes, entries)
    largest, counted, sources = [], [], []
    for image_id, source, rows in zip(
        images.image_ids.tolist(), images.sources.tolist(), candidates, strict=True
    ):
        shown = reader.find_features(compared.fakes.image_ids[rows].tolist())
        found = count_inliers(features[image_id], shown)
        if found is not None:
            largest.append(found[0])
            counted.append(found[1])
            sources.append(source)
    if not largest:
        return rates
    curve = fit_inliers(largest, sources, corpus_size=compared.corpus_size, seed=seed)
    population = (
        f"{curve.n:,} known-real images of {curve.n_sources:,} photographs, each with at most "
        f"{MAX_CANDIDATES} of {compared.corpus_size:,} known fakes"
    )
    return CopyRates(
        rates.band,
        rates.near_duplicates,
        CopyCurve(curve, population),
        tuple(sorted((each for each in counted if each), reverse=True)),
        MAX_CANDIDATES,
    )


def _choose_candidates(
    images: Population, viewed: ViewedImages, fakes: Population, entries: _Entries
) -> list[list[int]]:
    """Return the rows of the known fakes that a look-up of each image would verify: the nearest by
    hash and by the model in turn. None shows the same picture.
    """
    if not len(images):
        return []
    by_hash = find_nearest_entries(viewed, entries.bits, entries.sources, MAX_CANDIDATES)
    nearest = find_nearest(images, fakes, SamePictures(fakes), k=MAX_CANDIDATES).positions
    chosen = []
    for places, positions in zip(by_hash, nearest.tolist(), strict=True):
        by_model = [row for row in positions if row >= 0]
        lists = zip_longest(entries.rows[places].tolist(), by_model)
        distinct = dict.fromkeys(row for row in chain.from_iterable(lists) if row is not None)
        chosen.append(list(distinct)[:MAX_CANDIDATES])
    return chosen
