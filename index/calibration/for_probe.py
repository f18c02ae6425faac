"""A calibration as it applies to one probe: its stratum, a corpus size, the threshold at a rate.

Which calibration applies to a search is decided in `index.calibration.standing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from index.calibration.calibration import SUPPORTED_FACTOR, FallBack, Stratum
from index.calibration.false_matches import Rate
from index.calibration.hits import Discrimination
from index.calibration.population import CollectionName
from index.calibration.standing import Applied, Applies
from index.verdict import Threshold


@dataclass(frozen=True, slots=True, eq=False)
class ProbeCalibration:
    """The calibration that applies to a search, as it applies to one probe.

    `stratum` is what was measured for probes delivered in the way `condition`; `fell_back_from` is
    the delivery of the probe if it has another stratum, and `because` the reason. Rates are
    predicted for a corpus of `corpus_size` entries. `threshold` is the similarity at the
    false-match rate that was asked for: None if too few images support it, if no stratum holds, and
    if the calibration is provisional.
    `discrimination` says whether similarity tells fakes from photographs at that rate; None if it
    was not measured.
    """

    applied: Applied
    condition: str
    stratum: Stratum
    corpus_size: int
    false_match_rate: float
    threshold: Threshold | None
    fell_back_from: str | None = None
    because: FallBack | None = None
    discrimination: Discrimination | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether it rests on images that came with the model: it states figures, and no verdict
        rests on it.
        """
        return self.applied.calibration.is_provisional

    @property
    def hit_rate(self) -> Rate | None:
        """How often a known fake comes as near to another one as the threshold; None if it was not
        measured.
        """
        return None if self.discrimination is None else self.discrimination.hit

    @classmethod
    def of(
        cls, applied: Applied, condition: str | None, searched: int, false_match_rate: float
    ) -> Self:
        """For a probe and the number of known fakes that were searched.

        Of a calibration of exactly these corpora, rates are predicted for what was searched. Of a
        part of its corpora they are stated for the whole, as measured: the maximum over a part is
        at most the maximum over all. A part that has outgrown the whole is taken at its own size.
        """
        chosen = applied.calibration.stratum_for(condition or "")
        name, stratum = chosen.name, chosen.stratum
        exact = applied.applies is Applies.EXACT and searched > 0
        size = searched if exact else max(searched, applied.calibration.corpus_size)
        threshold = _threshold_at(false_match_rate, applied, name, stratum, size)
        return cls(
            applied,
            name,
            stratum,
            size,
            false_match_rate,
            threshold,
            chosen.fell_back_from,
            chosen.because,
            stratum.discriminate(false_match_rate, size)
            if threshold is None
            else stratum.discriminate_at(threshold.value),
        )

    def find_thresholds(self, conditions: Sequence[str]) -> list[Threshold | None]:
        """Return the threshold of the probe if it had been delivered in each of these ways.

        None where that way has none, and everywhere if the probe itself has none.
        """
        if self.threshold is None:
            return [None] * len(conditions)
        strata = [self.applied.calibration.stratum_for(condition) for condition in conditions]
        found: dict[str, Threshold | None] = {self.condition: self.threshold}
        for each in strata:
            if each.name not in found:
                found[each.name] = _threshold_at(
                    self.false_match_rate, self.applied, each.name, each.stratum, self.corpus_size
                )
        return [found[each.name] for each in strata]


def count_supporting(rate: float) -> int:
    """Return about how many photographs support a threshold at a false-match rate: so many that
    one of them is expected over it.
    """
    return math.ceil(1 / rate - 1e-9)


def _threshold_at(
    rate: float, applied: Applied, condition: str, stratum: Stratum, size: int
) -> Threshold | None:
    """The similarity at a false-match rate; None if the images do not support one, if the stratum
    does not hold, and by a provisional calibration.
    """
    at = stratum.threshold_at(rate, size)
    if at is None or applied.calibration.is_provisional:
        return None
    asked, just_below = f"{rate:.2%}", math.nextafter(at, -2)
    if stratum.false_matches.rate_at(just_below, size).estimate <= rate:
        asked = f"at most {rate:.2%}, whose interval ends at {SUPPORTED_FACTOR * rate:.2%},"
    source = (
        f"similarity at a false-match rate of {asked} by calibration {applied.id}, {condition}: "
        f"{stratum.references} known-real images of {stratum.sources} photographs"
    )
    return Threshold(min(1.0, max(-1.0, at)), source)


@dataclass(frozen=True, slots=True)
class CollectionCount:
    """How many of a collection's `images` come at least as near as some similarity."""

    collection: CollectionName
    images: int
    matches: int


def count_by_collection(stratum: Stratum, similarity: float) -> tuple[CollectionCount, ...]:
    """Count, for each reference collection, the images that have a known fake at least this near.

    Empty if more of one collection come this near than its calibration keeps.
    """
    counts = []
    for each in stratum.collections:
        matches = each.matches_at(similarity)
        if matches is None:
            return ()
        counts.append(CollectionCount(each.collection, each.n, matches))
    return tuple(counts)
