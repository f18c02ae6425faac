"""Attribution: which generators may have made an image, judged by its nearest known fakes.

The votes of the neighbours are calibrated by a conditional logit (McFadden 1974) to shares, which
sum to 1 over the generators. The candidates are a conformal set with a threshold of each generator
(class-conditional or Mondrian: Vovk 2012; Sadinle et al. 2019), so that of the images of *each*
generator nine in ten have it in their set. With one threshold for all, nine in ten of all images
did, but 64 % of those of generators with fewer than ten entries. So only generators with
`MIN_ENTRIES` entries whose coverage held are named.

Attribution answers "unknown" rather than name what a reader cannot use: if nothing is near enough,
if most of the votes are of a generator that cannot be named, and if the set has more than
`MOST_NAMES` names or every generator. Generators that the corpora lack come out so too.
`attribution_fit` fits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.calibration.special import log_softmax

Floats = NDArray[np.float64]
Neighbours = Sequence[tuple[float, str | None]]

COVERAGE = 0.9  # chosen: the true generator is in nine of ten sets
# Sets of generators with ten entries or more had a coverage of 89 %, the others one of 64 %
# (images that nobody had used, 2026-11). And with nine images a conformal threshold at 90 % is
# first above the least share (Vovk 2012).
MIN_ENTRIES = 10
# A reader can follow up five names (chosen); a longer list excludes too little.
MOST_NAMES = 5
FEATURES = 4


class AttributionReason(StrEnum):
    """The reason for an attribution."""

    NEAREST_KNOWN_FAKES = "nearest_known_fakes"  # they support the candidates
    NO_GENERATOR_DECLARED = "no_generator_told"  # for no neighbour; stored answers have this word
    NOTHING_NEAR_ENOUGH = "nothing_near_enough"
    SET_HOLDS_EVERYTHING = "set_holds_everything"
    TOO_MANY = "too_many"  # the set has more than `MOST_NAMES` names
    # most of the votes are of a generator that has too few entries, or came after the calibration
    NOT_ENOUGH_ENTRIES = "not_enough_entries"
    # the set has a generator that was in too few of the sets of its own images
    COVERAGE_FAILS = "coverage_fails"
    NONE_FITS = "none_fits"  # each generator has less of the votes than with its own images
    # the probe is, by bytes or by perceptual hash, an entry that declares its generator
    SAME_PICTURE = "same_picture"


@dataclass(frozen=True, slots=True)
class Attributed:
    """Candidates, most likely first (none when unknown), and the share of every generator; shares
    sum to 1.
    """

    candidates: tuple[str, ...]
    shares: tuple[tuple[str, float], ...]
    unknown: bool
    reason: AttributionReason

    @classmethod
    def quote(cls, generators: Sequence[str]) -> Self:
        """Return what entries declare that show the very picture: their generators, and no vote."""
        names = tuple(dict.fromkeys(generators))
        shares = tuple((name, 1 / len(names)) for name in names)
        return cls(names, shares, unknown=False, reason=AttributionReason.SAME_PICTURE)


@dataclass(frozen=True, slots=True)
class GeneratorCoverage:
    """What the sets are worth for one generator.

    `entries`: its known fakes in the corpora. `images` of them were attributed, each without
    itself; the sets of a share `coverage` of them, cross-validated, contained it, with the 95 %
    interval [low, high]. A candidate has at least the share `least`. `is_named`: it has enough
    entries, and the interval reaches the coverage that the sets are built for, or nearly.
    """

    entries: int
    images: int
    coverage: float
    low: float
    high: float
    least: float
    is_named: bool


@dataclass(frozen=True)
class Attribution:
    """A fitted attribution.

    `log_frequencies` are those of the known generators among the images of the fit. A candidate has
    at least the share `least` of its class; the `least` here is that of all images together. An
    image is called unknown if the similarity to its nearest neighbour with a declared generator is
    below `near_enough`.

    `accuracy`, `coverage` and `mean_set_size` are cross-validated by source image; the sets are
    those of the generators with enough entries, before abstention. After it, a share `answered` of
    the images of generators that are named have names, and `right_of_answered` of these the right
    one among them; both are None if no image has. `unknown_of_known` is the share
    of images of known generators that are called unknown for their distance; `unknown_of_left_out`
    the same share when an image's generator is left out, with each generator counting the same;
    `open_set_auroc` how well nearness separates the two.

    `classes` has what the sets are worth for each generator. It is empty in calibrations made
    before it was stored: then `least` stands for each.
    """

    k: int
    log_frequencies: Mapping[str, float]
    coefficients: tuple[float, ...]
    scale: float
    least: float
    near_enough: float
    n: int
    n_sources: int
    accuracy: float
    coverage: float
    mean_set_size: float
    open_set_auroc: float | None
    unknown_of_known: float
    unknown_of_left_out: float | None
    seed: int
    classes: Mapping[str, GeneratorCoverage] = field(default_factory=dict)
    answered: float | None = None
    right_of_answered: float | None = None

    def attribute(self, neighbours: Neighbours) -> Attributed:
        """Attribute an image by its nearest known fakes (similarity, generator or None), in any
        order.
        """
        nearest = sorted(neighbours, key=lambda each: (-each[0], each[1] or ""))[: self.k]
        declared = [similarity for similarity, generator in nearest if generator is not None]
        if not declared:
            return Attributed((), (), unknown=True, reason=AttributionReason.NO_GENERATOR_DECLARED)
        similarities, generators = zip(*nearest, strict=True)
        names, frequencies = self._known
        others = {name for name in generators if name is not None}.difference(self.log_frequencies)
        if others:  # they came after the calibration
            names = sorted({*names, *others})
            rarest = min(self.log_frequencies.values())
            frequencies = np.array([self.log_frequencies.get(name, rarest) for name in names])
        features = compute_features(
            np.array(similarities), generators, names, frequencies, self.scale
        )
        share = np.exp(log_softmax(features @ np.array(self.coefficients)))
        shares = sorted(
            zip(names, share.tolist(), strict=True), key=lambda each: (-each[1], each[0])
        )
        least = self.least_shares
        candidates = tuple(name for name, value in shares if value >= least.get(name, np.inf))
        reason = self.judge_set(candidates, shares[0][0], max(declared))
        unknown = reason is not AttributionReason.NEAREST_KNOWN_FAKES
        return Attributed(() if unknown else candidates, tuple(shares), unknown, reason)

    def judge_set(
        self, candidates: Sequence[str], first: str, nearest: float | None
    ) -> AttributionReason:
        """Return whether a set is named, or why not.

        `first` is the generator with most of the votes, `nearest` the similarity of the nearest
        neighbour with a declared generator.
        """
        least = self.least_shares
        if nearest is None:
            return AttributionReason.NO_GENERATOR_DECLARED
        if nearest < self.near_enough:
            return AttributionReason.NOTHING_NEAR_ENOUGH
        if first not in least:
            return AttributionReason.NOT_ENOUGH_ENTRIES
        if not candidates:
            return AttributionReason.NONE_FITS
        if len(candidates) == len(least):
            return AttributionReason.SET_HOLDS_EVERYTHING
        if len(candidates) > MOST_NAMES:
            return AttributionReason.TOO_MANY
        if any(name in self.classes and not self.classes[name].is_named for name in candidates):
            return AttributionReason.COVERAGE_FAILS
        return AttributionReason.NEAREST_KNOWN_FAKES

    @cached_property
    def _known(self) -> tuple[list[str], Floats]:
        """The names of the known generators, sorted, and their log frequencies (g,)."""
        names = sorted(self.log_frequencies)
        return names, np.array([self.log_frequencies[name] for name in names])

    @cached_property
    def least_shares(self) -> dict[str, float]:
        """The least share of a candidate, for each generator with enough entries."""
        if self.classes:
            enough = {name: of for name, of in self.classes.items() if of.entries >= MIN_ENTRIES}
            return {name: of.least for name, of in enough.items()}
        images = {name: self.n * np.exp(each) for name, each in self.log_frequencies.items()}
        return {name: self.least for name, count in images.items() if round(count) >= MIN_ENTRIES}

    def to_json(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read = {each.name: stored[each.name] for each in fields(cls) if each.name in stored}
        classes = {
            name: GeneratorCoverage(**each) for name, each in stored.get("classes", {}).items()
        }
        return cls(**read | {"coefficients": tuple(stored["coefficients"]), "classes": classes})


def compute_features(
    similarities: Floats,
    generators: Sequence[str | None],
    names: Sequence[str],
    frequencies: Floats,
    scale: float,
) -> Floats:
    """Return the features (g, 4) of each generator: log votes, nearness of the votes, whether it
    has the nearest vote, log frequency.
    """
    votes, nearness, first = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names))
    place = {name: at for at, name in enumerate(names)}
    known = [
        (s, place[g]) for s, g in zip(similarities.tolist(), generators, strict=True) if g in place
    ]
    for similarity, at in known:
        votes[at] += 1
        nearness[at] += (similarity - similarities[-1]) / scale
    if known:
        first[known[0][1]] = 1.0
    return np.column_stack(
        [np.log(votes + 0.5), np.minimum(nearness, len(similarities)), first, frequencies]
    )
