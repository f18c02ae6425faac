from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from api.calibrations.catalogue import describe_calibration_of_job
from api.calibrations.json import SHOWN_BITS
from api.calibrations.measuring import measure_and_save
from api.calibrations.request import CalibrationRequest
from api.calibrations.stored_pictures import PictureReader
from api.calibrations.task import CalibrateTask
from api.copies.verifying import MAX_CANDIDATES
from api.lineup import Lineup
from api.worker.starting import start_calibration
from embedder.decoding.picture import PictureOrder
from index.calibration.calibration import Calibration
from index.calibration.copies import CopyRates, rate_of_bits
from index.calibration.reading import SourceNumbers, get_named_corpora, read_population
from index.truth.active import activate_first_copy_space
from index.truth.adding import NewEntry, add_copy_vectors
from index.truth.calibrations import get_calibration, list_calibration_heads
from index.truth.corpora import CorpusKind
from index.truth.coverage import image_sources
from index.truth.spaces import Space, SpaceKind
from tests.api.calibrations.conftest import keep_original
from tests.api.small_lineup import REAL, add, encoded, picture

COPIES = Space("c" * 64, "test-copies", "d" * 64, "e" * 64, 16, SpaceKind.COPY)
UNCHANGED = CalibrationRequest(conditions=[])


def open_reader(lineup: Lineup) -> PictureReader:
    return PictureReader(
        lineup.database,
        lineup.blob_stores.originals,
        lineup.stored_features,
        lineup.decoders,
        lineup.picture_order.limits,
    )


def measure(lineup: Lineup, request: CalibrationRequest = UNCHANGED) -> CopyRates | None:
    number = measure_and_save(
        lineup.database, lineup.space, request, 1, lineup.computation, reader=open_reader(lineup)
    )
    with lineup.database.read() as conn:
        return Calibration.from_json(get_calibration(conn, number).document).copies


def add_kept(lineup: Lineup, corpus: str, kind: object, image: Image.Image) -> None:
    data = encoded(image)
    add(lineup, corpus, kind, data)  # type: ignore[arg-type]
    keep_original(lineup, data)


def test_without_a_file_nothing_is_measured_and_the_rest_of_the_calibration_is(
    lineup: Lineup,
) -> None:
    add(lineup, "lost", REAL, encoded(picture(300)))  # no original is kept
    assert measure(lineup, CalibrationRequest(conditions=[], reference=["lost"])) is None


def test_a_file_that_is_gone_or_no_longer_a_picture_is_left_out(lineup: Lineup) -> None:
    lost = add(lineup, "photographs", REAL, encoded(picture(300)))
    assert lost
    rates = measure(lineup)
    assert rates is not None
    assert rates.band is not None
    assert rates.band.rates.n == 12
    reader = open_reader(lineup)
    order = PictureOrder(lineup.picture_order.limits, view_hashes=True)
    found = dict(reader.read([25, 2], order))
    assert found[25] is None
    assert found[2] is not None
    assert len(found[2].view_hashes) >= 8


def test_a_mirrored_fake_among_the_photographs_is_counted_apart(lineup: Lineup) -> None:
    add_kept(lineup, "photographs", REAL, ImageOps.mirror(picture(0)))
    rates = measure(lineup)
    assert rates is not None
    assert rates.near_duplicates == 1
    assert rates.band is not None
    assert rates.band.rates.n == 13
    assert "13 known-real images" in rates.band.population
    assert not rates.band.is_shipped
    assert rate_of_bits(rates.band.rates, 32).matches == 0


def test_a_mirrored_fake_is_no_candidate_and_others_are_verified(lineup: Lineup) -> None:
    pytest.importorskip("cv2")
    add_kept(lineup, "photographs", REAL, ImageOps.mirror(picture(0)))
    rates = measure(lineup)
    assert rates is not None
    assert rates.inliers is not None
    assert rates.inliers.rates.n == 13
    assert rates.candidates == MAX_CANDIDATES
    assert rates.counted == ()  # blots have few keypoints, and the mirrored one was left out
    there = rates.inlier_rate(20)
    assert there is not None
    assert there.high >= 3 / 13


def test_descriptors_are_measured_from_stored_vectors(lineup: Lineup) -> None:
    rng = np.random.default_rng(0)
    with lineup.database.write() as conn:
        activate_first_copy_space(conn, "test-copies", COPIES)
        facts = [each.image for each in image_sources(conn, list(range(1, 25)))]
        vectors = rng.normal(size=(len(facts), COPIES.dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        new = [
            NewEntry(image, None, None, copy_vector=vector)
            for image, vector in zip(facts, vectors, strict=True)
        ]
        add_copy_vectors(conn, COPIES, new)
    rates = measure(lineup)
    assert rates is not None
    curve = (rates.descriptors or {})[COPIES.fingerprint]
    assert "described by test-copies" in curve.population
    fakes, reals = vectors[0::2], vectors[1::2]
    assert curve.rates.largest == pytest.approx((reals @ fakes.T).max(), abs=1e-3)
    assert rates.descriptor_threshold(COPIES.fingerprint, 0.5) is not None
    with lineup.database.read() as conn:
        corpora = get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
        read = read_population(conn, COPIES, corpora, SourceNumbers())
    assert read.vectors.dtype == np.float16  # half the memory
    np.testing.assert_array_equal(read.vectors, fakes.astype(np.float16))
    assert np.isnan(read.logits).all()


class Rest(Exception):
    """What ends the work in these tests."""


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_reading_ends_where_the_work_is_no_longer_wanted(lineup: Lineup, looks: int) -> None:
    pytest.importorskip("cv2")
    left = iter(range(looks))

    def look() -> None:
        if next(left, None) is None:
            raise Rest

    reader = replace(open_reader(lineup), require_wanted=look)
    with pytest.raises(Rest):
        measure_and_save(
            lineup.database, lineup.space, UNCHANGED, 1, lineup.computation, reader=reader
        )
    with lineup.database.read() as conn:
        assert list_calibration_heads(conn, lineup.space, 1) == ()


def test_a_job_measures_copies_with_its_decoders(lineup: Lineup) -> None:
    job = start_calibration(lineup.database, lineup.space, UNCHANGED)
    CalibrateTask(
        lineup.database,
        lineup.space,
        lineup.blob_stores.originals,
        lineup.picture_order,
        job,
        lineup.computation,
        reader=open_reader(lineup),
    ).complete()
    answer = describe_calibration_of_job(lineup.database, job.id)
    assert answer is not None
    assert answer.copies is not None
    assert answer.copies.band is not None
    assert answer.copies.band.images == 12
    assert not answer.copies.band.supported
    assert [each.bits for each in answer.copies.band_rates] == list(SHOWN_BITS)
    assert [each.corpus_size for each in answer.copies.lead_limits] == [12, 120, 1200]
    highs = [each.high for each in answer.copies.band_rates]
    assert highs == sorted(highs, reverse=True)
    assert highs[-1] >= 3 / 12
