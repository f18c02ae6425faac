"""A corpus inspected: contradictions, fakes that look real, hubs and clusters, from rows of SQL."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from index.errors import ForeignSpace, InspectionTooLarge, TruthDamaged, UnknownCorpus
from index.proof.inspection import inspect_corpus
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.quarantine import quarantine_entry
from index.truth.spaces import Space

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL


class Shelf:
    """Fills corpora with entries whose vector, logit and hash are given."""

    def __init__(self, database: Database, material: Any) -> None:
        self.database, self.material = database, material

    def put(
        self,
        corpus: str,
        name: object,
        vector: Any,
        kind: CorpusKind,
        logit: float = 0.0,
        hashed: int | None = None,
        **provenance: Any,
    ) -> int:
        bits = (
            None if hashed is None else PerceptualHash(np.random.default_rng(hashed).bytes(32), 90)
        )
        facts = ImageFacts(self.material.sha256(name), 10, 8, 8, "png", bits)
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, kind)
            new = NewEntry(facts, self.material.unit(vector), logit, Provenance(**provenance))
            (result,) = add_entries(conn, corpus, self.material.space, [new])
        return result.entry_id

    def inspect(self, corpus: str, **options: Any) -> Any:
        return inspect_corpus(self.database, self.material.space, corpus, -1.0, **options)


@pytest.fixture
def shelf(database: Database, material: Any) -> Shelf:
    return Shelf(database, material)


def around(axis: int, seed: int, spread: float = 0.1) -> Any:
    return np.eye(8)[axis] + spread * np.random.default_rng(seed).standard_normal(8)


def test_a_corpus_that_is_not_there_is_not_inspected(shelf: Shelf) -> None:
    with pytest.raises(UnknownCorpus):
        shelf.inspect("nowhere")
    with pytest.raises(UnknownCorpus):
        shelf.inspect("nowhere", max_comparisons=1)


def test_too_many_comparisons_are_refused_before_they_are_made(shelf: Shelf) -> None:
    for seed in range(3):
        shelf.put("fakes", seed, around(0, seed), FAKE)
    shelf.put("reals", "r", around(1, 9), REAL)
    with pytest.raises(InspectionTooLarge) as refused:
        shelf.inspect("fakes", max_comparisons=11)
    assert (refused.value.comparisons, refused.value.limit) == (12, 11)
    assert shelf.inspect("fakes", max_comparisons=12).embedded == 3


def test_a_space_with_other_facts_and_a_damaged_vector_are_refused(
    shelf: Shelf, material: Any
) -> None:
    shelf.put("fakes", 1, around(0, 1), FAKE)
    foreign = Space(material.space.fingerprint, "m", "0" * 64, "0" * 64, 8)
    with pytest.raises(ForeignSpace):
        inspect_corpus(shelf.database, foreign, "fakes", None)
    with shelf.database.write() as conn:
        conn.exec_driver_sql("UPDATE embeddings SET vector = substr(vector, 1, 8)")
    with pytest.raises(TruthDamaged):
        shelf.inspect("fakes")


def test_an_empty_corpus_has_nothing_wrong(shelf: Shelf) -> None:
    with shelf.database.write() as conn:
        ensure_corpus(conn, "fakes", FAKE)
    found = shelf.inspect("fakes")
    assert (found.entries, found.embedded, found.known_reals, found.known_fakes) == (0, 0, 0, 0)
    assert (found.contradictions, found.suspects, found.photographs, found.clusters) == (
        (),
        (),
        None,
        (),
    )
    assert found.within.hubs == ()


def test_pictures_of_one_hash_are_a_cluster_whatever_their_vectors(shelf: Shelf) -> None:
    pair = [shelf.put("fakes", f"p{n}", around(n, n), FAKE, hashed=1) for n in range(2)]
    three = [shelf.put("fakes", f"t{n}", around(n, n), FAKE, hashed=2) for n in range(3)]
    shelf.put("fakes", "alone", around(5, 5), FAKE, hashed=3)
    shelf.put("fakes", "unhashed", around(6, 6), FAKE)
    shelf.put("other", "elsewhere", around(7, 7), FAKE, hashed=3)
    found = shelf.inspect("fakes")
    assert found.clusters == (tuple(three), tuple(pair))
    assert (found.embedded, found.hashed, found.known_fakes) == (7, 6, 1)


def test_what_is_in_a_corpus_of_the_other_kind_too_is_a_contradiction_the_same_bytes_first(
    shelf: Shelf,
) -> None:
    near = shelf.put("fakes", "near", around(0, 1), FAKE, logit=-9.0, hashed=1)
    same = shelf.put("fakes", "same", around(1, 2), FAKE, logit=-9.0, hashed=2)
    shelf.put("fakes", "clean", around(0, 3), FAKE, hashed=3)
    photographs = [shelf.put("reals", f"r{n}", around(1, 4 + n), REAL, hashed=1) for n in range(2)]
    there = shelf.put("reals", "same", around(1, 2), REAL)
    found = shelf.inspect("fakes")
    assert [(c.entry_id, c.other_entry_id, c.identical, c.count) for c in found.contradictions] == [
        (same, there, True, 1),
        (near, photographs[0], False, 2),
    ]
    assert found.suspects == ()  # the same bytes look real from both sides too, and are named once
    back = shelf.inspect("reals")
    assert [(c.entry_id, c.other_entry_id, c.identical) for c in back.contradictions] == [
        (there, same, True),
        (photographs[0], near, False),
        (photographs[1], near, False),
    ]
    assert back.suspects is None
    with shelf.database.write() as conn:
        quarantine_entry(conn, same, "a photograph")
    assert [c.entry_id for c in shelf.inspect("fakes").contradictions] == [near]


def test_photographs_among_known_fakes_are_found_from_both_sides(shelf: Shelf) -> None:
    for seed in range(6):
        shelf.put("fakes", f"f{seed}", around(0, seed), FAKE, logit=4.0)
        shelf.put("reals", f"r{seed}", around(1, 20 + seed), REAL, logit=-4.0)
    planted = shelf.put("fakes", "planted", around(1, 50), FAKE, logit=-4.0)
    shelf.put(
        "fakes", "like photographs, but synthetic by its logit", around(1, 51), FAKE, logit=4.0
    )
    shelf.put("fakes", "no traces by its logit, but like fakes", around(0, 52), FAKE, logit=-4.0)
    shelf.put(
        "fakes",
        "made of a photograph",
        around(2, 60),
        FAKE,
        logit=-4.0,
        extra={"source_image": "x"},
    )
    shelf.put("reals", "that photograph", around(2, 61), REAL, extra={"source_image": "x"})
    (suspect,) = shelf.inspect("fakes").suspects
    assert suspect.entry_id == planted
    assert suspect.real.cosine_similarity > suspect.fake.cosine_similarity
    assert inspect_corpus(shelf.database, shelf.material.space, "fakes", None).suspects is None
    shelf.put("more", "a known fake of another corpus that is nearer", around(1, 50, 0.1), FAKE)
    assert shelf.inspect("fakes").suspects == ()


def test_an_entry_that_is_nearest_to_too_many_is_named_with_its_counts(shelf: Shelf) -> None:
    hub = shelf.put("fakes", "hub", np.ones(8), FAKE)
    for axis, seed in combinations(range(8), 2):
        shelf.put("fakes", (axis, seed), -around(axis, seed, 0.01), FAKE)
    for seed in range(40):
        shelf.put("reals", f"r{seed}", 1 + 0.1 * around(0, 100 + seed, 1.0), REAL)
    found = shelf.inspect("fakes")
    (named,) = found.photographs.hubs
    assert (named.entry_id, named.count) == (hub, 40)
    assert found.photographs.pictures == 40
    assert found.photographs.expected == pytest.approx(40 / 29)
    assert found.within.pictures == 29
    assert hub not in [each.entry_id for each in found.within.hubs]
