"""False-match rates: predicted from one half, counted in the other."""

from __future__ import annotations

import numpy as np

from api.evaluation.matching import measure_false_matches
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
