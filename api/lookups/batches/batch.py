"""Several probes of one client, looked up with one query and stored by one commit.

Each is answered as if it were alone, or has a problem of its own. What is wrong with the query, or
with the database, is raised instead: no probe would do better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.errors import InvalidRequest
from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.batches.request import BatchProbe, LookupBatch, UnfitProbe
from api.lookups.lookup import (
    AnsweredLookup,
    PreparedLookup,
    answer_all,
    prepare_sent,
    store_all,
)
from api.lookups.request import LookupQuery
from index.errors import ForeignSpace, InvalidVector, UnknownImage
from index.truth.images import StoredEmbedding, find_embeddings
from index.truth.vectors import check_vector

# Probes that share a search. What is made of kept pictures, 1 MB each, is in memory so long.
MOST_TOGETHER = 64
OF_THE_PROBE = (InvalidRequest, InvalidVector, ForeignSpace, UnknownImage)


def look_up_batch(lineup: Lineup, batch: LookupBatch) -> list[LookupAnswer | Exception]:
    """Answer each probe, or give what is wrong with it: an error of `OF_THE_PROBE`.

    Raises `InvalidFilter`, `UnknownCorpus`, `CorpusKindConflict`, `TruthDamaged`,
    `DatabaseUnavailable`, `StorageFull`; nothing is stored then.
    """
    outcomes: list[AnsweredLookup | Exception] = []
    for start in range(0, len(batch.probes), MOST_TOGETHER):
        prepared = _prepare_all(lineup, batch.probes[start : start + MOST_TOGETHER], batch.query)
        answered = iter(
            answer_all(lineup, [each for each in prepared if isinstance(each, PreparedLookup)])
        )
        outcomes += [
            next(answered) if isinstance(each, PreparedLookup) else each for each in prepared
        ]
    answers = [each for each in outcomes if isinstance(each, AnsweredLookup)]
    stored = iter(store_all(lineup, answers))
    return [next(stored) if isinstance(each, AnsweredLookup) else each for each in outcomes]


def _prepare_all(
    lineup: Lineup, probes: Sequence[BatchProbe], query: LookupQuery
) -> list[PreparedLookup | Exception]:
    """Prepare each probe. An ingested image is read and its picture decoded once, however often it
    is asked for.
    """
    named = [_name_image(each) for each in probes]
    sha256s = sorted({sha256 for sha256 in named if sha256 is not None})
    known: dict[str, StoredEmbedding] = {}
    if sha256s:
        with lineup.database.read() as conn:
            known = find_embeddings(conn, lineup.space, sha256s)
    shared: dict[str, PreparedLookup | Exception] = {}
    prepared: list[PreparedLookup | Exception] = []
    for probe, sha256 in zip(probes, named, strict=True):
        each = None if sha256 is None else shared.get(sha256)
        each = each or _prepare(lineup, probe, query, known)
        if sha256 is not None:
            shared[sha256] = each
        prepared.append(each)
    return prepared


def _name_image(probe: BatchProbe) -> str | None:
    """Return the sha256 of the ingested image that a probe asks for; None for another probe."""
    is_other = isinstance(probe, UnfitProbe) or probe.embedding is not None
    return None if is_other else probe.sha256


def _prepare(
    lineup: Lineup,
    probe: BatchProbe,
    query: LookupQuery,
    known: Mapping[str, StoredEmbedding],
) -> PreparedLookup | Exception:
    try:
        if isinstance(probe, UnfitProbe):
            raise InvalidRequest("the probe does not fit its schema", probe.faults)
        prepared = prepare_sent(lineup, probe, query, known)
        if prepared.probe.vector is not None:
            check_vector(prepared.probe.vector, lineup.space.dimension)
    except OF_THE_PROBE as err:
        return err
    return prepared
