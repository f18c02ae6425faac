"""The JSON of calibrations, and the reading of stored ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.fields import Answer, CorpusName, Sha256
from api.lookups.evidence import collection_rates
from api.lookups.evidence_json import CollectionRate
from api.paging import cursor_of, number_of
from index.calibration.calibration import Calibration, Stratum
from index.calibration.classifier import ClassifierCalibration
from index.calibration.likelihood import Likelihood
from index.truth.calibrations import (
    StoredCalibration,
    find_calibration_of_job,
    get_calibration,
    list_calibrations,
)
from index.truth.database import Database

# What a table shows; a lookup asks for any rate.
SHOWN_RATES = (0.1, 0.01, 0.005)


class ThresholdAtRate(Answer):
    """The similarity from which so many known-real images have a known fake."""

    false_match_rate: float = Field(description="The rate asked for.")
    cosine_similarity: float = Field(
        description="The smallest similarity whose estimated rate is at most that."
    )
    low: float = Field(description="Lower end of the rate's 95 % interval there.")
    high: float = Field(
        description="Upper end; over five times the rate the threshold is not used."
    )
    collections: list[CollectionRate] = Field(
        description="What each reference collection came to there, where there are two or more of "
        "at least 20 images."
    )


class RatiosAnswer(Answer):
    """How good the likelihood ratios are, on data that they were not fitted on."""

    same_source_images: int = Field(
        description="Known fakes whose generator has other pictures in the corpora."
    )
    different_source_images: int = Field(description="Known-real images.")
    cllr: float = Field(description="Under 1: better than saying nothing.")
    cllr_min: float = Field(
        description="What would be left with the best calibration: the rest is miscalibration."
    )
    bounds: tuple[float, float] = Field(description="ELUB, as log10.")


class ClassifierFigures(Answer):
    """How the classifier's probability was calibrated."""

    method: str = Field(
        examples=["temperature"], description="temperature (with a bias), or isotonic."
    )
    images: int = Field(description="Images of both kinds.")
    ece: float = Field(description="Expected calibration error.")
    brier: float = Field(description="Brier score.")


class AttributionFigures(Answer):
    """How good the attribution is, measured with the images' own generators left in and left
    out.
    """

    coverage: float = Field(
        description="Share of sets that hold the right generator, cross-validated; aimed at 0.9."
    )
    mean_set_size: float = Field(description="Generators a set, where it is not unknown.")
    open_set_auroc: float | None = Field(
        description="How well generators that are not there are told from those that are."
    )


class StratumAnswer(Answer):
    """What was measured for one kind of delivery."""

    condition: str = Field(
        examples=["jpeg75"], description="How the images look to have been delivered."
    )
    images: int = Field(description="Known-real images.")
    sources: int = Field(description="Photographs that they came from.")
    fakes: int = Field(description="Known fakes.")
    thresholds: list[ThresholdAtRate] = Field(description="At rates of 10 %, 1 % and 0.5 %.")
    growth: float = Field(
        description="Exponent with which the rate grows with the corpus: 1 where each entry is a "
        "new chance, less "
        "where entries resemble those that are there."
    )
    one_sided: RatiosAnswer | None = Field(
        description="Ratios by the nearest known fake; null for too few images."
    )
    two_sided: RatiosAnswer | None = Field(
        description="Ratios by the nearest known fake and known-real image."
    )
    classifier: ClassifierFigures | None = Field(description="Null for too few images.")
    attribution: AttributionFigures | None = Field(
        description="Null for too few images or generators."
    )
    familiar_from: float | None = Field(
        description="Under this similarity to everything a picture is unfamiliar."
    )

    @classmethod
    def of(cls, condition: str, stratum: Stratum) -> StratumAnswer:
        """From what `index` measured."""
        attribution = stratum.attribution
        return cls(
            condition=condition,
            images=stratum.references,
            sources=stratum.sources,
            fakes=stratum.fakes,
            thresholds=[_threshold(stratum, rate) for rate in SHOWN_RATES],
            growth=stratum.false_matches.growth.beta,
            one_sided=_ratios(stratum.likelihood),
            two_sided=_ratios(stratum.two_sided),
            classifier=_classifier(stratum.classifier),
            attribution=None
            if attribution is None
            else AttributionFigures(
                coverage=attribution.coverage,
                mean_set_size=attribution.mean_set_size,
                open_set_auroc=attribution.open_set_auroc,
            ),
            familiar_from=stratum.familiar_from,
        )


class CalibrationAnswer(Answer):
    """A calibration: measured once, never changed."""

    id: int = Field(description="Never reused; a later one has a larger one.")
    created_at: datetime = Field(description="UTC.")
    embedding_space: Sha256 = Field(description="Fingerprint of weights and preprocessing.")
    generation: int = Field(description="Last change that it was measured on.")
    against: list[CorpusName] = Field(description="Corpora of known fakes.")
    reference: list[CorpusName] = Field(
        description="Corpora of known-real images: the reference population."
    )
    corpus_size: int = Field(description="Entries of known fakes.")
    generators: dict[str, int] = Field(description="Images of each generator among them.")
    seed: int = Field(description="Of the choice of images and of the bootstrap.")
    request: dict[str, Any] = Field(description="What was asked for.")
    strata: list[StratumAnswer] = Field(description="By kind of delivery; `as_is` is always there.")

    @classmethod
    def of(cls, stored: StoredCalibration) -> CalibrationAnswer:
        """From the row that `index` reads."""
        calibration = Calibration.from_json(stored.document)
        return cls(
            id=stored.id,
            created_at=stored.created_at,
            embedding_space=stored.space_fingerprint,
            generation=stored.generation,
            against=list(stored.scope.against),
            reference=list(stored.scope.reference),
            corpus_size=calibration.corpus_size,
            generators=dict(calibration.generators),
            seed=calibration.seed,
            request=stored.scope.to_json(),
            strata=[StratumAnswer.of(*each) for each in calibration.strata.items()],
        )


class CalibrationPage(Answer):
    """Calibrations, the newest first."""

    calibrations: list[CalibrationAnswer] = Field(description="At most `limit` of them.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last one."
    )


def one_calibration(database: Database, calibration_id: int) -> CalibrationAnswer:
    """Raises `UnknownCalibration`, `TruthDamaged`."""
    with database.read() as conn:
        return CalibrationAnswer.of(get_calibration(conn, calibration_id))


def calibrations_page(database: Database, cursor: str | None, limit: int) -> CalibrationPage:
    """The newest first. Raises `InvalidRequest` for a foreign cursor, `TruthDamaged`."""
    with database.read() as conn:
        found = list_calibrations(conn, number_of(cursor), limit + 1)
    page = [CalibrationAnswer.of(each) for each in found[:limit]]
    return CalibrationPage(
        calibrations=page, next_cursor=cursor_of(str(page[-1].id)) if len(found) > limit else None
    )


def calibration_of_job(database: Database, job_id: int) -> CalibrationAnswer | None:
    """The calibration that a job measured, None if it has measured none. Raises `TruthDamaged`."""
    with database.read() as conn:
        stored = find_calibration_of_job(conn, job_id)
    return None if stored is None else CalibrationAnswer.of(stored)


def _threshold(stratum: Stratum, rate: float) -> ThresholdAtRate:
    matches = stratum.false_matches
    at = matches.similarity_at(rate)
    there = matches.rate_at(at)
    return ThresholdAtRate(
        false_match_rate=rate,
        cosine_similarity=at,
        low=there.low,
        high=there.high,
        collections=collection_rates(stratum, at),
    )


def _ratios(model: Likelihood | None) -> RatiosAnswer | None:
    if model is None:
        return None
    return RatiosAnswer(
        same_source_images=model.n_same,
        different_source_images=model.n_different,
        cllr=model.cllr,
        cllr_min=model.cllr_min,
        bounds=model.log10_bounds,
    )


def _classifier(model: ClassifierCalibration | None) -> ClassifierFigures | None:
    if model is None:
        return None
    return ClassifierFigures(method=model.variant, images=model.n, ece=model.ece, brier=model.brier)
