"""What a look-up asks the index, all of one generation, and which result answers what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.lookups.probe import Probe
from api.lookups.request import LookupQuery, SearchFilter
from index.cache.searching import Neighbour, Question, SearchResult
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.copies import CopyEvidence, LeadLimits
from index.neighbourhood import Neighbourhood, join_candidates
from index.truth.corpora import CorpusKind
from index.truth.filters import Filter
from index.truth.free_provenance import ProvenanceIs

SearchAll = Callable[[Sequence[Question]], Sequence[SearchResult]]

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


def search(
    probe: Probe,
    query: LookupQuery,
    reencodings: Sequence[NDArray[np.float32]],
    search_all: SearchAll,
    candidates: tuple[tuple[int, float], ...] = (),
) -> Found:
    """Search for a probe and the vectors (d,) of its re-encodings. `candidates` are entries that
    another search proposes as copies, each with the similarity of the copy descriptors.

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
        of_list, of_reals = search_all([listed, reals])
        return Found(of_list, None, of_reals, (None,) * len(reencodings))
    among_fakes = replace(chosen, kind=CorpusKind.KNOWN_FAKE)
    fakes = replace(listed, k=max(query.k, ATTRIBUTION_NEIGHBOURS), chosen=among_fakes)
    list_is_of_fakes = (fakes.k, fakes.chosen) == (listed.k, listed.chosen)
    others = [Question(each, 1, among_fakes, exact=query.exact) for each in reencodings]
    questions = [listed, reals, *([] if list_is_of_fakes else [fakes]), *others]
    of_list, of_reals, *of_others = search_all(questions)
    of_fakes = of_list if list_is_of_fakes else of_others.pop(0)
    return Found(
        of_list,
        of_fakes,
        of_reals,
        tuple(next(iter(each.neighbours), None) for each in of_others),
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
