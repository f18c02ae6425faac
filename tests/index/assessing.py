"""Neighbours and calibrations whose figures can be worked out by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from index.cache.searching.questions import Neighbour, SearchResult
from index.calibration.attribution import Attributed, Attribution
from index.calibration.by_collection import CollectionMatches
from index.calibration.calibration import AS_IS, Calibration, Stratum
from index.calibration.classifier import (
    CalibrationFigures,
    CalibrationVariant,
    ClassifierCalibration,
)
from index.calibration.false_matches import FalseMatches, Rate
from index.calibration.for_probe import ProbeCalibration
from index.calibration.growth import Growth
from index.calibration.hits import HitRates, NearestOfGenerator
from index.calibration.likelihood import Likelihood, LikelihoodVariant, Ratio
from index.calibration.logit_rates import LogitRates, fit_logit_shares
from index.calibration.population import CollectionName
from index.calibration.standing import Applied, Applies
from index.copies import CopyEvidence, Correspondence
from index.truth.corpora import CorpusKind, Keep
from index.truth.entries import Entry
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GENERATION = 7


def entry(
    entry_id: int,
    kind: CorpusKind = FAKE,
    generator: str | None = None,
    perceptual_hash: PerceptualHash | None = None,
) -> Entry:
    sha256 = hashlib.sha256(str(entry_id).encode()).hexdigest()
    facts = ImageFacts(sha256, 1000, 64, 48, "png", perceptual_hash)
    corpus = "fakes" if kind is FAKE else "photographs"
    return Entry(
        entry_id, corpus, kind, Keep.THUMBNAIL, facts, generator, *(None,) * 4, {}, NOON, None
    )


def neighbour(
    entry_id: int,
    similarity: float,
    kind: CorpusKind = FAKE,
    *,
    generator: str | None = None,
    identical: bool = False,
    near_duplicate: bool | None = None,
    copy: CopyEvidence | None = None,
) -> Neighbour:
    known = entry(entry_id, kind, generator)
    return Neighbour(known, similarity, identical, near_duplicate, copy=copy)


def correspondence(inliers: int = 40, **parts: Any) -> Correspondence:
    """The entry's picture as it is, in the whole probe."""
    usual: dict[str, Any] = {
        "matches": 2 * inliers,
        "homography": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        "scale": 1.0,
        "rotation_degrees": 0.0,
        "mirrored": False,
        "probe_covered": 1.0,
        "entry_covered": 1.0,
    }
    return Correspondence(inliers, **usual | parts)


def verified(inliers: int = 40, **parts: Any) -> CopyEvidence:
    """What geometry says of a copy."""
    return CopyEvidence(verified=True, correspondence=correspondence(inliers), **parts)


def found(*neighbours: Neighbour, searched: int = 100) -> SearchResult:
    return SearchResult(neighbours, GENERATION, "0" * 64, exact=True, searched=searched)


def false_matches(
    *, sources: int = 1000, corpus_size: int = 100, high: float = 0.01
) -> FalseMatches:
    """The rate of a similarity s is (1 - s) / 2, and grows with the corpus; at 1 its upper bound is
    `high`.
    """
    return FalseMatches(
        n=sources,
        n_sources=sources,
        corpus_size=corpus_size,
        seed=0,
        growth=Growth(1.0, 1.0, 1.0),
        tail=None,
        largest=1.0,
        similarities=(-1.0, 1.0),
        estimates=(1.0, 0.0),
        lows=(1.0, 0.0),
        highs=(1.0, high),
    )


def hits(share: float = 0.5, low: float = 0.4, **counted: int) -> HitRates:
    """From every known fake at -1, the share falls to `share` at 1. `counted` has the number of
    images of each generator, which are all at 0.9.
    """
    nearness = replace(
        false_matches(),
        n=30,
        n_sources=30,
        estimates=(1.0, share),
        lows=(1.0, low),
        highs=(1.0, 1.0),
    )
    generators = tuple(
        NearestOfGenerator(name, images, (0.9,) * images) for name, images in counted.items()
    )
    return HitRates(nearness, None, generators)


def logit_rates() -> LogitRates:
    """200 known fakes with logits from -1.99 to 5.97, and 200 known-real images with the opposite
    ones, each from a photograph of its own.
    """
    logits = np.arange(200) / 25 - 1.99
    numbers, one_group = np.arange(200), np.zeros(200, np.int64)
    return LogitRates(
        fit_logit_shares(logits, numbers, one_group), fit_logit_shares(-logits, numbers, one_group)
    )


def likelihood(*direction: float, slope: float = 2.0) -> Likelihood:
    """The log10 ratio is `slope` times the weighed similarities, give or take a half."""
    ends = (-2.0, 2.0)
    return Likelihood(
        LikelihoodVariant.LOGISTIC,
        direction or (1.0,),
        ends,
        tuple(slope * end for end in ends),
        tuple(slope * end - 0.5 for end in ends),
        tuple(slope * end + 0.5 for end in ends),
        (2 * ends[0] * slope, 2 * ends[1] * slope),
        cllr=0.2,
        cllr_min=0.1,
        cllr_of_variants={},
        n_same=20,
        n_different=30,
        n_sources_same=20,
        n_sources_different=30,
        seed=0,
    )


def attribution(*generators: str) -> Attribution:
    """Whoever has most of the votes."""
    figures = {"n": 30, "n_sources": 30, "accuracy": 0.9, "coverage": 0.9, "mean_set_size": 1.0}
    unknown = {"open_set_auroc": None, "unknown_of_known": 0.05, "unknown_of_left_out": None}
    return Attribution(
        k=10,
        log_frequencies=dict.fromkeys(generators, -1.0),
        coefficients=(1.0, 0.0, 0.0, 0.0),
        scale=1.0,
        least=0.3,
        near_enough=0.2,
        seed=0,
        **figures,
        **unknown,
    )


def classifier() -> ClassifierCalibration:
    """Half as steep as the plain sigmoid."""
    return ClassifierCalibration(
        CalibrationVariant.TEMPERATURE,
        scale=0.5,
        bias=0.0,
        logits=(),
        probabilities=(),
        limits=(0.01, 0.99),
        prior=0.5,
        ece=0.04,
        brier=0.08,
        log_loss=0.2,
        log_loss_of_variants={},
        uncalibrated=CalibrationFigures(0.1, 0.1, 0.3),
        n=60,
        n_synthetic=30,
        n_sources=60,
        seed=0,
    )


def stratum(**parts: Any) -> Stratum:
    usual = {
        "references": 1000,
        "sources": 900,
        "fakes": 30,
        "false_matches": false_matches(),
        "likelihood": likelihood(1.0),
        "two_sided": likelihood(1.0, -1.0),
        "classifier": classifier(),
        "attribution": attribution("flux", "sdxl", "dalle"),
        "familiar_from": None,
        "hits": hits(),
    }
    return Stratum(**usual | parts)


def collection(corpus: str, n: int, *closest: float) -> CollectionMatches:
    return CollectionMatches(CollectionName(corpus, None), n, closest)


def applied(
    applies: Applies = Applies.EXACT,
    corpus_size: int = 100,
    strata: Mapping[str, Stratum] | None = None,
) -> Applied:
    measured = Calibration(corpus_size, {}, strata or {AS_IS: stratum()}, seed=0)
    return Applied(4, NOON, GENERATION, ("fakes",), ("photographs",), measured, applies)


def calibration(
    rate: float = 0.01, own_photographs: int | None = None, **parts: Any
) -> ProbeCalibration:
    """The calibration of a probe as it is, in the corpora that were measured."""
    found = applied(strata={AS_IS: stratum(**parts)})
    measured = replace(found.calibration, own_photographs=own_photographs)
    return ProbeCalibration.of(replace(found, calibration=measured), None, 100, rate)


@dataclass(frozen=True)
class CountingRates(FalseMatches):
    """Rates that know how often they were read."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", [])

    def rate_at(self, similarity: float, corpus_size: int | None = None) -> Rate:
        self.reads.append(similarity)
        return super().rate_at(similarity, corpus_size)


class CountingRatio(Likelihood):
    """A ratio that knows how often it was read."""

    def ratio_at(self, similarity: Any) -> Ratio:
        self.reads.append(similarity)
        return super().ratio_at(similarity)


class CountingAttribution(Attribution):
    """An attribution that knows how often it was asked."""

    def attribute(self, neighbours: Any) -> Attributed:
        self.reads.append(neighbours)
        return super().attribute(neighbours)


def counting(kind: type, model: Any) -> Any:
    """The same model as one of the classes above."""
    made = kind(**{each.name: getattr(model, each.name) for each in fields(model)})
    object.__setattr__(made, "reads", [])
    return made
