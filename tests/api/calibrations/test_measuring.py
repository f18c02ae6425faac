from __future__ import annotations

import numpy as np
import pytest

from api.calibrations.measuring import choose_sample, measure_and_save
from api.calibrations.request import CalibrationRequest
from api.errors import NothingToCalibrate
from api.lineup import Lineup
from embedder.pictures.delivery import Condition
from index.calibration.calibration import ANY_DELIVERY, AS_IS, Calibration
from index.errors import CorpusKindConflict, UnknownCorpus
from index.truth.calibrations import add_delivered, get_calibration
from index.truth.corpora import CorpusKind, create_corpus, find_corpus_ids
from index.truth.entries import remove_entry
from tests.api.small_lineup import FAKE, REAL, add, encoded, picture

UNCHANGED = CalibrationRequest(conditions=[])


def measure(lineup: Lineup, request: CalibrationRequest = UNCHANGED, job_id: int = 1) -> int:
    return measure_and_save(lineup.database, lineup.space, request, job_id, lineup.computation)


def test_a_calibration_says_what_computed_it(lineup: Lineup) -> None:
    with lineup.database.read() as conn:
        stored = get_calibration(conn, measure(lineup))
    assert stored.computation == lineup.computation


def measured(lineup: Lineup, request: CalibrationRequest) -> Calibration:
    calibration_id = measure(lineup, request)
    with lineup.database.read() as conn:
        return Calibration.from_json(get_calibration(conn, calibration_id).document)


@pytest.mark.parametrize("kind", [FAKE, REAL])
def test_without_one_of_the_two_kinds_there_is_nothing_to_calibrate(
    lineup: Lineup, kind: CorpusKind
) -> None:
    with lineup.database.write() as conn:
        create_corpus(conn, "empty", kind)
    names = {"against": ["empty"]} if kind is FAKE else {"reference": ["empty"]}
    with pytest.raises(NothingToCalibrate):
        measure(lineup, CalibrationRequest(conditions=[], **names))


def test_a_corpus_that_is_unknown_or_of_the_other_kind_is_refused(lineup: Lineup) -> None:
    with pytest.raises(UnknownCorpus):
        measure(lineup, CalibrationRequest(against=["nowhere"]))
    with pytest.raises(CorpusKindConflict):
        measure(lineup, CalibrationRequest(reference=["fakes"]))


def test_what_was_measured_is_stored_with_its_scope(lineup: Lineup) -> None:
    calibration_id = measure(lineup, job_id=17)
    with lineup.database.read() as conn:
        stored = get_calibration(conn, calibration_id)
        fakes, photographs = (
            find_corpus_ids(conn, frozenset({name})) for name in ("fakes", "photographs")
        )
    assert stored.scope.asked == UNCHANGED.model_dump(mode="json")
    assert (stored.scope.against, stored.scope.against_ids) == (("fakes",), fakes)
    assert (stored.scope.reference, stored.scope.reference_ids) == (("photographs",), photographs)
    assert stored.scope.job_id == 17
    found = Calibration.from_json(stored.document)
    assert (found.corpus_size, found.generators) == (12, {"flux": 6, "sdxl": 6})
    assert list(found.strata) == [AS_IS]
    assert (found.strata[AS_IS].references, found.strata[AS_IS].fakes) == (12, 12)


def test_a_job_has_one_calibration_whoever_measures_it(lineup: Lineup) -> None:
    first = measure(lineup, job_id=1)
    assert measure(lineup, job_id=1) == first
    assert measure(lineup, job_id=2) > first


def test_a_sample_is_chosen_by_its_seed_and_of_both_kinds(lineup: Lineup) -> None:
    def sample(**request: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        with lineup.database.read() as conn:
            found = choose_sample(conn, lineup.space, CalibrationRequest(**request))
        return found.reals, found.fakes

    reals, fakes = sample(max_images=5)
    assert (len(reals), len(fakes), set(reals) & set(fakes)) == (5, 5, set())
    assert sample(max_images=5) == (reals, fakes)
    assert sample(max_images=5, seed=1) != (reals, fakes)
    everything = sample(max_images=100)
    assert (len(everything[0]), len(everything[1])) == (12, 12)


def test_removed_entries_are_not_measured(lineup: Lineup) -> None:
    gone = add(lineup, "fakes", FAKE, encoded(picture(77)))
    with lineup.database.write() as conn:
        remove_entry(conn, gone)
    assert measured(lineup, UNCHANGED).corpus_size == 12


def test_a_delivery_is_measured_on_the_images_that_were_embedded_after_it(lineup: Lineup) -> None:
    request = CalibrationRequest(conditions=[Condition.AS_IS, Condition.JPEG75], max_images=6)
    with lineup.database.write() as conn:
        sample = choose_sample(conn, lineup.space, request)
        ids = [*sample.reals[:4], *sample.fakes]
        rows = np.eye(12, dtype=np.float32)
        some = [(image_id, "jpeg75", rows[n % 12], 0.5) for n, image_id in enumerate(ids)]
        add_delivered(conn, lineup.space, some)
    found = measured(lineup, request)
    assert list(found.strata) == [AS_IS, "jpeg75", ANY_DELIVERY]
    jpeg75 = found.strata["jpeg75"]
    assert (jpeg75.references, jpeg75.fakes) == (4, 6)
    assert (found.strata[AS_IS].references, found.strata[AS_IS].fakes) == (12, 12)


def test_a_delivery_without_any_embedded_image_has_no_stratum(lineup: Lineup) -> None:
    request = CalibrationRequest(conditions=[Condition.JPEG75])
    assert set(measured(lineup, request).strata) == {AS_IS}
