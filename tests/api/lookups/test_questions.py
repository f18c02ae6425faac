from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from api.lookups.answers.json import ProbeAnswer
from api.lookups.probe import Probe
from api.lookups.questions import (
    REAL_NEIGHBOURS,
    make_filter,
    make_questions,
    restricts_only_corpora,
)
from api.lookups.request import LookupQuery, SearchFilter
from index.cache.searching.questions import Question, SearchResult
from index.calibration.calibration import ATTRIBUTION_NEIGHBOURS
from index.truth.corpora import CorpusKind
from index.truth.filters import Filter
from index.truth.free_provenance import ProvenanceIs
from index.truth.perceptual import PerceptualHash
from tests.index.assessing import FAKE, REAL, found, neighbour

HASHED = PerceptualHash(bytes(32), 80)
PROBE = Probe(
    ProbeAnswer(sha256="1" * 64, embedding="sent"), np.array([1.0, 0.0], np.float32), 0.5, HASHED
)


def answer(questions: Sequence[Question]) -> list[SearchResult]:
    """Answer the nth question with the neighbour number n, of `searched` n."""
    return [
        found(neighbour(n, 0.5, each.chosen.kind or FAKE), searched=n)
        for n, each in enumerate(questions)
    ]


def ask(query: LookupQuery, reencodings: Sequence[Any] = ()) -> Any:
    questions = make_questions(PROBE, query, reencodings)
    return questions.read(answer(questions.asked)), questions.asked


def ids(neighbours: Any) -> list[int]:
    return [each.entry.id for each in neighbours]


@pytest.mark.parametrize("k", [ATTRIBUTION_NEIGHBOURS, 50])
def test_a_list_of_known_fakes_is_not_searched_twice(k: int) -> None:
    result, (listed, reals) = ask(LookupQuery(k=k))
    assert (listed.k, listed.chosen) == (k, Filter(kind=FAKE))
    assert (reals.k, reals.chosen) == (REAL_NEIGHBOURS, Filter(kind=REAL))
    assert ids(result.listed.neighbours) == ids(result.neighbourhood.fakes) == [0]
    assert ids(result.neighbourhood.reals) == [1]
    assert result.searched_fakes == 0


@pytest.mark.parametrize("query", [LookupQuery(k=3), LookupQuery(filter=SearchFilter(kind=None))])
def test_a_short_or_mixed_list_has_known_fakes_beside_it(query: LookupQuery) -> None:
    """An attribution needs ten known fakes, whatever was asked for."""
    result, (listed, _, fakes) = ask(query)
    assert (listed.k, listed.chosen.kind) == (query.k, query.filter.kind)
    assert (fakes.k, fakes.chosen) == (ATTRIBUTION_NEIGHBOURS, Filter(kind=FAKE))
    assert ids(result.listed.neighbours) == [0]
    assert ids(result.neighbourhood.fakes) == [2]
    assert result.searched_fakes == 2


def test_among_known_real_images_no_known_fake_is_looked_for() -> None:
    query = LookupQuery(filter=SearchFilter(kind=REAL))
    result, (listed, reals) = ask(query, [np.zeros(2), np.zeros(2)])
    assert (listed.k, reals.k) == (10, REAL_NEIGHBOURS)
    assert (ids(result.listed.neighbours), ids(result.neighbourhood.reals)) == ([0], [1])
    assert (result.neighbourhood.fakes, result.searched_fakes) == ((), None)
    assert result.reencodings == (None, None)


@pytest.mark.parametrize("k", [3, 10])
def test_each_re_encoding_asks_for_its_nearest_known_fake(k: int) -> None:
    vectors = [np.array([0.0, 1.0]), np.array([0.6, 0.8])]
    result, questions = ask(LookupQuery(k=k, exact=True), vectors)
    for question, vector in zip(questions[-2:], vectors, strict=True):
        assert question.probe is vector
        assert (question.k, question.chosen.kind, question.exact) == (1, FAKE, True)
        assert (question.probe_sha256, question.probe_hash) == (None, None)
    last = len(questions)
    assert [each.entry.id for each in result.reencodings] == [last - 2, last - 1]


def test_a_re_encoding_without_any_known_fake_has_none() -> None:
    questions = make_questions(PROBE, LookupQuery(k=3), [np.zeros(2, np.float32)])
    result = questions.read([found(searched=0) for _ in questions.asked])
    assert result.reencodings == (None,)
    assert result.searched_fakes == 0


def test_what_is_known_of_the_probe_is_asked_along() -> None:
    query = LookupQuery(k=3, exact=True, filter=SearchFilter(corpora=["a"], kind=None))
    _, questions = ask(query)
    for question in questions:
        assert question.probe is PROBE.vector
        assert (question.probe_sha256, question.probe_hash) == ("1" * 64, HASHED)
        assert question.exact
    chosen = [question.chosen for question in questions]
    some = frozenset({"a"})
    assert chosen == [
        Filter(corpora=some, kind=None),
        Filter(kind=REAL),  # photographs of all corpora are the other side
        Filter(corpora=some, kind=FAKE),
    ]


def test_every_criterion_of_a_query_reaches_the_filter() -> None:
    start, end = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC)
    asked = SearchFilter(
        corpora=["a", "b", "a"],
        kind=REAL,
        generators=["sdxl"],
        labels=[],
        acquired_from=start,
        acquired_to=end,
        provenance={"/camera/model": ["X100"], "reviewed": [True]},
    )
    assert make_filter(asked) == Filter(
        corpora=frozenset({"a", "b"}),
        kind=REAL,
        generators=frozenset({"sdxl"}),
        labels=frozenset(),
        acquired_from=start,
        acquired_to=end,
        provenance=frozenset(
            {ProvenanceIs.at("/camera/model", ["X100"]), ProvenanceIs.at("reviewed", [True])}
        ),
    )
    assert make_filter(SearchFilter(kind=None)) == Filter()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, True),
        ({"corpora": ["a"], "kind": None}, True),
        ({"kind": CorpusKind.KNOWN_REAL}, True),
        ({"generators": ["sdxl"]}, False),
        ({"labels": []}, False),
        ({"provenance": {"a": [1]}}, False),
        ({"acquired_to": datetime(2026, 1, 2, tzinfo=UTC)}, False),
    ],
)
def test_a_calibration_is_of_whole_corpora(asked: dict[str, Any], expected: bool) -> None:
    assert restricts_only_corpora(SearchFilter(**asked)) is expected
