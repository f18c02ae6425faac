"""False-match rates: predicted from one half, counted in the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from api.evaluation.json import FalseMatchTable
from api.evaluation.matching import (
    MIN_FAKES,
    MIN_REALS,
    RATES,
    TIMES,
    measure_false_matches,
)
from index.calibration.population import Population
from tests.api.evaluation.made import anywhere, clusters, population

SIZES = {f"g{number}": 20 for number in range(10)}


def test_few_images_and_a_single_source_have_their_reasons() -> None:
    reals = anywhere(39)
    table = measure_false_matches(reals, clusters(SIZES), np.arange(39), "images", 0)
    assert table.rows == []
    assert table.reason is not None
    assert "39 real and 200 synthetic" in table.reason
    one = measure_false_matches(anywhere(60), clusters(SIZES), np.zeros(60, np.int64), "sources", 0)
    assert one.reason == "all real images come from one source, which cannot be halved"


def test_a_rate_that_the_photographs_cannot_show_is_not_said_to_be_realised() -> None:
    table = measure_false_matches(anywhere(100), clusters(SIZES), np.arange(100), "images", 0)
    rare = [row for row in table.rows if row.asked < 0.02]
    assert rare
    assert all(
        row.realised.value is None and row.inside is None and row.realised.reason for row in rare
    )


def test_real_images_of_the_same_kind_match_as_often_as_predicted() -> None:
    table = measure_false_matches(anywhere(1200), clusters(SIZES), np.arange(1200), "images", 0)
    assert (table.calibrated_on, table.tested_on) == (600, 600)
    assert [row.corpus_size for row in table.rows if row.asked == 0.1] == [20, 40, 100, 200]
    counted = [row for row in table.rows if row.inside is not None]
    assert len(counted) == 12
    assert sum(row.inside is True for row in counted) >= 10
    at_once = table.rows[0]
    assert at_once.matches is not None
    assert at_once.realised.value == at_once.matches / 600
    assert at_once.realised.low is not None
    assert at_once.realised.low <= 0.1 <= (at_once.realised.high or 0)


def test_real_images_that_look_like_fakes_are_counted_outside_of_what_was_predicted() -> None:
    """One half is far from the fakes, the other near: the table says that the prediction fails."""
    far, near = anywhere(300), clusters(dict.fromkeys(SIZES, 30), seed=3)
    photographs = population(
        np.concatenate([far.vectors, near.vectors]).astype(np.float64), [None] * 600
    )
    table = measure_false_matches(
        photographs,
        clusters(SIZES),
        np.arange(600),
        "images",
        0,
        halve=lambda sources, _seed: sources < 300,
    )
    counted = [row for row in table.rows if row.realised.value is not None]
    assert counted
    assert all(row.inside is False and (row.realised.value or 0) > 0.3 for row in counted)


@pytest.fixture(scope="module")
def table() -> FalseMatchTable:
    """Four hundred photographs, ten of each source."""
    return measure_false_matches(
        anywhere(400), clusters(SIZES), np.arange(400) // 10, "sources", seed=0
    )


def nothing() -> Population:
    return anywhere(1).taking(np.empty(0, np.int64))


@pytest.mark.parametrize(("reals", "fakes"), [(0, 200), (60, 0), (0, 0)])
def test_without_images_of_a_kind_no_rate_is_stated(reals: int, fakes: int) -> None:
    table = measure_false_matches(
        anywhere(reals) if reals else nothing(),
        clusters(SIZES) if fakes else nothing(),
        np.arange(reals),
        "images",
        0,
    )
    assert table.rows == []
    assert table.reason is not None
    assert table.reason.startswith(f"{reals} real and {fakes} synthetic images; 40 and 100")
    assert table.calibrated_on + table.tested_on == reals


@pytest.mark.parametrize(
    ("reals", "fakes", "is_measured"),
    [
        (MIN_REALS, MIN_FAKES, True),
        (MIN_REALS - 1, MIN_FAKES, False),
        (MIN_REALS, MIN_FAKES - 1, False),
    ],
)
def test_forty_real_and_a_hundred_fake_images_are_enough(
    reals: int, fakes: int, is_measured: bool
) -> None:
    table = measure_false_matches(
        anywhere(reals), clusters({"a": fakes}), np.arange(reals), "images", 0
    )
    assert bool(table.rows) is is_measured
    assert (table.reason is None) is is_measured


def test_a_row_for_each_rate_at_each_size_of_the_corpus(table: FalseMatchTable) -> None:
    assert [(row.times, row.asked) for row in table.rows] == [
        (times, rate) for times in TIMES for rate in RATES
    ]
    assert [row.corpus_size for row in table.rows[:: len(RATES)]] == [20, 40, 100, 200]


def test_sources_stay_whole_and_are_counted(table: FalseMatchTable) -> None:
    assert (table.calibrated_on, table.tested_on) == (200, 200)
    assert (table.calibrated_sources, table.tested_sources) == (20, 20)
    assert table.split == "sources"


def test_a_rarer_false_match_needs_a_larger_similarity(table: FalseMatchTable) -> None:
    for place in range(0, len(table.rows), len(RATES)):
        thresholds = [row.cosine_similarity for row in table.rows[place : place + len(RATES)]]
        assert all(rarer >= often for often, rarer in pairwise(thresholds))


def test_a_larger_corpus_needs_a_larger_similarity(table: FalseMatchTable) -> None:
    for rate in RATES:
        thresholds = [row.cosine_similarity for row in table.rows if row.asked == rate]
        assert all(more >= fewer - 1e-9 for fewer, more in pairwise(thresholds))


def test_a_counted_rate_has_the_exact_interval_and_is_judged_by_the_predicted_one(
    table: FalseMatchTable,
) -> None:
    counted = [row for row in table.rows if row.realised.value is not None]
    assert counted
    for row in counted:
        assert row.matches is not None
        interval = binomtest(row.matches, 200).proportion_ci(0.95, "exact")
        assert row.realised.value == row.matches / 200
        assert (row.realised.low, row.realised.high) == pytest.approx(tuple(interval))
        assert row.predicted.low is not None
        assert row.predicted.high is not None
        assert row.inside is (row.predicted.low <= row.realised.value <= row.predicted.high)


def test_a_rate_of_less_than_one_image_says_how_many_are_needed() -> None:
    few = measure_false_matches(anywhere(60), clusters(SIZES), np.arange(60), "images", 0)
    row = next(row for row in few.rows if row.asked == 0.01)
    assert row.realised.value is None
    assert row.realised.reason in {
        "30 real images; 100 are needed to expect one",
        "the calibration predicts no threshold with so small a rate",
    }
    assert row.matches is row.inside is None


def test_photographs_that_all_look_alike_have_no_threshold_for_a_rare_match() -> None:
    """All of them are as near to the same fake, so that they all match or none does."""
    fakes = clusters(SIZES)
    alike = population(np.repeat(fakes.vectors[:1].astype(np.float64), 300, axis=0), [None] * 300)
    table = measure_false_matches(alike, fakes, np.arange(300), "images", 0)
    beyond = [row for row in table.rows if (row.predicted.value or 0) > row.asked * 1.01]
    assert [(row.times, row.asked) for row in beyond] == [(5, 0.005), (10, 0.01), (10, 0.005)]
    for row in beyond:
        assert row.realised.reason == "the calibration predicts no threshold with so small a rate"
        assert row.cosine_similarity == 1.0
        assert row.matches is row.inside is None


def test_the_seed_repeats_the_halves_and_the_corpora() -> None:
    one, again, other = (
        measure_false_matches(anywhere(80), clusters(SIZES), np.arange(80), "images", seed)
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other
