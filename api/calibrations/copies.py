"""What a calibration measures about copies: how often unrelated pictures look like edited ones.

Known-real images are looked up as a probe would be, among the known fakes of the calibration: all
views by perceptual hash, and some of them by geometry too, which verifies the known fakes that are
nearest by hash and by the model. Their files are read again for that, by the decoders. Images whose
files are gone are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.calibrations.stored_pictures import PictureReader
from api.copies.verifying import MAX_CANDIDATES, take_turns
from api.images import view_hashes_of
from embedder.copies.features import MAX_KEYPOINTS, LocalFeatures, can_extract
from embedder.copies.matching import find_correspondence
from embedder.decoding.picture import PictureOrder
from index.calibration.calibration import Compared, fit_rates
from index.calibration.copies import CopyCurve, CopyRates, fit_inliers
from index.calibration.copy_distances import (
    ViewedImages,
    find_distances,
    find_near_duplicates,
    find_nearest_entries,
    fit_band,
    gather_views,
)
from index.calibration.others import SamePictures, find_nearest
from index.calibration.population import Population
from index.calibration.reading import (
    NamedCorpora,
    SourceNumbers,
    draw_rows,
    read_population,
)
from index.copies import ViewHash
from index.truth.active import find_active_copy_space
from index.truth.databases.database import Database
from index.truth.perceptual import HASH_BYTES

# The most known-real images that are looked at again. Reading one takes 50 to 100 ms; this many
# show a rate of 0.3 %.
MOST_VIEWED = 1_000
# Of these, the most whose candidates geometry verifies, as a look-up does: 0.2 s each on one core,
# and the thumbnails of their candidates, 15 ms each. This many show a rate of 1.5 %.
MOST_VERIFIED = 200
# The most known-real images whose stored descriptors are compared with all known fakes.
MOST_DESCRIBED = 20_000


def measure_copies(
    reader: PictureReader,
    compared: Compared,
    against: NamedCorpora,
    reference: NamedCorpora,
    sample: Sequence[int],
    seed: int,
) -> CopyRates | None:
    """Measure how often known-real images look like copies of known fakes: those of a sample by
    hash and geometry, and all that have a vector in the active copy space by its descriptor.

    None if no file of theirs can be read, and no descriptor is in use.
    """
    described = _Described.read(reader.database, against, reference)
    looked_up = _measure_look_ups(reader, compared, described, sample, seed)
    if looked_up is None and described is None:
        return None
    descriptors = {} if described is None else {described.fingerprint: described.measure(seed)}
    return replace(looked_up or CopyRates(), descriptors=descriptors)


def _measure_look_ups(
    reader: PictureReader,
    compared: Compared,
    described: _Described | None,
    sample: Sequence[int],
    seed: int,
) -> CopyRates | None:
    """Measure the images of a sample by hash and geometry. None if no file can be read."""
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
    images, viewed = _gather(compared.reals, {each: views[each] for each in features})
    candidates = _choose_candidates(images, viewed, compared.fakes, entries, described)
    return _add_inliers(rates, reader, compared, images, candidates, features, seed)


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


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    """The images of the calibration that the copy descriptor in use has described."""

    descriptor: str
    fingerprint: str
    reals: Population
    fakes: Population
    same: SamePictures

    @classmethod
    def read(
        cls, database: Database, against: NamedCorpora, reference: NamedCorpora
    ) -> _Described | None:
        """Read stored vectors; None without a descriptor, or without vectors of both kinds."""
        with database.read(unlimited=True) as conn:
            active = find_active_copy_space(conn)
            if active is None:
                return None
            sources = SourceNumbers()
            fakes = read_population(conn, active.space, against, sources)
            reals = read_population(conn, active.space, reference, sources)
        if not len(fakes) or not len(reals):
            return None
        return cls(active.descriptor, active.space.fingerprint, reals, fakes, SamePictures(fakes))

    def measure(self, seed: int) -> CopyCurve:
        """Measure how similar to known fakes the known-real images are."""
        reals = self.reals.taking(draw_rows(len(self.reals), MOST_DESCRIBED, seed))
        rates = fit_rates(
            reals,
            find_nearest(reals, self.fakes, self.same),
            reals.sources,
            self.fakes,
            self.same,
            corpus_size=len(self.fakes),
            seed=seed,
        )
        population = (
            f"{rates.n:,} known-real images of {rates.n_sources:,} photographs, described by "
            f"{self.descriptor}, among {len(self.fakes):,} known fakes"
        )
        return CopyCurve(rates, population)

    def find_candidates(self, image_ids: NDArray[np.int64]) -> Mapping[int, list[int]]:
        """Return the image ids of the known fakes that are most similar to each image."""
        images = self.reals.taking(np.flatnonzero(np.isin(self.reals.image_ids, image_ids)))
        if not len(images):
            return {}
        found = find_nearest(images, self.fakes, self.same, k=MAX_CANDIDATES).positions
        return {
            image_id: self.fakes.image_ids[places[places >= 0]].tolist()
            for image_id, places in zip(images.image_ids.tolist(), found, strict=True)
        }


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
    images: Population,
    candidates: Sequence[Sequence[int]],
    features: Mapping[int, LocalFeatures],
    seed: int,
) -> CopyRates:
    """Add how many inliers the images have with their candidates, which are rows of the fakes."""
    largest, counted, sources = [], [], []
    for image_id, source, rows in zip(
        images.image_ids.tolist(), images.sources.tolist(), candidates, strict=True
    ):
        shown = reader.find_features(compared.fakes.image_ids[list(rows)].tolist())
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
    return replace(
        rates,
        inliers=CopyCurve(curve, population),
        counted=tuple(sorted((each for each in counted if each), reverse=True)),
        candidates=MAX_CANDIDATES,
    )


def _choose_candidates(
    images: Population,
    viewed: ViewedImages,
    fakes: Population,
    entries: _Entries,
    described: _Described | None,
) -> list[list[int]]:
    """Return the rows of the known fakes that a look-up of each image would verify. None shows the
    same picture.
    """
    if not len(images):
        return []
    by_hash = find_nearest_entries(viewed, entries.bits, entries.sources, MAX_CANDIDATES)
    nearest = find_nearest(images, fakes, SamePictures(fakes), k=MAX_CANDIDATES).positions
    similar = {} if described is None else described.find_candidates(images.image_ids)
    row_of = {image_id: row for row, image_id in enumerate(fakes.image_ids.tolist())}
    copies = find_near_duplicates(viewed, entries.bits)
    chosen = []
    for image_id, places, positions, same in zip(
        images.image_ids.tolist(), by_hash, nearest.tolist(), copies, strict=True
    ):
        turns = take_turns(
            [row_of[each] for each in similar.get(image_id, ()) if each in row_of],
            entries.rows[places].tolist(),
            [row for row in positions if row >= 0],
        )
        left_out = set(entries.rows[same].tolist())
        distinct = dict.fromkeys(row for row in turns if row not in left_out)
        chosen.append(list(distinct)[:MAX_CANDIDATES])
    return chosen
