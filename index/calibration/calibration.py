"""A calibration: what was measured of one embedding space against one set of corpora, condition by
condition.

Owns the document that is stored (`index.truth.calibrations`), how it is measured from populations,
and which part of it speaks for a probe. The statistics themselves are in the modules beside this
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.attribution import Attribution, fit_attribution
from index.calibration.by_collection import CollectionMatches, by_collection
from index.calibration.classifier import ClassifierCalibration, fit_classifier
from index.calibration.false_matches import FalseMatches, fit_false_matches, fit_growth
from index.calibration.likelihood import Likelihood, fit_likelihood, fit_two_sided
from index.calibration.others import NOTHING, Nearest, SamePictures, find_nearest
from index.calibration.population import Population

FORMAT = 1
AS_IS = "as_is"
ATTRIBUTION_NEIGHBOURS = 10
# Fewer source images than this on either side say nothing about a ratio: ELUB needs some to bound
# anything.
MIN_SOURCES = 10
# Of the images that a calibration is measured on this share is further from everything than the
# probe may be.
UNFAMILIAR_SHARE = 0.005
MIN_FAMILIAR = 200  # images, so that one in two hundred is at least one
# Where exceedances are counted to learn how the rate grows: shares of the reference images that
# come so near.
GROWTH_SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a stratum is measured on: known-real and known-fake images as they look after one kind
    of delivery.
    """

    reals: Population
    fakes: Population


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What they are compared with: every image of the corpora;

    `corpus_size` counts the entries of known fakes.
    """

    fakes: Population
    reals: Population
    corpus_size: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """What holds for probes that were delivered in one way.

    `references` known-real images of `sources` photographs, and `fakes` known fakes, were measured.
    Below `familiar_from` a probe is further from everything than these images are from one another.
    `collections` is empty where the known-real images are of one, and in calibrations of before it
    was kept.
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

    def to_json(self) -> dict[str, Any]:
        models = ("likelihood", "two_sided", "classifier", "attribution")
        return {
            "references": self.references,
            "sources": self.sources,
            "fakes": self.fakes,
            "false_matches": self.false_matches.to_json(),
            "familiar_from": self.familiar_from,
            "collections": [each.to_json() for each in self.collections],
        } | {
            name: None if (model := getattr(self, name)) is None else model.to_json()
            for name in models
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        def read(name: str, model: Any) -> Any:  # noqa: ANN401 -- one of the four models
            return None if stored[name] is None else model.from_json(stored[name])

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
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """All strata by condition;

    `AS_IS` is always among them. `corpus_size` counts entries of known fakes.
    """

    corpus_size: int
    generators: Mapping[str, int]
    strata: Mapping[str, Stratum]
    seed: int

    def stratum_for(self, condition: str) -> tuple[str, Stratum]:
        """Return the stratum of a condition, that of images as they are where it was not
        measured.
        """
        name = condition if condition in self.strata else AS_IS
        return name, self.strata[name]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "corpus_size": self.corpus_size,
            "generators": dict(self.generators),
            "seed": self.seed,
            "strata": {name: stratum.to_json() for name, stratum in self.strata.items()},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Raise ValueError on a document that a newer release wrote."""
        if stored["format"] != FORMAT:
            raise ValueError(
                f"a calibration of format {stored['format']} was made by a newer Lineup"
            )
        strata = {name: Stratum.from_json(stratum) for name, stratum in stored["strata"].items()}
        return cls(stored["corpus_size"], stored["generators"], strata, stored["seed"])


def calibrate(compared: Compared, measured: Mapping[str, Measured], seed: int) -> Calibration:
    """Measure every condition; `measured` holds AS_IS with at least one known-real image."""
    among_fakes, among_reals = SamePictures(compared.fakes), SamePictures(compared.reals)
    strata = {
        condition: _stratum(compared, some, among_fakes, among_reals, seed)
        for condition, some in measured.items()
        if len(some.reals)
    }
    told = Counter(generator for generator in compared.fakes.generators if generator is not None)
    return Calibration(compared.corpus_size, dict(sorted(told.items())), strata, seed)


def _stratum(
    compared: Compared,
    some: Measured,
    among_fakes: SamePictures,
    among_reals: SamePictures,
    seed: int,
) -> Stratum:
    real_to_fakes = find_nearest(some.reals, compared.fakes, among_fakes)
    fake_to_fakes = find_nearest(some.fakes, compared.fakes, among_fakes, k=ATTRIBUTION_NEIGHBOURS)
    real_to_reals = find_nearest(some.reals, compared.reals, among_reals)
    fake_to_reals = find_nearest(some.fakes, compared.reals, among_reals)
    kin = has_kin(some.fakes, compared.fakes) & (fake_to_fakes.maxima > NOTHING)
    one_sided = _ratio(real_to_fakes, fake_to_fakes, some, kin)
    return Stratum(
        references=len(some.reals),
        sources=len(np.unique(some.reals.sources)),
        fakes=len(some.fakes),
        false_matches=rates_of(
            some.reals,
            real_to_fakes,
            some.reals.sources,
            compared.fakes,
            among_fakes,
            corpus_size=compared.corpus_size,
            seed=seed,
        ),
        likelihood=None if one_sided is None else fit_likelihood(*one_sided, seed=seed),
        two_sided=_two_sided(
            (real_to_fakes, real_to_reals), (fake_to_fakes, fake_to_reals), some, kin, seed
        ),
        classifier=_classifier(some, seed),
        attribution=_attribution(some.fakes, compared.fakes, fake_to_fakes, kin, seed),
        familiar_from=_familiar_from(
            (real_to_fakes, real_to_reals), (fake_to_fakes, fake_to_reals)
        ),
        collections=by_collection(_maxima(real_to_fakes), some.reals.collections),
    )


def rates_of(
    reals: Population,
    found: Nearest,
    sources: NDArray[np.int64],
    fakes: Population,
    among_fakes: SamePictures,
    *,
    corpus_size: int,
    seed: int,
) -> FalseMatches:
    """Fit the rate at which known-real images come near to known fakes, and how it grows.

    `found` are their nearest known fakes, `sources` (n,) what intervals resample. Exceedances are
    counted in a second pass, at similarities that the first found.
    """
    maxima = _maxima(found)
    thresholds = np.unique(
        np.quantile(maxima, [1.0 - share for share in GROWTH_SHARES], method="higher")
    )
    counts = find_nearest(reals, fakes, among_fakes, thresholds=thresholds).counts
    growth = fit_growth(counts, thresholds, sources, corpus_size=len(fakes), seed=seed)
    return fit_false_matches(maxima, sources, corpus_size=corpus_size, growth=growth, seed=seed)


def _maxima(found: Nearest) -> NDArray[np.float64]:
    """Return the largest similarities (m,) in [-1, 1]: nothing to compare with is as far as can
    be.
    """
    return found.maxima.clip(-1.0, 1.0)


def has_kin(fakes: Population, members: Population) -> NDArray[np.bool_]:
    """Return which fakes (m,) have a generator of which the members hold another picture."""
    told = Counter(members.generators)
    return np.array(
        [generator is not None and told[generator] > 1 for generator in fakes.generators], np.bool_
    )


Pairs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def _ratio(real: Nearest, fake: Nearest, some: Measured, kin: NDArray[np.bool_]) -> Pairs | None:
    """Same-source and different-source similarities with their source images;

    None where there are too few.
    """
    compared = real.maxima > NOTHING
    same, different = fake.maxima[kin], real.maxima[compared]
    same_sources, different_sources = some.fakes.sources[kin], some.reals.sources[compared]
    if min(len(np.unique(same_sources)), len(np.unique(different_sources))) < MIN_SOURCES:
        return None
    return same, different, same_sources, different_sources


def _two_sided(
    real: tuple[Nearest, Nearest],
    fake: tuple[Nearest, Nearest],
    some: Measured,
    kin: NDArray[np.bool_],
    seed: int,
) -> Likelihood | None:
    """The ratio of (nearest known fake, nearest known real), where both sides have something to be
    compared with.
    """
    both = kin & (fake[1].maxima > NOTHING)
    compared = (real[0].maxima > NOTHING) & (real[1].maxima > NOTHING)
    same = np.column_stack([fake[0].maxima[both], fake[1].maxima[both]])  # (n, 2)
    different = np.column_stack([real[0].maxima[compared], real[1].maxima[compared]])  # (m, 2)
    same_sources, different_sources = some.fakes.sources[both], some.reals.sources[compared]
    if min(len(np.unique(same_sources)), len(np.unique(different_sources))) < MIN_SOURCES:
        return None
    return fit_two_sided(same, different, same_sources, different_sources, seed=seed)


def _classifier(some: Measured, seed: int) -> ClassifierCalibration | None:
    if min(len(np.unique(each.sources)) for each in (some.reals, some.fakes)) < MIN_SOURCES:
        return None
    logits = np.concatenate([some.reals.logits, some.fakes.logits])
    synthetic = np.repeat([False, True], [len(some.reals), len(some.fakes)])
    return fit_classifier(
        logits, synthetic, np.concatenate([some.reals.sources, some.fakes.sources]), seed=seed
    )


def _attribution(
    fakes: Population, members: Population, found: Nearest, kin: NDArray[np.bool_], seed: int
) -> Attribution | None:
    """Fitted on fakes whose generator has other pictures here, all of whose neighbours are
    there.
    """
    rows = np.flatnonzero(kin & (found.positions >= 0).all(axis=1))
    truth = [fakes.generators[row] for row in rows]
    if len(np.unique(fakes.sources[rows])) < MIN_SOURCES or len(set(truth)) < 2:
        return None
    generators = [[members.generators[place] for place in found.positions[row]] for row in rows]
    told = [generator for generator in truth if generator is not None]
    return fit_attribution(
        found.similarities[rows], generators, told, fakes.sources[rows], seed=seed
    )


def _familiar_from(real: tuple[Nearest, Nearest], fake: tuple[Nearest, Nearest]) -> float | None:
    closest = np.concatenate([np.maximum(*(each.maxima for each in side)) for side in (real, fake)])
    closest = closest[closest > NOTHING]
    return float(np.quantile(closest, UNFAMILIAR_SHARE)) if len(closest) >= MIN_FAMILIAR else None
