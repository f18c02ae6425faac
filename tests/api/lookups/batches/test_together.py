"""Look-ups of strangers: each is answered as if it were alone, and fails alone."""

from __future__ import annotations

import numpy as np
import pytest

from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.batches.together import find_kind, look_up_together
from api.lookups.lookup import look_up_request
from api.lookups.request import LookupRequest, SearchFilter
from api.lookups.stored import find_answer
from index.errors import InvalidVector, UnknownCorpus, UnknownImage


def embedded(lineup: Lineup, seed: int, **values: object) -> LookupRequest:
    row = np.random.default_rng(seed).standard_normal(lineup.space.dimension)
    return LookupRequest(
        embedding=(row / np.linalg.norm(row)).tolist(),
        embedding_space=lineup.space.fingerprint,
        logit=0.25,
        **values,
    )


def test_each_request_that_fails_gets_its_own_error_and_the_others_are_answered(
    own: Lineup,
) -> None:
    nowhere = SearchFilter(corpora=["nowhere"])
    requests = [
        embedded(own, 1),
        LookupRequest(sha256="0" * 64),
        embedded(own, 2).model_copy(update={"embedding": [2.0] * own.space.dimension}),
        embedded(own, 3, filter=nowhere),
        LookupRequest(),
        embedded(own, 4),
    ]
    outcomes = look_up_together(own, requests)
    assert [type(each) for each in outcomes] == [
        LookupAnswer,
        UnknownImage,
        InvalidVector,
        UnknownCorpus,
        InvalidRequest,
        LookupAnswer,
    ]


def test_nothing_is_asked_of_the_index_where_no_request_has_a_probe(own: Lineup) -> None:
    outcomes = look_up_together(own, [LookupRequest(), LookupRequest(sha256="0" * 64)])
    assert [type(each) for each in outcomes] == [InvalidRequest, UnknownImage]


@pytest.mark.parametrize("other", [{"k": 3}, {"exact": True}, {"filter": SearchFilter(kind=None)}])
def test_look_ups_that_cost_differently_share_nothing(
    filled: Lineup, other: dict[str, object]
) -> None:
    assert find_kind(filled, embedded(filled, 1, **other)) != find_kind(filled, embedded(filled, 1))


def test_look_ups_that_cost_alike_share(filled: Lineup) -> None:
    kinds = {
        find_kind(filled, each)
        for each in (
            embedded(filled, 1),
            embedded(filled, 2, false_match_rate=0.05, filter=SearchFilter()),
            LookupRequest(sha256="0" * 64),
            LookupRequest(),
        )
    }
    assert len(kinds) == 1
    assert None not in kinds


def test_a_look_up_whose_picture_is_kept_shares_nothing(own: Lineup) -> None:
    own.blob_stores.thumbnails.put("1" * 64, b"a picture")
    assert find_kind(own, LookupRequest(sha256="1" * 64)) is None


def test_every_answer_is_the_one_of_its_request_alone_and_is_stored(own: Lineup) -> None:
    requests = [embedded(own, seed) for seed in range(5)]
    alone = [look_up_request(own, each).evidence_sha256 for each in requests]
    answers = look_up_together(own, requests)
    assert [each.evidence_sha256 for each in answers if isinstance(each, LookupAnswer)] == alone
    for each in answers:
        assert isinstance(each, LookupAnswer)
        assert find_answer(own.database, each.id) == each
