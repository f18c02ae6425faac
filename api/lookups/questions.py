"""What a lookup asks of the index, all of one state of it, and which result answers what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from api.lookups.json import LookupQuery, SearchFilter
from api.lookups.probe import Probe
from index.cache.searching import Question, SearchResult
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.truth.corpora import CorpusKind
from index.truth.filters import Filter
from index.truth.free_provenance import ProvenanceIs

REALS = Filter(kind=CorpusKind.KNOWN_REAL)
REAL_NEIGHBOURS = 5  # so that behind the probe itself, and copies of it, another picture is found


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The list that was asked for; the nearest known-real image; known fakes; the nearest known
    fake of each re-encoding.

    Only known fakes speak for similarity; a search among known reals compares with none (`fakes` is
    None). Where the list itself is of known fakes it is not searched twice.
    """

    listed: Question
    reals: Question
    fakes: Question | None
    reencodings: tuple[Question, ...]

    @classmethod
    def of(
        cls, probe: Probe, query: LookupQuery, reencodings: Sequence[NDArray[np.float32]]
    ) -> Self:
        """For a probe, with the vectors (d,) of its re-encodings."""
        chosen = filter_of(query.filter)
        listed = Question(
            probe.vector, query.k, chosen, probe.answer.sha256, probe.perceptual_hash, query.exact
        )
        reals = replace(listed, k=REAL_NEIGHBOURS, chosen=REALS)
        if chosen.kind is CorpusKind.KNOWN_REAL:
            return cls(listed, reals, None, ())
        among_fakes = replace(chosen, kind=CorpusKind.KNOWN_FAKE)
        fakes = replace(listed, k=max(query.k, ATTRIBUTION_NEIGHBOURS), chosen=among_fakes)
        return cls(
            listed,
            reals,
            fakes,
            tuple(Question(each, 1, among_fakes, exact=query.exact) for each in reencodings),
        )

    @property
    def questions(self) -> list[Question]:
        """In the order in which `read` takes the results."""
        others = [self.fakes] if self.fakes is not None and not self._listed_are_fakes else []
        return [self.listed, self.reals, *others, *self.reencodings]

    def read(self, results: Sequence[SearchResult]) -> Found:
        """Tell the results of `questions` apart."""
        listed, reals, *others = results
        fakes = None
        if self.fakes is not None:
            fakes = listed if self._listed_are_fakes else others.pop(0)
        return Found(listed, reals, fakes, tuple(others))

    @property
    def _listed_are_fakes(self) -> bool:
        return self.fakes is not None and (self.fakes.k, self.fakes.chosen) == (
            self.listed.k,
            self.listed.chosen,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The results of what was asked, of one generation."""

    listed: SearchResult
    reals: SearchResult
    fakes: SearchResult | None
    reencodings: tuple[SearchResult, ...]


def filter_of(asked: SearchFilter) -> Filter:
    """What was asked for, in the words of `index`."""
    return Filter(
        corpora=_some(asked.corpora),
        kind=asked.kind,
        generators=_some(asked.generators),
        labels=_some(asked.labels),
        acquired_from=asked.acquired_from,
        acquired_to=asked.acquired_to,
        provenance=frozenset(
            ProvenanceIs.at(place, values) for place, values in (asked.provenance or {}).items()
        ),
    )


def only_corpora(asked: SearchFilter) -> bool:
    """Whether nothing but corpora and their kind restricts a search."""
    return asked == SearchFilter(corpora=asked.corpora, kind=asked.kind)


def _some(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
