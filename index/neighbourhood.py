"""The entries that a search found near a probe: the known fakes and the known-real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from index.cache.searching import Neighbour
from index.truth.corpora import CorpusKind


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The known fakes and the known-real images that a search found near a probe.

    The other fields follow from these two, and are computed when the object is made.
    `nearest_other_real` is the nearest known-real image that is another picture than the probe: a
    calibration compares other pictures too. `identical_to` and `same_picture_as` are the kinds of
    corpora that hold the probe's bytes, or its picture by perceptual hash.
    """

    fakes: tuple[Neighbour, ...]
    reals: tuple[Neighbour, ...]
    nearest_fake: Neighbour | None = field(init=False)
    nearest_real: Neighbour | None = field(init=False)
    nearest_other_real: Neighbour | None = field(init=False)
    identical_to: frozenset[CorpusKind] = field(init=False)
    same_picture_as: frozenset[CorpusKind] = field(init=False)

    def __post_init__(self) -> None:
        found = (*self.fakes, *self.reals)
        derived = {
            "nearest_fake": find_nearest(self.fakes),
            "nearest_real": find_nearest(self.reals),
            "nearest_other_real": find_nearest(
                [each for each in self.reals if not each.identical and not each.near_duplicate]
            ),
            "identical_to": frozenset(each.entry.kind for each in found if each.identical),
            "same_picture_as": frozenset(each.entry.kind for each in found if each.near_duplicate),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def find_nearest(neighbours: Sequence[Neighbour]) -> Neighbour | None:
    """Return the most similar neighbour, the first of equal ones; near duplicates may stand before
    it.
    """
    return max(neighbours, key=lambda each: each.cosine_similarity, default=None)
