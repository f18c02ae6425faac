from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson, skew

from index.calibration.others import BlockShape, Pairs, compare_both_ways
from index.errors import ForeignSpace, InspectionTooLarge, TruthDamaged, UnknownCorpus
from index.proof.hubs import HUB_CHANCE, Clusters, find_fakes_that_look_real, find_hubs
from index.proof.images import Images
from index.proof.inspection import inspect_corpus
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.database import Database
from index.truth.entries import NewEntry, add_entries
from index.truth.images import ImageFacts
from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash
from index.truth.provenance import Provenance
from index.truth.quarantine import quarantine_entry
from index.truth.spaces import Space

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
settings.register_profile("proof", derandomize=True, deadline=None, max_examples=40)


def random_images(
    rng: np.random.Generator, count: int, first: int = 0, dimension: int = 4
) -> Images:
    """Images of which some share a hash, a source or an image with others, and some have no
    hash.
    """
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return Images(
        entry_ids=np.arange(first, first + count),
        image_ids=rng.permutation(2 * count + 2)[:count].astype(np.int64),
        sources=rng.integers(0, 3 * count + 1, count),
        vectors=vectors,
        logits=rng.standard_normal(count),
        hash_bits=rng.integers(0, 5, (count, 1)).astype(np.uint8).repeat(32, axis=1),
        hashed=rng.random(count) < 0.6,
    )


def distance(one: Images, i: int, other: Images, j: int) -> int:
    return int(np.unpackbits(one.hash_bits[i] ^ other.hash_bits[j]).sum())


def are_near(one: Images, i: int, other: Images, j: int) -> bool:
    return bool(
        one.hashed[i] and other.hashed[j] and distance(one, i, other, j) <= MAX_HAMMING_DISTANCE
    )


@settings(settings.get_profile("proof"))
@given(
    seed=st.integers(0, 10_000), n=st.integers(0, 12), m=st.integers(0, 12), itself=st.booleans()
)
def test_a_comparison_in_blocks_is_that_of_every_pair(
    seed: int, n: int, m: int, itself: bool
) -> None:
    rng = np.random.default_rng(seed)
    images = random_images(rng, n)
    others = images if itself else random_images(rng, m, 100)
    found = compare_both_ways(images, others, block=BlockShape(3, 4))

    similarities = np.full((n, len(others)), -np.inf)
    for i in range(n):
        same = []
        for j in range(len(others)):
            identical = images.image_ids[i] == others.image_ids[j]
            near = are_near(images, i, others, j)
            if (identical or near) and not (itself and i == j):
                same.append(j)
            if not (identical or near or images.sources[i] == others.sources[j]):
                similarities[i, j] = images.vectors[i] @ others.vectors[j]
        assert found.same_counts[i] == len(same)
        assert (found.first_same[i] in same) if same else found.first_same[i] == -1
        twins = [j for j in same if images.image_ids[i] == others.image_ids[j]]
        assert found.identical[i] == bool(twins)
        assert not twins or found.first_same[i] in twins
    if not n or not len(others):
        return
    np.testing.assert_allclose(found.similarities, similarities.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.back_similarities, similarities.max(axis=0), atol=1e-6)
    assert found.positions.tolist() == [
        r.argmax() if np.isfinite(r.max()) else -1 for r in similarities
    ]
    assert found.back_positions.tolist() == [
        c.argmax() if np.isfinite(c.max()) else -1 for c in similarities.T
    ]


@settings(settings.get_profile("proof"))
@given(
    count=st.integers(0, 9),
    edges=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12),
)
def test_clusters_are_the_components_in_whatever_order_the_pairs_come(
    count: int, edges: list[tuple[int, int]]
) -> None:
    edges = [(a, b) for a, b in edges if a < count and b < count]
    clusters = Clusters(count)
    for a, b in edges:
        clusters.join(Pairs(np.array([a]), np.array([b])))
    groups = [{row} for row in range(count)]
    for a, b in edges:
        one = next(group for group in groups if a in group)
        other = next(group for group in groups if b in group)
        if one is not other:
            groups.remove(other)
            one |= other
    expected = sorted((sorted(g) for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))
    assert [members.tolist() for members in clusters.members()] == expected


def test_nothing_is_a_hub_where_every_entry_is_nearest_as_often() -> None:
    hubs = find_hubs(np.arange(100).repeat(3), 100)
    assert hubs.rows.tolist() == []
    assert (hubs.expected, hubs.skewness) == (3.0, 0.0)


@pytest.mark.parametrize(("nearest", "count"), [([], 0), ([], 5), ([-1, -1], 5)])
def test_nothing_is_a_hub_where_nothing_was_compared(nearest: list[int], count: int) -> None:
    hubs = find_hubs(np.array(nearest, np.int64), count)
    assert (hubs.rows.tolist(), hubs.limit, hubs.counts.tolist()) == ([], 0, [0] * count)


def test_hubs_come_most_often_nearest_first_with_the_skewness_of_the_counts() -> None:
    rng = np.random.default_rng(7)
    nearest = np.concatenate([rng.integers(0, 1000, 1000), np.full(40, 17), np.full(90, 3), [-1]])
    hubs = find_hubs(nearest, 1000)
    assert hubs.rows.tolist() == [3, 17]
    assert hubs.counts[3] >= 90
    assert hubs.expected == pytest.approx(1.13)
    assert hubs.skewness == pytest.approx(skew(hubs.counts))


@settings(settings.get_profile("proof"))
@given(seed=st.integers(0, 1000), count=st.integers(1, 400), pictures=st.integers(1, 2000))
def test_chance_makes_a_hub_in_one_corpus_of_a_hundred(
    seed: int, count: int, pictures: int
) -> None:
    nearest = np.random.default_rng(seed).integers(0, count, pictures)
    hubs = find_hubs(nearest, count)
    mean, deviation = hubs.counts.mean(), hubs.counts.std()
    assert count * poisson.sf(hubs.limit - 1, mean) <= HUB_CHANCE * (1 + 1e-9)
    assert hubs.limit > mean + 2 * deviation
    by_rules = [
        limit for limit in (hubs.limit - 1,) if count * poisson.sf(limit - 1, mean) <= HUB_CHANCE
    ]
    assert all(
        limit <= mean + 2 * deviation for limit in by_rules
    )  # it is the least that fits both rules
    assert set(hubs.rows) == set(np.flatnonzero(hubs.counts >= hubs.limit))


def test_a_fake_looks_real_only_from_both_sides() -> None:
    nothing = -np.inf
    rows = find_fakes_that_look_real(
        logits=np.array([-3.0, -3.0, 5.0, -3.0, -3.0, -1.0, -3.0]),
        authentic_logit=-1.0,
        to_real=np.array([0.9, 0.5, 0.9, nothing, 0.9, 0.8, 0.6], np.float32),
        to_fake=np.array([0.5, 0.5, 0.5, 0.5, nothing, 0.1, 0.7], np.float32),
    )
    assert rows.tolist() == [5, 0]


class Shelf:
    """Fills corpora with entries of which vector, logit and hash are told."""

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
        **told: Any,
    ) -> int:
        bits = (
            None if hashed is None else PerceptualHash(np.random.default_rng(hashed).bytes(32), 90)
        )
        facts = ImageFacts(self.material.sha256(name), 10, 8, 8, "png", bits)
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, kind)
            new = NewEntry(facts, self.material.unit(vector), logit, Provenance(**told))
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
    shelf.put("fakes", "authentic by its logit, but like fakes", around(0, 52), FAKE, logit=-4.0)
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
