"""A batch of look-ups: each probe is answered as if it were alone, or fails alone."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.batches import batch as looked_up
from api.lookups.batches.batch import look_up_batch
from api.lookups.batches.request import BatchProbe, LookupBatch, UnfitProbe
from api.lookups.lookup import look_up_request
from api.lookups.request import LookupQuery, LookupRequest, SearchFilter
from api.lookups.stored import find_answer
from embedder.decoding.picture import Picture, PictureOrder
from index.errors import ForeignSpace, InvalidVector, UnknownCorpus, UnknownImage
from tests.api.small_lineup import encoded, picture

MOST_TOGETHER = looked_up.MOST_TOGETHER


def embedded(lineup: Lineup, seed: int, **values: Any) -> BatchProbe:
    row = np.random.default_rng(seed).standard_normal(lineup.space.dimension)
    return BatchProbe(
        embedding=(row / np.linalg.norm(row)).tolist(),
        embedding_space=lineup.space.fingerprint,
        **values,
    )


def known(lineup: Lineup) -> BatchProbe:
    with lineup.database.read() as conn:
        sha256 = conn.exec_driver_sql("SELECT sha256 FROM images ORDER BY id LIMIT 1").scalar_one()
    return BatchProbe(sha256=sha256)


def test_each_probe_that_fails_has_its_own_error_and_the_others_are_stored_by_one_commit(
    own: Lineup,
) -> None:
    long = embedded(own, 3)
    probes = [
        embedded(own, 1),
        BatchProbe(sha256="0" * 64),
        long.model_copy(update={"embedding": [2.0] * own.space.dimension}),
        long.model_copy(update={"embedding": [1.0]}),
        long.model_copy(update={"embedding_space": "2" * 64}),
        BatchProbe(),
        UnfitProbe(faults=({"field": "sha256", "detail": "wrong"},)),
        known(own),
        BatchProbe(pdq_hash="ab" * 32, pdq_quality=80),
    ]
    before = own.lookup_store.commits
    outcomes = look_up_batch(own, LookupBatch(probes=probes))
    assert [type(each) for each in outcomes] == [
        LookupAnswer,
        UnknownImage,
        InvalidVector,
        InvalidVector,
        ForeignSpace,
        InvalidRequest,
        InvalidRequest,
        LookupAnswer,
        LookupAnswer,
    ]
    assert own.lookup_store.commits == before + 1
    for each in outcomes:
        if isinstance(each, LookupAnswer):
            assert find_answer(own.database, each.id) == each


@pytest.mark.parametrize(
    "query", [LookupQuery(), LookupQuery(k=3, exact=True, filter=SearchFilter(kind=None))]
)
def test_every_answer_is_the_one_of_its_probe_alone(own: Lineup, query: LookupQuery) -> None:
    """Also of more probes than share a search."""
    probes = [embedded(own, seed, logit=0.25) for seed in range(MOST_TOGETHER + 6)]
    probes[5] = known(own)
    alone = [
        look_up_request(
            own,
            LookupRequest(
                **query.model_dump(), **each.model_dump(exclude={"name"}, exclude_unset=True)
            ),
        ).evidence_sha256
        for each in (probes[0], probes[5], probes[-1])
    ]
    found = look_up_batch(own, LookupBatch(query=query, probes=probes))
    digests = [each.evidence_sha256 if isinstance(each, LookupAnswer) else None for each in found]
    assert [digests[0], digests[5], digests[-1]] == alone
    assert len(set(digests)) == len(probes)


def test_a_probe_whose_picture_is_kept_is_compared_like_alone(own: Lineup) -> None:
    probe = known(own)
    own.blob_stores.originals.put(str(probe.sha256), encoded(picture(0)))
    alone = look_up_request(own, LookupRequest(sha256=probe.sha256))
    (found,) = look_up_batch(own, LookupBatch(probes=[probe]))
    assert isinstance(found, LookupAnswer)
    assert found.evidence_sha256 == alone.evidence_sha256


def test_a_picture_that_is_asked_for_more_than_once_is_made_once(
    own: Lineup, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, missing = known(own), BatchProbe(sha256="0" * 64)
    own.blob_stores.originals.put(str(probe.sha256), encoded(picture(0)))
    made, submit = list[bytes](), own.decoders.submit

    def count(data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        if order.view_hashes:  # of the probe; entries are asked for their features
            made.append(data)
        return submit(data, order, urgent=urgent)

    monkeypatch.setattr(own.decoders, "submit", count)
    found = look_up_batch(own, LookupBatch(probes=[probe, missing, probe, missing, probe]))
    assert len(made) == 1
    assert [type(each) for each in found] == [LookupAnswer, UnknownImage] * 2 + [LookupAnswer]
    answers = [each for each in found if isinstance(each, LookupAnswer)]
    assert len({each.id for each in answers}) == 3
    assert len({each.evidence_sha256 for each in answers}) == 1


def test_a_wrong_query_fails_the_batch_and_nothing_is_stored(own: Lineup) -> None:
    query = LookupQuery(filter=SearchFilter(corpora=["nowhere"]))
    before = own.lookup_store.commits
    with pytest.raises(UnknownCorpus):
        look_up_batch(own, LookupBatch(query=query, probes=[embedded(own, 1)]))
    assert own.lookup_store.commits == before


def test_a_batch_without_a_usable_probe_stores_nothing(own: Lineup) -> None:
    before = own.lookup_store.commits
    (outcome,) = look_up_batch(own, LookupBatch(probes=[BatchProbe()]))
    assert isinstance(outcome, InvalidRequest)
    assert own.lookup_store.commits == before
