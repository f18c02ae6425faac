"""Calibrations for a person: what was measured, by kind of delivery."""

from __future__ import annotations

from collections.abc import Iterable

from api.calibrations.json import CalibrationAnswer, RatiosAnswer
from api.lookups.words import collection_name, percent
from api.terminal.tables import out, table_of


def print_calibrations(calibrations: Iterable[CalibrationAnswer]) -> None:
    """One row a calibration."""
    table = table_of(
        "calibration>", "measured", "against", "entries>", "reference", "images>", "conditions"
    )
    for each in calibrations:
        as_is = next(stratum for stratum in each.strata if stratum.condition == "as_is")
        table.add_row(
            str(each.id),
            f"{each.created_at:%Y-%m-%d %H:%M:%S}",
            ", ".join(each.against),
            f"{each.corpus_size:,}",
            ", ".join(each.reference),
            f"{as_is.images:,}",
            ", ".join(stratum.condition for stratum in each.strata),
        )
    out.print(table)


def print_calibration(answer: CalibrationAnswer) -> None:
    """What was measured, one row a kind of delivery."""
    out.print(
        f"calibration {answer.id}  {', '.join(answer.against)} ({answer.corpus_size:,} entries) "
        f"against "
        f"{', '.join(answer.reference)}, generation {answer.generation:,}, seed {answer.seed}",
        soft_wrap=True,
    )
    rates = [f"at {percent(each.false_match_rate)}>" for each in answer.strata[0].thresholds]
    table = table_of(
        "delivered", "images>", "photographs>", *rates, "Cllr>", "two-sided>", "ECE>", "coverage>"
    )
    for stratum in answer.strata:
        table.add_row(
            stratum.condition,
            f"{stratum.images:,}",
            f"{stratum.sources:,}",
            *(
                f"{each.cosine_similarity:.4f} ({percent(each.high)})"
                for each in stratum.thresholds
            ),
            _cost(stratum.one_sided),
            _cost(stratum.two_sided),
            "" if stratum.classifier is None else f"{stratum.classifier.ece:.3f}",
            "" if stratum.attribution is None else percent(stratum.attribution.coverage),
        )
    out.print(table)
    out.print(
        "at: similarity with that false-match rate (the most it may be, 95 %); Cllr (the least it "
        "could be)"
    )
    _print_collections(answer)


def _print_collections(answer: CalibrationAnswer) -> None:
    """What each reference collection came to at the thresholds of pictures as they are; nothing
    where there is one.
    """
    as_is = next(stratum for stratum in answer.strata if stratum.condition == "as_is")
    shown = [each for each in as_is.thresholds if each.collections]
    if not shown:
        return
    table = table_of(
        "collection", "images>", *(f"at {percent(each.false_match_rate)}>" for each in shown)
    )
    for number, collection in enumerate(shown[0].collections):
        shares = (each.collections[number] for each in shown)
        told = (f"{percent(each.matches / each.images)} ({each.matches})" for each in shares)
        table.add_row(collection_name(collection), f"{collection.images:,}", *told)
    out.print(table)


def _cost(ratios: RatiosAnswer | None) -> str:
    return "" if ratios is None else f"{ratios.cllr:.2f} ({ratios.cllr_min:.2f})"
