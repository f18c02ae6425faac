"""A calibration: error rates measured in one embedding space against one set of corpora, separately
for each way in which an image may be delivered.

Owns the stored document (`index.truth.calibrations` owns the row), how it is measured from
populations, and which stratum applies to a probe. The statistics are in the modules beside this
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.across_collections import Groups, group_images
from index.calibration.attribution import Attribution
from index.calibration.attribution_fit import fit_attribution
from index.calibration.by_collection import CollectionMatches, by_collection
from index.calibration.checking import StratumCheck, check_rates
from index.calibration.classifier import ClassifierCalibration, fit_classifier
from index.calibration.copies import CopyRates, shipped_copy_rates
from index.calibration.false_matches import FalseMatches, fit_false_matches, fit_growth
from index.calibration.groups import number_groups
from index.calibration.hits import Discrimination, HitRates, fit_hits
from index.calibration.likelihood import Likelihood
from index.calibration.logit_rates import LogitRates, fit_logit_shares
from index.calibration.others import (
    NOTHING,
    Kinds,
    Nearest,
    SamePictures,
    find_nearest,
    join_nearest,
)
from index.calibration.population import CollectionName, Population, join_populations
from index.calibration.ratios import MIN_SOURCES, Neighbours, fit_ratios, has_kin

FORMAT = 2
# What is read: format 1 has neither hit rates nor checks.
FORMATS = (1, 2)
AS_IS = "as_is"
# All deliveries pooled: for a probe whose delivery was not measured, or whose stratum does not
# hold.
ANY_DELIVERY = "any_delivery"
ATTRIBUTION_NEIGHBOURS = 10
# The interval of the rate at a threshold ends at this many times the rate or less. With a hundred
# sources, of which one is expected over a rate of 1 %, the exact binomial interval ends at 5.4 %.
SUPPORTED_FACTOR = 5.0
# A probe is unfamiliar if it is further from everything than all but this share of the images that
# the calibration was measured on.
UNFAMILIAR_SHARE = 0.005
MIN_FAMILIAR = 200  # images, so that one in two hundred is at least one
# Parts of a stratum that may be None.
MODELS = ("likelihood", "two_sided", "classifier", "attribution", "logit_rates", "hits", "check")
# The similarities at which exceedances are counted, to learn how the rate grows: those reached by
# these shares of the reference images.
GROWTH_SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The images that a stratum is measured on: known reals and known fakes after one kind of
    delivery.
    """

    reals: Population
    fakes: Population


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The images that they are compared with: all images of the corpora.

    `corpus_size` counts the entries of known fakes.
    """

    fakes: Population
    reals: Population
    corpus_size: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """The models for probes that were delivered in one way.

    They were measured on `references` known-real images of `sources` photographs and on `fakes`
    known fakes. A model is None if there were too few images. A probe whose largest similarity is
    below `familiar_from` is unlike all images of the calibration. `collections` is empty if the
    known-real images are from one collection, and in calibrations made before it was stored.
    `hits` are None if no known fake was measured, `check` if the known-real images are of too few
    collections; both are None in calibrations of format 1.
    """

    references: int
    sources: int
    fakes: int
    false_matches: FalseMatches
    likelihood: Likelihood | None
    two_sided: Likelihood | None
    classifier: ClassifierCalibration | None
    attribution: Attribution | None
    familiar_from: float | None
    collections: tuple[CollectionMatches, ...] = ()
    logit_rates: LogitRates | None = None
    hits: HitRates | None = None
    check: StratumCheck | None = None

    @property
    def holds(self) -> bool:
        """Whether its stated rates held for collections that were left out, as far as is known."""
        return self.check is None or self.check.holds

    def discriminate(
        self, false_match_rate: float, corpus_size: int | None = None
    ) -> Discrimination | None:
        """Return whether similarity tells known fakes from known-real images, at the threshold of a
        false-match rate in a corpus of this size. None if hit rates were not measured.
        """
        similarity = self.threshold_at(false_match_rate, corpus_size)
        if similarity is None:
            similarity = self.false_matches.similarity_at(false_match_rate, corpus_size)
        return self.discriminate_at(similarity)

    def discriminate_at(self, similarity: float) -> Discrimination | None:
        """Return the same at a similarity. Both rates are those of the corpus that was measured, so
        that like is compared with like.
        """
        if self.hits is None:
            return None
        return Discrimination(
            similarity,
            self.hits.rate_at(similarity),
            self.false_matches.rate_at(similarity),
            tells=self.hits.mean_interval_at(similarity)[0]
            > self.false_matches.mean_interval_at(similarity)[1],
        )

    def threshold_at(self, false_match_rate: float, corpus_size: int | None = None) -> float | None:
        """Return the similarity from which images are `similar`: the smallest one with this
        false-match rate or less, whose interval ends at `SUPPORTED_FACTOR` times the rate or less.

        None if there are too few images for that, and if the stratum does not hold.
        """
        if not self.holds:
            return None
        most = SUPPORTED_FACTOR * false_match_rate
        at = self.false_matches.similarity_at(false_match_rate, corpus_size, most_high=most)
        there = self.false_matches.rate_at(at, corpus_size)
        is_supported = there.estimate <= false_match_rate and there.high <= most
        return at if is_supported else None

    def to_json(self) -> dict[str, Any]:
        return {
            "references": self.references,
            "sources": self.sources,
            "fakes": self.fakes,
            "false_matches": self.false_matches.to_json(),
            "familiar_from": self.familiar_from,
            "collections": [each.to_json() for each in self.collections],
        } | {
            name: None if (model := getattr(self, name)) is None else model.to_json()
            for name in MODELS
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        def read(name: str, model: Any) -> Any:  # noqa: ANN401 -- one of the models
            return None if stored.get(name) is None else model.from_json(stored[name])

        return cls(
            references=stored["references"],
            sources=stored["sources"],
            fakes=stored["fakes"],
            false_matches=FalseMatches.from_json(stored["false_matches"]),
            likelihood=read("likelihood", Likelihood),
            two_sided=read("two_sided", Likelihood),
            classifier=read("classifier", ClassifierCalibration),
            attribution=read("attribution", Attribution),
            familiar_from=stored["familiar_from"],
            collections=tuple(map(CollectionMatches.from_json, stored.get("collections", ()))),
            logit_rates=read("logit_rates", LogitRates),
            hits=read("hits", HitRates),
            check=read("check", StratumCheck),
        )


class FallBack(StrEnum):
    """The reason why the stratum of a probe is not that of its delivery."""

    NOT_MEASURED = "not_measured"
    DOES_NOT_HOLD = "does_not_hold"  # left-out collections were outside its intervals


@dataclass(frozen=True, slots=True)
class ChosenStratum:
    """The stratum for a probe. `fell_back_from` is its delivery if that has another stratum."""

    name: str
    stratum: Stratum
    fell_back_from: str | None = None
    because: FallBack | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """All strata by condition: `AS_IS` first, `ANY_DELIVERY` last if there are several.
    `corpus_size` counts entries of known fakes.

    `own_photographs` is the number of photographs of this installation among the known-real
    images; the others came with the model. None in calibrations of format 1: all of them.
    `copies` are the false-match rates of the copy stages; None if they were not measured.
    """

    corpus_size: int
    generators: Mapping[str, int]
    strata: Mapping[str, Stratum]
    seed: int
    own_photographs: int | None = None
    format: int = FORMAT  # of the stored document that it was read from
    copies: CopyRates | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether its known-real images came with the model, and too few are this installation's
        for verdicts to rest on it.
        """
        own = self.own_photographs
        return own is not None and own < MIN_SOURCES and own < self.strata[AS_IS].sources

    @property
    def copy_rates(self) -> CopyRates:
        """The false-match rates of the copy stages: those that came with the package where this
        calibration did not measure them, or on too few photographs.
        """
        return (self.copies or CopyRates()).or_else(shipped_copy_rates())

    def stratum_for(self, condition: str) -> ChosenStratum:
        """Return the stratum of a condition; if it was not measured or does not hold, the widest
        one that holds.

        That is `ANY_DELIVERY`, or in a calibration without it, images as they are. If none holds,
        the widest one is returned, which says so by its `holds`.
        """
        widest = ANY_DELIVERY if ANY_DELIVERY in self.strata else AS_IS
        own = self.strata.get(condition)
        if own is not None and (own.holds or condition == widest):
            return ChosenStratum(condition, own)
        because = FallBack.NOT_MEASURED if own is None else FallBack.DOES_NOT_HOLD
        if not condition:
            return ChosenStratum(widest, self.strata[widest])
        return ChosenStratum(widest, self.strata[widest], condition, because)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "corpus_size": self.corpus_size,
            "generators": dict(self.generators),
            "seed": self.seed,
            "own_photographs": self.own_photographs,
            "strata": {name: stratum.to_json() for name, stratum in self.strata.items()},
            "copies": None if self.copies is None else self.copies.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Raise ValueError for a document that a newer release wrote."""
        if stored["format"] not in FORMATS:
            raise ValueError(
                f"the calibration has format {stored['format']}; a newer release of Lineup made it"
            )
        # Stored documents have sorted keys.
        names = sorted(
            stored["strata"], key=lambda each: (each != AS_IS, each == ANY_DELIVERY, each)
        )
        strata = {name: Stratum.from_json(stored["strata"][name]) for name in names}
        own, copies = stored.get("own_photographs"), stored.get("copies")
        return cls(
            stored["corpus_size"],
            stored["generators"],
            strata,
            stored["seed"],
            own,
            stored["format"],
            None if copies is None else CopyRates.from_json(copies),
        )


def calibrate(compared: Compared, measured: Mapping[str, Measured], seed: int) -> Calibration:
    """Measure every condition, and all of them together if there are several. `measured` contains
    AS_IS, with at least one known-real image.

    A photograph that came with the model and is in the corpora too is measured once.
    """
    among = _Among(SamePictures(compared.fakes), SamePictures(compared.reals))
    distinct = {
        condition: replace(some, reals=_leave_out_known(some.reals, among.reals))
        for condition, some in measured.items()
    }
    found = {
        condition: _compare(compared, some, among)
        for condition, some in distinct.items()
        if len(some.reals)
    }
    if len(found) > 1:
        found[ANY_DELIVERY] = _pool(found)
    strata = {condition: _stratum(compared, each, among, seed) for condition, each in found.items()}
    generators = Counter(each for each in compared.fakes.generators if each is not None)
    reals = measured[AS_IS].reals
    own = len(np.unique(reals.sources[~reals.is_shipped]))
    return Calibration(compared.corpus_size, dict(sorted(generators.items())), strata, seed, own)


def _leave_out_known(reals: Population, known: SamePictures) -> Population:
    """Return the images without the shipped ones whose picture is among the known ones."""
    shipped = np.flatnonzero(reals.is_shipped)
    if not len(shipped):
        return reals
    same = known.near_duplicates(reals.taking(shipped), slice(0, len(shipped))).rows
    return reals.taking(np.delete(np.arange(len(reals)), shipped[np.unique(same)]))


class _Among(NamedTuple):
    """Which of the compared images show the same picture as others."""

    fakes: SamePictures
    reals: SamePictures


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The images of a stratum, and the nearest of the compared images to each.

    `deliveries` of the known-real images are None if the stratum has only one.
    """

    some: Measured
    real_to_fakes: Nearest
    fake_to_fakes: Nearest
    real_to_reals: Nearest
    fake_to_reals: Nearest
    deliveries: tuple[str, ...] | None = None


def _compare(compared: Compared, some: Measured, among: _Among) -> _Found:
    kinds = number_collections(some.fakes, compared.fakes)
    return _Found(
        some,
        find_nearest(some.reals, compared.fakes, among.fakes),
        find_nearest(
            some.fakes, compared.fakes, among.fakes, k=ATTRIBUTION_NEIGHBOURS, kinds=kinds
        ),
        find_nearest(
            some.reals,
            compared.reals,
            among.reals,
            kinds=number_collections(some.reals, compared.reals),
        ),
        find_nearest(some.fakes, compared.reals, among.reals),
    )


def _pool(found: Mapping[str, _Found]) -> _Found:
    """Return the images of all deliveries as one stratum.

    Of the images as they are, those that were delivered too: there are many more of the others.
    """
    delivered = [each.some for condition, each in found.items() if condition != AS_IS]
    as_is = found[AS_IS]
    parts = {
        **found,
        AS_IS: _take(
            as_is,
            _rows_of(as_is.some.reals, [each.reals for each in delivered]),
            _rows_of(as_is.some.fakes, [each.fakes for each in delivered]),
        ),
    }
    every = list(parts.values())
    return _Found(
        Measured(
            join_populations(*(each.some.reals for each in every)),
            join_populations(*(each.some.fakes for each in every)),
        ),
        join_nearest([each.real_to_fakes for each in every]),
        join_nearest([each.fake_to_fakes for each in every]),
        join_nearest([each.real_to_reals for each in every]),
        join_nearest([each.fake_to_reals for each in every]),
        tuple(condition for condition, each in parts.items() for _ in range(len(each.some.reals))),
    )


def _rows_of(images: Population, others: Sequence[Population]) -> NDArray[np.int64]:
    """Return the rows of the images that one of the others has too."""
    wanted = np.concatenate([each.image_ids for each in others])
    return np.flatnonzero(np.isin(images.image_ids, wanted))


def _take(found: _Found, reals: NDArray[np.int64], fakes: NDArray[np.int64]) -> _Found:
    """Return the same for some rows of the images."""
    return _Found(
        Measured(found.some.reals.taking(reals), found.some.fakes.taking(fakes)),
        found.real_to_fakes.taking(reals),
        found.fake_to_fakes.taking(fakes),
        found.real_to_reals.taking(reals),
        found.fake_to_reals.taking(fakes),
    )


def _stratum(compared: Compared, found: _Found, among: _Among, seed: int) -> Stratum:
    some = found.some
    real, fake = (
        (found.real_to_fakes, found.real_to_reals),
        (found.fake_to_fakes, found.fake_to_reals),
    )
    kin = np.flatnonzero(
        has_kin(some.fakes, compared.fakes) & (found.fake_to_fakes.maxima > NOTHING)
    )
    ratios = fit_ratios(
        some.reals,
        some.fakes.taking(kin),
        Neighbours(*real),
        Neighbours(*(each.taking(kin) for each in fake)),
        seed=seed,
    )
    groups = group_images(some.reals.collections, some.reals.sources, found.deliveries)
    return Stratum(
        references=len(some.reals),
        sources=len(np.unique(some.reals.sources)),
        fakes=len(some.fakes),
        false_matches=fit_rates(
            some.reals,
            found.real_to_fakes,
            some.reals.sources,
            compared.fakes,
            among.fakes,
            corpus_size=compared.corpus_size,
            seed=seed,
            groups=groups,
        ),
        likelihood=ratios.one_sided,
        two_sided=ratios.two_sided,
        classifier=_classifier(some, seed),
        attribution=_attribution(some.fakes, compared.fakes, found.fake_to_fakes, kin, seed),
        familiar_from=_familiar_from(real, fake),
        collections=by_collection(_maxima(found.real_to_fakes), some.reals.collections),
        logit_rates=_logit_rates(some),
        hits=fit_hits(some.fakes, found.fake_to_fakes, corpus_size=compared.corpus_size, seed=seed),
        check=check_rates(_maxima(found.real_to_fakes), groups),
    )


def fit_rates(
    reals: Population,
    found: Nearest,
    sources: NDArray[np.int64],
    fakes: Population,
    among_fakes: SamePictures,
    *,
    corpus_size: int,
    seed: int,
    groups: Groups | None = None,
) -> FalseMatches:
    """Fit the false-match rate of known-real images, and its growth with the corpus.

    `found` are their nearest known fakes; intervals resample `sources` (n,), and predict the rate
    of a further one of `groups`. Exceedances are counted in a second pass, at similarities chosen
    from the first.
    """
    maxima = _maxima(found)
    thresholds = np.unique(
        np.quantile(maxima, [1.0 - share for share in GROWTH_SHARES], method="higher")
    )
    counts = find_nearest(reals, fakes, among_fakes, thresholds=thresholds).counts
    growth = fit_growth(counts, thresholds, sources, corpus_size=len(fakes), seed=seed)
    return fit_false_matches(
        maxima, sources, corpus_size=corpus_size, growth=growth, seed=seed, groups=groups
    )


def number_collections(images: Population, members: Population) -> Kinds | None:
    """Return the numbers of the images' collections, None if they are not known."""
    if not images.collections or not members.collections:
        return None
    numbers: dict[CollectionName, int] = {}
    return Kinds(
        *(
            np.array([numbers.setdefault(each, len(numbers)) for each in of.collections], np.int64)
            for of in (images, members)
        )
    )


def _maxima(found: Nearest) -> NDArray[np.float64]:
    """Return the largest similarities (m,) in [-1, 1]; -1 if there is nothing to compare with."""
    return found.maxima.clip(-1.0, 1.0)


def _classifier(some: Measured, seed: int) -> ClassifierCalibration | None:
    if min(len(np.unique(each.sources)) for each in (some.reals, some.fakes)) < MIN_SOURCES:
        return None
    logits = np.concatenate([some.reals.logits, some.fakes.logits])
    synthetic = np.repeat([False, True], [len(some.reals), len(some.fakes)])
    return fit_classifier(
        logits, synthetic, np.concatenate([some.reals.sources, some.fakes.sources]), seed=seed
    )


def _logit_rates(some: Measured) -> LogitRates | None:
    if not len(some.fakes) or not len(some.reals):
        return None
    fakes, reals = (
        fit_logit_shares(each.logits, each.sources, number_groups(each))
        for each in (some.fakes, some.reals)
    )
    return LogitRates(fakes, reals)


def _attribution(
    fakes: Population, members: Population, found: Nearest, kin: NDArray[np.int64], seed: int
) -> Attribution | None:
    """Fit attribution on fakes that have a full list of neighbours and another picture of their
    generator among the members.
    """
    rows = kin[(found.positions[kin] >= 0).all(axis=1)]
    truth = [fakes.generators[row] for row in rows]
    if len(np.unique(fakes.sources[rows])) < MIN_SOURCES or len(set(truth)) < 2:
        return None
    generators = [[members.generators[place] for place in found.positions[row]] for row in rows]
    declared = [generator for generator in truth if generator is not None]
    return fit_attribution(
        found.similarities[rows],
        generators,
        declared,
        fakes.sources[rows],
        seed=seed,
        entries=Counter(each for each in members.generators if each is not None),
    )


def _familiar_from(real: tuple[Nearest, Nearest], fake: tuple[Nearest, Nearest]) -> float | None:
    closest = np.concatenate([np.maximum(*(each.maxima for each in side)) for side in (real, fake)])
    closest = closest[closest > NOTHING]
    return float(np.quantile(closest, UNFAMILIAR_SHARE)) if len(closest) >= MIN_FAMILIAR else None
