from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.calibrations.catalogue import (
    describe_calibration,
    describe_calibration_of_job,
    page_calibrations,
)
from api.calibrations.json import SHOWN_RATES, CalibrationAnswer, StratumAnswer
from api.errors import InvalidRequest
from api.lineup import Lineup
from index.errors import UnknownCalibration
from tests.api.small_lineup import FAKE, add, calibrate, encoded, open_small, picture
from tests.index.assessing import collection, false_matches, stratum


@pytest.fixture
def calibrated(tmp_path: Path) -> Iterator[Lineup]:
    with open_small(tmp_path) as lineup:
        add(lineup, "fakes", FAKE, encoded(picture(0)))
        yield lineup


def test_what_is_not_there_is_unknown(calibrated: Lineup) -> None:
    with pytest.raises(UnknownCalibration):
        describe_calibration(calibrated.database, 1)
    assert describe_calibration_of_job(calibrated.database, 1) is None
    empty = page_calibrations(calibrated.database, None, 10)
    assert (empty.calibrations, empty.next_cursor) == ([], None)
    with pytest.raises(InvalidRequest):
        page_calibrations(calibrated.database, "no cursor", 10)


def test_the_calibration_of_a_job_is_found_behind_many_others(calibrated: Lineup) -> None:
    """Once it was looked for among the latest hundred."""
    first = calibrate(calibrated, job_id=1000)
    for job_id in range(150):
        calibrate(calibrated, job_id=job_id)
    found = describe_calibration_of_job(calibrated.database, 1000)
    assert found is not None
    assert found == describe_calibration(calibrated.database, first)
    assert found.request["job"] == 1000


def test_calibrations_are_paged_the_newest_first(calibrated: Lineup) -> None:
    ids = [calibrate(calibrated) for _ in range(3)]
    first = page_calibrations(calibrated.database, None, 2)
    assert [each.id for each in first.calibrations] == ids[:0:-1]
    last = page_calibrations(calibrated.database, first.next_cursor, 2)
    assert ([each.id for each in last.calibrations], last.next_cursor) == ([ids[0]], None)


def test_a_calibration_shows_what_it_measured(calibrated: Lineup) -> None:
    answer = describe_calibration(calibrated.database, calibrate(calibrated))
    assert isinstance(answer, CalibrationAnswer)
    assert (answer.against, answer.reference) == (["fakes"], ["photographs"])
    assert (answer.embedding_space, answer.corpus_size) == (calibrated.space.fingerprint, 8)
    assert [each.condition for each in answer.strata] == ["as_is"]


def test_the_figures_of_a_delivery() -> None:
    collections = (collection("a", 40, 0.85, 0.1), collection("b", 40, 0.2))
    answer = StratumAnswer.of("jpeg75", stratum(collections=collections, familiar_from=0.3))
    assert (answer.condition, answer.images, answer.sources, answer.fakes) == (
        "jpeg75",
        1000,
        900,
        30,
    )
    assert [each.false_match_rate for each in answer.thresholds] == list(SHOWN_RATES)
    tenth = answer.thresholds[0]
    assert tenth.cosine_similarity == pytest.approx(0.8)  # whose rate is (1 - 0.8) / 2
    assert tenth.low == pytest.approx(0.1)
    assert tenth.high == pytest.approx(0.1 + 0.9 * 0.01)
    assert tenth.look_up_threshold == tenth.cosine_similarity  # its interval is narrow enough
    assert [(each.corpus, each.matches) for each in tenth.collections] == [("a", 1), ("b", 0)]
    assert (answer.growth, answer.familiar_from) == (1.0, 0.3)
    assert answer.one_sided is not None
    assert (answer.one_sided.same_source_images, answer.one_sided.cllr) == (20, 0.2)
    assert answer.two_sided is not None
    assert answer.classifier is not None
    assert (answer.classifier.method, answer.classifier.images) == ("temperature", 60)
    assert answer.attribution is not None
    assert (answer.attribution.coverage, answer.attribution.open_set_auroc) == (0.9, None)


def test_the_threshold_of_look_ups_is_higher_where_the_interval_is_wide_or_missing() -> None:
    wide, unsupported = (
        StratumAnswer.of("as_is", stratum(false_matches=false_matches(high=high))).thresholds
        for high in (0.04, 0.06)
    )
    assert SHOWN_RATES[1:] == (0.01, 0.005)
    assert [each.look_up_threshold is None for each in wide] == [False, False, True]
    assert wide[1].look_up_threshold is not None
    assert wide[1].look_up_threshold >= wide[1].cosine_similarity
    assert [each.look_up_threshold is None for each in unsupported] == [False, True, True]


def test_figures_that_too_few_images_support_are_null() -> None:
    bare = stratum(likelihood=None, two_sided=None, classifier=None, attribution=None)
    answer = StratumAnswer.of("as_is", bare)
    assert (answer.one_sided, answer.two_sided, answer.classifier, answer.attribution) == (
        None,
        None,
        None,
        None,
    )
