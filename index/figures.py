"""The figures beside a verdict: how often wrong, how often right, how strong, which generator.

Each is read from a calibration for one probe, and None where nothing was measured for it. None of
them is a probability that the probe is fake, but for the classifier's calibrated one. When they are
stated is decided in `index.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass

from index.cache.searching.questions import Neighbour
from index.calibration.attribution import Attributed
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS, Stratum
from index.calibration.classifier import ClassifierCalibration
from index.calibration.false_matches import Rate
from index.calibration.for_probe import CollectionCount, ProbeCalibration, count_by_collection
from index.calibration.hits import GeneratorHits
from index.calibration.likelihood import Likelihood, Ratio
from index.calibration.logit_rates import LogitShares
from index.leads import is_same_picture
from index.neighbourhood import Neighbourhood
from index.policy import LogitCalibration
from index.verdict import ClassifierOutcome, ClassifierVerdict


@dataclass(frozen=True, slots=True)
class FalseMatchRate:
    """How often a known-real image has a known fake at least as near as the nearest one here."""

    rate: Rate
    images: int
    sources: int
    collections: tuple[CollectionCount, ...]


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often a known fake has another one at least as near as the probe's nearest one: what the
    false-match rate beside it is worth.
    """

    rate: Rate
    images: int
    sources: int
    across_collections: bool
    generators: tuple[GeneratorHits, ...]


@dataclass(frozen=True, slots=True)
class LogitShare:
    """The share of the images of one kind that come out on the probe's side of a limit."""

    rate: Rate
    images: LogitShares


@dataclass(frozen=True, slots=True)
class ClassifierFigures:
    """What a calibration says beside the classifier's verdict.

    `number` and `condition` name the calibration and the kind of delivery. `model` gave the
    `probability`, if there is one. `fell_back_from` is the delivery of the probe if the limits are
    those of unchanged images. `of_fakes` and `of_reals` are the shares of known fakes and of
    known-real images that get the same verdict; None if it is inconclusive, or was not measured.
    """

    number: int
    condition: str
    model: ClassifierCalibration | None
    probability: float | None
    of_fakes: LogitShare | None
    of_reals: LogitShare | None
    fell_back_from: str | None = None


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """The likelihood ratio of a probe, and the model that it was read from.

    It is stated only if it `is_supported`: elsewhere it would cost as much as it is worth.
    """

    model: Likelihood
    ratio: Ratio

    @property
    def is_supported(self) -> bool:
        """Whether the data of the calibration support a ratio."""
        return self.model.supported

    @property
    def is_two_sided(self) -> bool:
        """Whether the nearest known-real image is weighed too."""
        return len(self.model.direction) > 1


def find_false_match_rate(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> FalseMatchRate | None:
    nearest = neighbourhood.nearest_fake
    if nearest is None or calibration is None:
        return None
    stratum, similarity = calibration.stratum, nearest.nearness
    return FalseMatchRate(
        stratum.false_matches.rate_at(similarity, calibration.corpus_size),
        stratum.references,
        stratum.sources,
        count_by_collection(stratum, similarity),
    )


def find_likelihood_ratio(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> LikelihoodRatio | None:
    """Return the ratio that weighs both sides; that of the nearest known fake alone where no
    known-real image was found, or where the data support only that one.
    """
    fake, real = neighbourhood.nearest_fake, neighbourhood.nearest_other_real
    if fake is None or calibration is None:
        return None
    return read_likelihood_ratio(
        calibration.stratum,
        fake.nearness,
        None if real is None else real.nearness,
    )


def read_likelihood_ratio(
    stratum: Stratum, fake: float, real: float | None
) -> LikelihoodRatio | None:
    """Return the same for the similarities to the nearest known fake and known-real image."""
    two_sided = stratum.two_sided if real is not None else None
    models = [each for each in (two_sided, stratum.likelihood) if each is not None]
    supported = [each for each in models if each.supported]
    model = next(iter(supported or models), None)
    if model is None:
        return None
    similarities = [fake]
    if model is two_sided and real is not None:
        similarities.append(real)
    return LikelihoodRatio(model, model.ratio_at(similarities))


def find_hit_rate(
    neighbourhood: Neighbourhood, calibration: ProbeCalibration | None
) -> HitRate | None:
    nearest = neighbourhood.nearest_fake
    hits = None if calibration is None else calibration.stratum.hits
    if nearest is None or hits is None:
        return None
    similarity = nearest.nearness
    return HitRate(
        hits.rate_at(similarity),
        hits.images,
        hits.sources,
        hits.across_collections,
        hits.by_generator(similarity),
    )


def find_probability(logit: float | None, logits: LogitCalibration | None) -> float | None:
    model = None if logits is None else logits.probability
    return None if model is None or logit is None else model.probability(logit)


def find_classifier_figures(
    verdict: ClassifierVerdict | None, logits: LogitCalibration | None, probability: float | None
) -> ClassifierFigures | None:
    """Return the figures of a verdict: how many images of each kind lie beyond the limit that it
    rests on.
    """
    if verdict is None or logits is None:
        return None
    limits, rates = verdict.policy, logits.rates
    of_fakes = of_reals = None
    if rates is not None and limits is not None:
        if verdict.verdict is ClassifierOutcome.NO_TRACES and limits.no_traces_logit is not None:
            of_fakes = rates.fakes_at_or_below(limits.no_traces_logit)
            of_reals = rates.reals_at_or_below(limits.no_traces_logit)
        if verdict.verdict is ClassifierOutcome.SYNTHETIC and limits.synthetic_logit is not None:
            of_fakes = rates.fakes_at_or_above(limits.synthetic_logit)
            of_reals = rates.reals_at_or_above(limits.synthetic_logit)
    return ClassifierFigures(
        number=logits.number,
        condition=logits.condition,
        model=logits.probability,
        probability=probability,
        of_fakes=None if of_fakes is None or rates is None else LogitShare(of_fakes, rates.fakes),
        of_reals=None if of_reals is None or rates is None else LogitShare(of_reals, rates.reals),
        fell_back_from=logits.fell_back_from,
    )


def vote(neighbourhood: Neighbourhood, calibration: ProbeCalibration | None) -> Attributed | None:
    """Return the vote of the most similar known fakes; None without known fakes, or a calibration
    of such votes.
    """
    model = None if calibration is None else calibration.stratum.attribution
    if model is None or neighbourhood.nearest_fake is None:
        return None
    nearest = sorted(neighbourhood.fakes, key=lambda each: -each.nearness)
    return model.attribute(
        [(each.nearness, each.entry.generator) for each in nearest[:ATTRIBUTION_NEIGHBOURS]]
    )


def quote(neighbourhood: Neighbourhood) -> Attributed | None:
    """Return the generators that the same picture declares, nearest first; None if it declares
    none.
    """
    names = [each.entry.generator for each in find_declaring(neighbourhood)]
    return Attributed.quote([name for name in names if name is not None]) if names else None


def find_declaring(neighbourhood: Neighbourhood) -> tuple[Neighbour, ...]:
    """Return the identical known fakes that declare a generator, otherwise the near duplicates and
    verified copies that do.
    """
    named = [each for each in neighbourhood.fakes if each.entry.generator is not None]
    same_file = tuple(each for each in named if each.identical)
    return same_file or tuple(each for each in named if is_same_picture(each))
