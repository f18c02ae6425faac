"""What a look-up asks the index, all of one generation, and which result answers what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.lookups.probe import Probe
from api.lookups.request import LookupQuery, SearchFilter
from index.cache.searching.questions import Neighbour, Question, SearchResult
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.copies import CopyEvidence, LeadLimits
from index.neighbourhood import Neighbourhood, join_candidates
from index.truth.corpora import CorpusKind
from index.truth.filters import Filter
from index.truth.free_provenance import ProvenanceIs

REALS = Filter(kind=CorpusKind.KNOWN_REAL)
# Enough to find another picture behind the probe itself and copies of it.
REAL_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the searches of one look-up found.

    `listed` answers the query itself, `fakes` and `reals` are of the two kinds. `fakes` is None if
    the query leaves known fakes out. `reencodings` are the nearest known fakes of the re-encodings,
    in their order.
    """

    listed: SearchResult
    fakes: SearchResult | None
    reals: SearchResult
    reencodings: tuple[Neighbour | None, ...]

    @property
    def searched_fakes(self) -> int | None:
        """The number of known fakes among which the nearest were looked for, None if the query
        leaves them out.
        """
        return None if self.fakes is None else self.fakes.searched

    @property
    def neighbourhood(self) -> Neighbourhood:
        """The neighbours of both kinds."""
        fakes = () if self.fakes is None else self.fakes.neighbours
        return Neighbourhood(fakes, self.reals.neighbours)

    def list_found(self) -> list[Neighbour]:
        """Return every neighbour and candidate of these searches once."""
        results = [self.listed, self.reals, *([] if self.fakes is None else [self.fakes])]
        found = {
            each.entry.id: each
            for result in results
            for each in (*result.neighbours, *result.candidates)
        }
        return list(found.values())

    def join(self, compared: Mapping[int, CopyEvidence], limits: LeadLimits, k: int) -> Found:
        """Return the same with what geometry compared, and with copies and leads among the
        neighbours: at most `k` leads of each search.
        """
        return replace(
            self,
            listed=join_candidates(self.listed, compared, limits, k),
            fakes=None
            if self.fakes is None
            else join_candidates(self.fakes, compared, limits, max(k, ATTRIBUTION_NEIGHBOURS)),
            reals=join_candidates(self.reals, compared, limits, REAL_NEIGHBOURS),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """What one look-up asks, in this order: its list, known-real images, known fakes if the list is
    not of them, and the re-encodings.
    """

    asked: tuple[Question, ...]
    searches_fakes: bool
    list_is_of_fakes: bool
    reencodings: int

    def read(self, results: Sequence[SearchResult]) -> Found:
        """Return what the answers to these questions, in their order, have found."""
        of_list, of_reals, *of_others = results
        if not self.searches_fakes:
            return Found(of_list, None, of_reals, (None,) * self.reencodings)
        of_fakes = of_list if self.list_is_of_fakes else of_others.pop(0)
        nearest = tuple(next(iter(each.neighbours), None) for each in of_others)
        return Found(of_list, of_fakes, of_reals, nearest)


def make_questions(
    probe: Probe,
    query: LookupQuery,
    reencodings: Sequence[NDArray[np.float32]],
    candidates: tuple[tuple[int, float], ...] = (),
) -> Questions:
    """Return what to ask for a probe and the vectors (d,) of its re-encodings. `candidates` are
    entries that another search proposes as copies, each with the similarity of the copy
    descriptors.

    Beside the list that was asked for, the nearest known-real images and the nearest known fakes
    are searched. Only known fakes are evidence of similarity, so a query among known-real images
    has none. If the list itself is of known fakes, it is not searched twice.
    """
    chosen = make_filter(query.filter)
    listed = Question(
        probe.vector,
        query.k,
        chosen,
        probe.answer.sha256,
        probe.perceptual_hash,
        query.exact,
        probe.views,
        candidates,
    )
    reals = replace(listed, k=REAL_NEIGHBOURS, chosen=REALS)
    if chosen.kind is CorpusKind.KNOWN_REAL:
        return Questions(
            (listed, reals),
            searches_fakes=False,
            list_is_of_fakes=False,
            reencodings=len(reencodings),
        )
    among_fakes = replace(chosen, kind=CorpusKind.KNOWN_FAKE)
    fakes = replace(listed, k=max(query.k, ATTRIBUTION_NEIGHBOURS), chosen=among_fakes)
    list_is_of_fakes = (fakes.k, fakes.chosen) == (listed.k, listed.chosen)
    others = [Question(each, 1, among_fakes, exact=query.exact) for each in reencodings]
    asked = (listed, reals, *(() if list_is_of_fakes else (fakes,)), *others)
    return Questions(
        asked, searches_fakes=True, list_is_of_fakes=list_is_of_fakes, reencodings=len(reencodings)
    )


def make_filter(asked: SearchFilter) -> Filter:
    """The filter of a query, as `index` takes it."""
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


def restricts_only_corpora(asked: SearchFilter) -> bool:
    """Whether nothing but corpora and their kind restricts a search."""
    return asked == SearchFilter(corpora=asked.corpora, kind=asked.kind)


def _some(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
