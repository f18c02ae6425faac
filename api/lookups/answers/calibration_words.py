"""The calibration in words: which one is used, how it fits, and what to do where none does."""

from __future__ import annotations

from collections.abc import Sequence

from api.lookups.answers.calibration_json import CalibrationUsed
from api.lookups.answers.numbers import percent
from embedder.pictures.delivery import Condition
from index.calibration.calibration import ANY_DELIVERY, FallBack
from index.calibration.for_probe import count_supporting
from index.calibration.ratios import MIN_SOURCES
from index.verdict import SimilarityReason

NAMED = 3  # corpora that a sentence names; the JSON has all of them
# Each kind of delivery: the images that figures are for, and what a probe looks like.
_DELIVERED = {
    Condition.AS_IS: ("unchanged images", "an unchanged image or a PNG without camera data"),
    Condition.JPEG90: ("images after JPEG 90", "an image after JPEG 90"),
    Condition.JPEG75: ("images after JPEG 75", "an image after JPEG 75"),
    Condition.JPEG50: ("images after JPEG 50", "an image after JPEG 50"),
    Condition.WEBP80: ("images after WebP 80", "an image after WebP 80"),
    Condition.HALF: ("images at half the size", "an image at half the size"),
    Condition.SCREENSHOT: ("screenshots", "a screenshot or a resized image"),
}
_FELL_BACK = {
    FallBack.NOT_MEASURED: "which was not measured",
    FallBack.DOES_NOT_HOLD: ("whose measured rates do not hold for collections that were left out"),
}


def describe_calibration(used: CalibrationUsed) -> str:
    """Which calibration is used, and how well it fits the search."""
    words = f"number {used.id}"
    if used.provisional:
        words += ", provisional (its known-real images came with the model)"
    words += f", figures for {name_images(used.condition)}"
    if used.probe_condition not in (None, used.condition):
        # Calibrations of rules 1 name no reason: the delivery was not measured.
        because = _FELL_BACK[used.fell_back_because or FallBack.NOT_MEASURED]
        appearance = _DELIVERED[Condition(used.probe_condition)][1]
        words += f" (the probe looks like {appearance}, {because})"
    if used.entries_since:
        change = "added" if used.entries_since > 0 else "removed"
        words += f"; {abs(used.entries_since):,} entries {change} since it was measured"
    if used.applies == "upper_bound":
        words += "; only part of its corpora was searched, so the true rate is at most this one"
    if not used.holds:
        words += "; its rates do not hold for collections that were left out"
    elif not used.supports_threshold and not used.provisional:
        words += "; too few known-real images for a threshold"
    return words


def describe_uncalibrated(corpora: Sequence[str]) -> str:
    """Why no calibration applies."""
    return (
        f"none applies: no calibration with known-real images of this installation covers "
        f"{_list_names(corpora)}"
    )


def describe_next_step(
    barrier: SimilarityReason | None,
    used: CalibrationUsed | None,
    uncalibrated: Sequence[str],
    false_match_rate: float,
    *,
    has_known_reals: bool = True,
) -> str | None:
    """What to do so that similarity gives a verdict; None if it gives one.

    `has_known_reals`: the installation has at least `MIN_SOURCES` known-real images.
    """
    wanted = count_supporting(false_match_rate)
    match barrier:
        case SimilarityReason.NOT_CALIBRATED if uncalibrated and has_known_reals:
            return f"run `lineup calibrate`: it measures {_list_names(uncalibrated)}"
        case SimilarityReason.NOT_CALIBRATED if used is not None and not used.provisional:
            return (
                "`lineup calibrate` measures again: this calibration was measured before hit rates "
                "were"
            )
        case SimilarityReason.NOT_CALIBRATED:
            return (
                f"ingest photographs like those in question (`lineup ingest FOLDER --corpus NAME "
                f"--kind known_real`), at least {MIN_SOURCES} and for a threshold at a false-match "
                f"rate of {percent(false_match_rate)} about {wanted:,}, then run `lineup calibrate`"
            )
        case SimilarityReason.NO_THRESHOLD if used is not None and not used.holds:
            return (
                "ingest known-real images of more kinds and sources (`lineup ingest FOLDER "
                "--corpus NAME --kind known_real`), then run `lineup calibrate`"
            )
        case SimilarityReason.NO_THRESHOLD:
            return (
                f"ingest more known-real images (about {wanted:,} photographs support a threshold "
                f"at a false-match rate of {percent(false_match_rate)}), then run `lineup "
                f"calibrate`"
            )
        case SimilarityReason.TELLS_NOTHING:
            return (
                "rely on identical files and near duplicates; another model may tell them apart "
                "(`lineup models`)"
            )
        case _:
            return None


def name_images(condition: str) -> str:
    """The images that figures of a kind of delivery are for."""
    if condition == ANY_DELIVERY:
        return "images delivered in any way"
    return _DELIVERED[Condition(condition)][0]


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed} and {len(names) - NAMED} more"
