"""Which calibration is used, and what to do where none gives a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from api.lookups.answers.calibration_words import (
    describe_calibration,
    describe_next_step,
    describe_uncalibrated,
    name_images,
)
from embedder.pictures.delivery import Condition
from index.calibration.calibration import ANY_DELIVERY, FallBack
from index.verdict import SimilarityReason
from tests.api.lookups.worded import calibration

NOT_CALIBRATED, NO_THRESHOLD, TELLS_NOTHING = (
    SimilarityReason.NOT_CALIBRATED,
    SimilarityReason.NO_THRESHOLD,
    SimilarityReason.TELLS_NOTHING,
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "number 3, figures for images after JPEG 75"),
        (
            {"condition": "as_is"},
            "number 3, figures for unchanged images (the probe looks like an image after JPEG 75, "
            "which was not measured)",
        ),
        (
            {
                "condition": ANY_DELIVERY,
                "probe_condition": "webp80",
                "fell_back_from": "webp80",
                "fell_back_because": FallBack.DOES_NOT_HOLD,
            },
            "number 3, figures for images delivered in any way (the probe looks like an "
            "image after WebP 80, whose measured rates do not hold for collections that were left "
            "out)",
        ),
        (
            {
                "condition": ANY_DELIVERY,
                "probe_condition": "half",
                "fell_back_from": "half",
                "fell_back_because": FallBack.NOT_MEASURED,
            },
            "number 3, figures for images delivered in any way (the probe looks like an "
            "image at half the size, which was not measured)",
        ),
        (
            {"condition": "as_is", "probe_condition": "screenshot"},
            "number 3, figures for unchanged images (the probe looks like a screenshot or a "
            "resized image, which was not measured)",
        ),
        (
            {"probe_condition": None, "condition": "as_is"},
            "number 3, figures for unchanged images",
        ),
        (
            {"provisional": True},
            "number 3, provisional (its known-real images came with the model), figures for images "
            "after JPEG 75",
        ),
        (
            {"entries_since": 1200},
            "number 3, figures for images after JPEG 75; 1,200 entries added since it was measured",
        ),
        (
            {"entries_since": -2},
            "number 3, figures for images after JPEG 75; 2 entries removed since it was measured",
        ),
        (
            {"applies": "upper_bound", "entries_since": None},
            "number 3, figures for images after JPEG 75; only part of its corpora was searched, so "
            "the true rate is at most this one",
        ),
        (
            {"supports_threshold": False},
            "number 3, figures for images after JPEG 75; too few known-real images for a threshold",
        ),
        (
            {"supports_threshold": False, "holds": False},
            "number 3, figures for images after JPEG 75; its rates do not hold for collections "
            "that were left out",
        ),
    ],
)
def test_a_calibration_says_how_it_fits(facts: dict[str, Any], expected: str) -> None:
    assert describe_calibration(calibration(**facts)) == expected


@pytest.mark.parametrize("condition", [*Condition, ANY_DELIVERY])
def test_each_kind_of_delivery_has_its_words(condition: str) -> None:
    assert "_" not in name_images(condition)
    words = describe_calibration(calibration(condition=condition, probe_condition=None))
    assert words == f"number 3, figures for {name_images(condition)}"


@pytest.mark.parametrize("condition", Condition)
def test_each_kind_of_probe_has_its_words(condition: Condition) -> None:
    words = describe_calibration(calibration(condition=ANY_DELIVERY, probe_condition=condition))
    assert "(the probe looks like a" in words
    assert "_" not in words


def test_corpora_that_are_not_calibrated_are_named_and_the_rest_counted() -> None:
    assert describe_uncalibrated(["a", "b", "c"]).endswith("covers a, b, c")
    five = describe_uncalibrated(["a", "b", "c", "d", "e"])
    assert five.endswith("covers a, b, c and 2 more")


@pytest.mark.parametrize(
    ("barrier", "used", "uncalibrated", "expected"),
    [
        (
            NOT_CALIBRATED,
            None,
            (),
            "ingest photographs like those in question (`lineup ingest FOLDER --corpus NAME --kind "
            "known_real`), at least 10 and for a threshold at a false-match rate of 1 % about 100, "
            "then run `lineup calibrate`",
        ),
        (NOT_CALIBRATED, None, ["a", "b"], "run `lineup calibrate`: it measures a, b"),
        (
            NOT_CALIBRATED,
            calibration(provisional=True),
            (),
            "ingest photographs like those in question (`lineup ingest FOLDER --corpus NAME --kind "
            "known_real`), at least 10 and for a threshold at a false-match rate of 1 % about 100, "
            "then run `lineup calibrate`",
        ),
        (
            NOT_CALIBRATED,
            calibration(has_hit_rates=False),
            (),
            "`lineup calibrate` measures again: this calibration was measured before hit rates "
            "were",
        ),
        (
            NO_THRESHOLD,
            calibration(supports_threshold=False),
            (),
            "ingest more known-real images (about 100 photographs support a threshold at a "
            "false-match rate of 1 %), then run `lineup calibrate`",
        ),
        (
            NO_THRESHOLD,
            calibration(supports_threshold=False, holds=False),
            (),
            "ingest known-real images of more kinds and sources (`lineup ingest FOLDER --corpus "
            "NAME --kind known_real`), then run `lineup calibrate`",
        ),
        (
            TELLS_NOTHING,
            calibration(),
            (),
            "rely on identical files and near duplicates; another model may tell them apart "
            "(`lineup models`)",
        ),
        (None, calibration(), (), None),
    ],
)
def test_what_to_do_follows_from_what_is_missing(
    barrier: Any, used: Any, uncalibrated: Any, expected: str | None
) -> None:
    assert describe_next_step(barrier, used, uncalibrated, 0.01) == expected


def test_without_known_real_images_there_is_nothing_to_calibrate_with() -> None:
    words = describe_next_step(NOT_CALIBRATED, None, ["a"], 0.01, has_known_reals=False)
    assert words is not None
    assert words.startswith("ingest photographs like those in question")


def test_a_rarer_rate_takes_more_photographs() -> None:
    words = describe_next_step(NO_THRESHOLD, calibration(), (), 0.001)
    assert words is not None
    assert "about 1,000 photographs support a threshold at a false-match rate of 0.1 %" in words
