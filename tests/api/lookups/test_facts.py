"""What is remembered between look-ups, and that a commit of another process ends it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from api.lineup import Lineup
from api.lookups.answers.json import LookupAnswer
from api.lookups.lookup import look_up_all, look_up_request, prepare_request
from api.lookups.request import LookupRequest, SearchFilter
from index.truth.adding import NewEntry, add_entries
from index.truth.calibrations import add_delivered
from index.truth.computations import Computation, PrecisionCheck
from index.truth.corpora import create_corpus, remove_corpus
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.removal import begin_removal
from tests.api.small_lineup import FAKE, REAL, add, calibrate, encoded, open_small, picture
from tests.index.tracing import trace_messages

GPU = Computation("cuda", "tf32")


def by_embedding(lineup: Lineup, **query: object) -> LookupRequest:
    embedding = [1.0] + [0.0] * 11
    return LookupRequest(
        embedding=embedding, embedding_space=lineup.space.fingerprint, logit=0.5, **query
    )


def look_up(lineup: Lineup) -> LookupAnswer:
    return look_up_request(lineup, by_embedding(lineup))


def name_messages(messages: list[str]) -> list[str]:
    """Return each message's verb and first table, without the modes of connections."""
    table = re.compile(r"\b(?:FROM|INTO) (\w+)")
    return [
        " ".join([each.split()[0], *table.findall(each)[-1:]])
        for each in messages
        if not each.startswith("PRAGMA")
    ]


def test_a_look_up_reads_once_what_does_not_change(own: Lineup) -> None:
    """The head of the log is read beside the pool: `tests/index/cache` counts that."""
    calibrate(own)
    request = by_embedding(own)
    messages = trace_messages(own.database)
    look_up_request(own, request)
    assert any("FROM calibrations" in each for each in messages)
    for look_ups in (1, 5):
        messages.clear()
        look_up_all(own, [prepare_request(own, request)] * look_ups)
        assert name_messages(messages) == [
            "BEGIN",
            *["INSERT lookups"] * look_ups,
            "COMMIT",
        ]


def calibrates(other: Lineup) -> None:
    calibrate(other, "fakes", "second", "empty")


def calibrates_less(other: Lineup) -> None:
    calibrate(other, "fakes", "second")


def adds_a_corpus(other: Lineup) -> None:
    add(other, "more", FAKE, encoded(picture(50)))


def removes_an_entry(other: Lineup) -> None:
    with other.database.write() as conn:
        remove_entry(conn, 3)


def removes_a_corpus(other: Lineup) -> None:
    with other.database.write() as conn:
        remove_corpus(conn, "photographs")


def begins_to_remove_a_corpus(other: Lineup) -> None:
    with other.database.write() as conn:
        begin_removal(conn, "second", other.space, limit=1)


def removes_an_empty_corpus(other: Lineup) -> None:
    with other.database.write() as conn:
        remove_corpus(conn, "empty")


def checks_a_precision(other: Lineup) -> None:
    computation = Computation(GPU.device, GPU.precision, PrecisionCheck(27, 0.99999, 0.01))
    with other.database.write() as conn:
        add_delivered(conn, other.space, [(1, "jpeg", unit_vector(), 0.0)], computation)


def unit_vector() -> np.ndarray:
    vector = np.zeros(12, np.float32)
    vector[3] = 1
    return vector


@pytest.mark.parametrize(
    "change",
    [
        calibrates,
        calibrates_less,
        adds_a_corpus,
        removes_an_entry,
        removes_a_corpus,
        begins_to_remove_a_corpus,
        removes_an_empty_corpus,
        checks_a_precision,
    ],
)
def test_the_next_look_up_knows_what_another_process_has_changed(
    own: Lineup, change: Callable[[Lineup], None]
) -> None:
    facts = ImageFacts("5" * 64, 1, 9, 9, "png")
    with own.database.write() as conn:
        create_corpus(conn, "empty", FAKE)
        create_corpus(conn, "second", FAKE)
        add_entries(
            conn, "second", own.space, [NewEntry(facts, unit_vector(), 0.0, computation=GPU)]
        )
    calibrate(own, "fakes", "second", "empty")
    before = [look_up(own) for _ in range(2)][-1]
    with open_small(own.settings.data_dir) as other:
        change(other)
    after = look_up(own)
    with open_small(own.settings.data_dir) as fresh:
        expected = look_up(fresh)
    assert after.evidence_sha256 == expected.evidence_sha256
    assert after.evidence_sha256 != before.evidence_sha256


def test_an_empty_corpus_that_another_process_creates_is_known_to_the_next_look_up(
    own: Lineup,
) -> None:
    """It adds no change to the log, and what a calibration covers depends on it."""
    calibrate(own)
    look_up(own)
    request = by_embedding(own, filter=SearchFilter(corpora=["another"]))
    with open_small(own.settings.data_dir) as other, other.database.write() as conn:
        create_corpus(conn, "another", FAKE)
    after = look_up_request(own, request)
    with open_small(own.settings.data_dir) as fresh:
        expected = look_up_request(fresh, request)
    assert after.evidence_sha256 == expected.evidence_sha256


def test_what_is_remembered_of_one_query_is_not_that_of_another(own: Lineup) -> None:
    calibrate(own)
    add(own, "others", FAKE, encoded(picture(60)))
    queries = [
        {},
        {"filter": SearchFilter(corpora=["fakes"])},
        {"filter": SearchFilter(corpora=["others"])},
        {"filter": SearchFilter(generators=["sdxl"])},
        {"filter": SearchFilter(kind=REAL)},
        {"false_match_rate": 0.2},
    ]
    with open_small(own.settings.data_dir) as fresh:
        for query in (*queries, *queries):
            answer = look_up_request(own, by_embedding(own, **query))
            fresh.remembered = type(fresh.remembered)()
            expected = look_up_request(fresh, by_embedding(fresh, **query))
            assert answer.evidence_sha256 == expected.evidence_sha256
