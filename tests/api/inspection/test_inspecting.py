"""Inspection and quarantine over a database of vectors: no model is needed."""

from typing import Any

import numpy as np
import pytest

from api.errors import InvalidRequest
from api.inspection.inspecting import (
    inspect,
    put_into_quarantine,
    quarantine_page,
    release,
)
from index.errors import InspectionTooLarge, NotQuarantined, UnknownCorpus, UnknownEntry
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.spaces import Space
from index.verdict import ClassifierPolicy

SPACE = Space("1" * 64, "test-model", "2" * 64, "3" * 64, 4)
POLICY = ClassifierPolicy(synthetic_logit=2.0, no_traces_logit=-1.0, source="a test")
FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


class Shelf:
    """Adds one entry at a time, whose vector, logit and hash are given."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.images = 0

    def put(
        self,
        corpus: str,
        vector: Any,
        kind: CorpusKind = FAKE,
        *,
        image: int | None = None,
        logit: float = 0.0,
        picture: int | None = None,
        **provenance: Any,
    ) -> int:
        self.images += 1
        number = self.images if image is None else image
        bits = None if picture is None else np.random.default_rng(picture).bytes(32)
        hashed = None if bits is None else PerceptualHash(bits, 90)
        unit = np.asarray(vector, np.float64) / np.linalg.norm(vector)
        facts = ImageFacts(f"{number:064x}", 10, 8, 8, "png", hashed)
        new = NewEntry(facts, unit.astype(np.float32), logit, Provenance(**provenance))
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, kind)
            (result,) = add_entries(conn, corpus, SPACE, [new])
        return int(result.entry_id)

    def inspect(
        self, corpus: str, limit: int = 5, policy: ClassifierPolicy | None = POLICY, **options: Any
    ) -> Any:
        return inspect(self.database, SPACE, policy, corpus, limit, **options)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


def test_an_unknown_corpus_is_neither_inspected_nor_paged(shelf: Shelf) -> None:
    with pytest.raises(UnknownCorpus):
        shelf.inspect("nowhere")
    with pytest.raises(UnknownCorpus):
        quarantine_page(shelf.database, "nowhere", None, 10)


def test_too_many_comparisons_are_refused(shelf: Shelf) -> None:
    for axis in range(3):
        shelf.put("fakes", np.eye(4)[axis])
    with pytest.raises(InspectionTooLarge):
        shelf.inspect("fakes", max_comparisons=8)
    assert shelf.inspect("fakes", max_comparisons=9).compared == 3


def test_the_same_image_on_both_sides_is_a_contradiction_named_by_path(shelf: Shelf) -> None:
    here = shelf.put("fakes", [1, 0, 0, 0], image=500, extra={"path": "fakes/one.png"})
    there = shelf.put("reals", [1, 0, 0, 0], REAL, image=500, source="a camera")
    (found,) = shelf.inspect("fakes").contradictions.items
    assert (found.entry.id, found.entry.location) == (here, "fakes/one.png")
    assert (found.other.id, found.other.corpus, found.other.location) == (
        there,
        "reals",
        "a camera",
    )
    assert found.relation == "identical"


def test_a_known_fake_looks_real_only_by_a_policy_that_has_a_limit(shelf: Shelf) -> None:
    shelf.put("fakes", [1, 0, 0, 0], logit=5.0)
    planted = shelf.put("fakes", [0, 1, 0.1, 0], logit=-1.0)
    shelf.put("reals", [0, 1, 0, 0], REAL, logit=-3.0)
    answer = shelf.inspect("fakes").looks_real
    assert (answer.no_traces_logit, [each.entry.id for each in answer.items]) == (-1.0, [planted])
    strict = ClassifierPolicy(synthetic_logit=2.0, no_traces_logit=-1.5, source="a test")
    assert shelf.inspect("fakes", policy=strict).looks_real.total == 0
    assert shelf.inspect("fakes", policy=None).looks_real is None


def test_near_duplicates_are_a_cluster_and_listed_up_to_the_limit(shelf: Shelf) -> None:
    ids = [shelf.put("fakes", np.eye(4)[axis], picture=1) for axis in range(4)]
    (cluster,) = shelf.inspect("fakes", limit=3).clusters.items
    assert (cluster.size, [entry.id for entry in cluster.entries]) == (4, ids[:3])


def test_a_quarantined_entry_leaves_the_inspection_and_comes_back_as_a_new_one(
    shelf: Shelf,
) -> None:
    first, second = (shelf.put("fakes", np.eye(4)[axis], picture=1) for axis in range(2))
    answer = put_into_quarantine(shelf.database, first, "a photograph")
    assert (answer.entry.id, answer.reason) == (first, "a photograph")
    assert shelf.inspect("fakes").clusters.total == 0
    (listed,) = quarantine_page(shelf.database, "fakes", None, 10).entries
    assert listed == answer
    released = release(shelf.database, first)
    assert (released.released, released.made) == (first, True)
    assert released.entry.id > second
    assert quarantine_page(shelf.database, "fakes", None, 10).entries == []
    assert shelf.inspect("fakes").clusters.items[0].size == 2


def test_a_release_makes_no_second_entry_of_an_image_that_the_corpus_has(shelf: Shelf) -> None:
    entry_id = shelf.put("fakes", [1, 0, 0, 0])
    put_into_quarantine(shelf.database, entry_id, "twice")
    assert release(shelf.database, entry_id).made
    with pytest.raises(NotQuarantined):
        release(shelf.database, entry_id)


def test_an_unknown_entry_can_be_neither_quarantined_nor_released(shelf: Shelf) -> None:
    with pytest.raises(UnknownEntry):
        put_into_quarantine(shelf.database, 12345, "a reason")
    with pytest.raises(UnknownEntry):
        release(shelf.database, 12345)


def test_pages_of_the_quarantine_join_to_all_of_it(shelf: Shelf) -> None:
    ids = [shelf.put("fakes", np.eye(4)[axis]) for axis in range(4)]
    for entry_id in ids[:3]:
        put_into_quarantine(shelf.database, entry_id, "a reason")
    seen, cursor = [], None
    for _ in range(3):
        page = quarantine_page(shelf.database, "fakes", cursor, 1)
        seen += [each.entry.id for each in page.entries]
        cursor = page.next_cursor
    assert (seen, cursor) == (ids[:3], None)
    with pytest.raises(InvalidRequest):
        quarantine_page(shelf.database, "fakes", "not a cursor", 1)
