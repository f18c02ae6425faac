from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.others import (
    NOTHING,
    BlockShape,
    Kinds,
    Pairs,
    SamePictures,
    compare_both_ways,
    find_nearest,
    join_nearest,
    spans,
)
from index.calibration.population import Population
from index.proof.images import Images
from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash, near_duplicate

DIMENSION = 6
# Pictures by their hashes: two of one picture, one just too far, one that is too flat to tell, and
# none.
HASHES = (
    PerceptualHash(bytes(32), 100),
    PerceptualHash(bytes(29) + b"\x7f\xff\xff\xff"[:3], 100),  # 23 bits from the first
    PerceptualHash(b"\xff\xff\xff\xff" + bytes(28), 100),  # 32 bits from it
    PerceptualHash(bytes(32), 10),
    None,
)
# Four entries of one half: norm 1, and products that are exact in float32, however they are summed.
VECTORS = tuple(product(combinations(range(DIMENSION), 4), product((-0.5, 0.5), repeat=4)))
images = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 6), st.sampled_from(HASHES), st.sampled_from(VECTORS)
    ),
    max_size=10,
)


def population(some: Any) -> Population:
    rows = np.zeros((len(some), DIMENSION), np.float32)
    for row, (_, _, _, (places, values)) in enumerate(some):
        rows[row, list(places)] = values
    return Population(
        image_ids=np.array([each[0] for each in some], np.int64),
        sources=np.array([each[1] for each in some], np.int64),
        vectors=rows,
        logits=np.zeros(len(some)),
        generators=(None,) * len(some),
        hashes=tuple(each[2] for each in some),
    )


def compared(probes: Population, members: Population, probe: int, member: int) -> bool:
    return not (
        probes.image_ids[probe] == members.image_ids[member]
        or probes.sources[probe] == members.sources[member]
        or near_duplicate(probes.hashes[probe], members.hashes[member])
    )


@settings(settings.get_profile("index"), max_examples=20)
@given(images, images, st.integers(1, 5))
def test_vectors_as_float16_are_compared_as_float32(
    some_probes: Any, some_members: Any, k: int
) -> None:
    probes, members = population(some_probes), population(some_members)
    whole = find_nearest(probes, members, SamePictures(members), k=k, thresholds=[0.25])
    halves = [replace(each, vectors=each.vectors.astype(np.float16)) for each in (probes, members)]
    found = find_nearest(*halves, SamePictures(halves[1]), k=k, thresholds=[0.25])
    np.testing.assert_array_equal(found.similarities, whole.similarities)
    np.testing.assert_array_equal(found.positions, whole.positions)
    np.testing.assert_array_equal(found.counts, whole.counts)


@settings(settings.get_profile("index"), max_examples=50)
@given(
    images,
    images,
    st.integers(1, 5),
    st.lists(st.sampled_from((-1.0, -0.5, 0.0, 0.25, 0.75, 1.0)), max_size=2),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_the_nearest_are_those_of_a_loop_over_all_pairs(
    some_probes: Any, some_members: Any, k: int, thresholds: list[float], rows: int, columns: int
) -> None:
    """However many are compared at a time."""
    probes, members = population(some_probes), population(some_members)
    found = find_nearest(
        probes,
        members,
        SamePictures(members),
        k=k,
        thresholds=thresholds,
        block=BlockShape(rows, columns),
    )
    assert found.similarities.shape == found.positions.shape == (len(probes), k)
    for probe in range(len(probes)):
        others = {
            member: float(probes.vectors[probe] @ members.vectors[member])
            for member in range(len(members))
            if compared(probes, members, probe, member)
        }
        best = sorted(others.values(), reverse=True)[:k]
        best += [NOTHING] * (k - len(best))
        assert found.similarities[probe].tolist() == best
        assert found.maxima[probe] == best[0]
        places = found.positions[probe].tolist()
        assert [NOTHING if place < 0 else others[place] for place in places] == best
        there = [place for place in places if place >= 0]
        assert there == sorted(set(there), key=lambda place: (-others[place], place))
        assert found.counts[probe].tolist() == [
            sum(s >= t for s in others.values()) for t in thresholds
        ]


@settings(settings.get_profile("index"), max_examples=30)
@given(images, images, st.lists(st.integers(0, 2), min_size=20, max_size=20), st.integers(1, 6))
def test_the_nearest_of_another_kind_is_that_of_a_loop_over_all_pairs(
    some_probes: Any, some_members: Any, numbers: list[int], size: int
) -> None:
    probes, members = population(some_probes), population(some_members)
    kinds = Kinds(
        np.array(numbers[: len(probes)], np.int64),
        np.array(numbers[::-1][: len(members)], np.int64),
    )
    found = find_nearest(
        probes, members, SamePictures(members), kinds=kinds, block=BlockShape(size, size)
    )
    assert found.elsewhere is not None
    for probe in range(len(probes)):
        others = [
            float(probes.vectors[probe] @ members.vectors[member])
            for member in range(len(members))
            if compared(probes, members, probe, member)
            and kinds.probes[probe] != kinds.members[member]
        ]
        assert found.elsewhere[probe] == max(others, default=NOTHING)


def test_what_was_found_for_some_probes_is_taken_and_joined() -> None:
    some = population([(at, at, None, VECTORS[at]) for at in range(6)])
    same, kinds = SamePictures(some), Kinds(np.arange(6) % 2, np.arange(6) % 2)
    whole = find_nearest(some, some, same, k=2, thresholds=[0.25], kinds=kinds)
    parts = [whole.taking(np.array(rows, np.int64)) for rows in ([0, 1], [], [2, 3, 4, 5])]
    again = join_nearest(parts)
    for name in ("similarities", "positions", "counts", "elsewhere"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    alone = find_nearest(some, some, same, k=2, thresholds=[0.25])
    assert join_nearest([whole, alone]).elsewhere is None


def test_a_threshold_a_hair_over_a_similarity_is_not_reached_by_it() -> None:
    """Vectors are float32, a threshold may lie between two of them."""
    one = ((0, 1, 2, 3), (0.5, 0.5, 0.5, 0.5))
    other = ((0, 1, 2, 4), (0.5, 0.5, -0.5, 0.5))  # 0.25
    probes, members = population([(0, 0, None, one)]), population([(1, 1, None, other)])
    found = find_nearest(
        probes, members, SamePictures(members), thresholds=[0.25 - 1e-12, 0.25, 0.25 + 1e-12]
    )
    assert found.counts.tolist() == [[1, 1, 0]]


def test_among_nobody_nothing_is_near() -> None:
    one = population([(0, 0, None, (range(4), (0.5,) * 4))])
    nobody = population([])
    found = find_nearest(one, nobody, SamePictures(nobody), k=2, thresholds=[0.0])
    assert found.similarities.tolist() == [[NOTHING, NOTHING]]
    assert found.positions.tolist() == [[-1, -1]]
    assert found.counts.tolist() == [[0]]
    assert len(find_nearest(nobody, one, SamePictures(one)).maxima) == 0


def test_more_probes_than_a_block_are_the_same_as_one_at_a_time() -> None:
    random = np.random.default_rng(0)
    drawn = random.integers(len(VECTORS), size=300)
    many = population(
        [(number, number, None, VECTORS[place]) for number, place in enumerate(drawn)]
    )
    others = SamePictures(many)
    together = find_nearest(many, many, others, thresholds=[0.5])
    for row in (0, 255, 256, 299):
        alone = find_nearest(many.taking(np.array([row])), many, others, thresholds=[0.5])
        assert alone.maxima[0] == together.maxima[row]
        assert alone.counts[0] == together.counts[row]


def test_delivered_images_keep_all_but_vector_and_logit() -> None:
    three = population([(i, i + 10, HASHES[0], (range(4), (0.5,) * 4)) for i in (4, 2, 9)])
    changed = three.as_delivered(
        np.array([2, 9]), -np.eye(2, DIMENSION, dtype=np.float32), np.array([1.0, 2.0])
    )
    assert changed.image_ids.tolist() == [2, 9]
    assert changed.sources.tolist() == [12, 19]
    assert changed.hashes == three.hashes[1:]
    assert changed.logits.tolist() == [1.0, 2.0]
    assert changed.vectors.tolist() == (-np.eye(2, DIMENSION)).tolist()
    backwards = three.taking(np.array([2, 1, 0])).as_delivered(
        np.array([2, 9]), -np.eye(2, DIMENSION, dtype=np.float32), np.array([1.0, 2.0])
    )
    assert backwards.logits.tolist() == [2.0, 1.0]


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


@settings(settings.get_profile("index"), max_examples=40)
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


def test_a_collection_compared_with_itself_is_compared_with_a_copy_of_itself() -> None:
    """Half of the products give the same answer as all of them."""
    one = random_images(np.random.default_rng(3), 40)
    copy = replace(one, entry_ids=one.entry_ids.copy())
    itself = compare_both_ways(one, one, block=BlockShape(7, 5))
    both = compare_both_ways(one, copy, block=BlockShape(7, 5))
    np.testing.assert_allclose(itself.similarities, both.similarities, atol=1e-6)
    assert itself.positions.tolist() == both.positions.tolist()
    assert itself.back_positions.tolist() == itself.positions.tolist()
    assert both.identical.all()  # each is its own copy there
    assert not itself.identical.any()
    assert (both.same_counts - itself.same_counts == 1).all()


def test_every_pair_of_near_duplicates_is_visited_once_in_each_direction() -> None:
    one = random_images(np.random.default_rng(5), 30)
    seen: list[tuple[int, int]] = []

    def visit(pairs: Pairs) -> None:
        seen.extend(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True))

    compare_both_ways(one, one, visit, block=BlockShape(4, 4))
    expected = {(i, j) for i in range(30) for j in range(30) if are_near(one, i, one, j)}
    assert len(seen) == len(set(seen))
    assert set(seen) == expected
    assert any(i != j for i, j in expected)


@pytest.mark.parametrize("block", [BlockShape(1, 1), BlockShape(3, 100), BlockShape(100, 2)])
def test_the_shape_of_a_block_changes_nothing(block: BlockShape) -> None:
    rng = np.random.default_rng(8)
    one, other = random_images(rng, 25), random_images(rng, 17, 100)
    small, large = compare_both_ways(one, other, block=block), compare_both_ways(one, other)
    for name in ("positions", "back_positions", "same_counts", "first_same", "identical"):
        assert getattr(small, name).tolist() == getattr(large, name).tolist()
    np.testing.assert_allclose(small.similarities, large.similarities, atol=1e-6)


def test_the_nearest_of_both_questions_agree() -> None:
    rng = np.random.default_rng(9)
    one, other = random_images(rng, 30), random_images(rng, 20, 100)
    nearest = find_nearest(one, other, SamePictures(other), k=3)
    both = compare_both_ways(one, other)
    assert nearest.positions[:, 0].tolist() == both.positions.tolist()
    np.testing.assert_allclose(nearest.maxima, both.similarities, atol=1e-6)


@settings(settings.get_profile("index"), max_examples=15)
@given(seed=st.integers(0, 9999), n=st.integers(1, 12), m=st.integers(1, 12))
def test_pairs_that_are_excluded_are_the_three_kinds(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = random_images(rng, n), random_images(rng, m, 100)
    same, rows = SamePictures(other), slice(n // 3, n)

    def listed(pairs: Pairs) -> set[tuple[int, int]]:
        return set(zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True))

    all_pairs = [(i, j) for i in range(rows.start, n) for j in range(m)]
    identical = {(i, j) for i, j in all_pairs if one.image_ids[i] == other.image_ids[j]}
    kin = {(i, j) for i, j in all_pairs if one.sources[i] == other.sources[j]}
    near = {(i, j) for i, j in all_pairs if are_near(one, i, other, j)}
    assert listed(same.identical(one, rows)) == identical
    assert listed(same.of_one_photograph(one, rows)) == kin
    assert listed(same.near_duplicates(one, rows)) == near
    assert listed(same.excluded(one, rows)) == identical | kin | near


@pytest.mark.parametrize(
    ("count", "size", "first", "expected"),
    [
        (0, 4, 0, []),
        (4, 4, 0, [(0, 4)]),
        (9, 4, 0, [(0, 4), (4, 8), (8, 9)]),
        (9, 4, 4, [(4, 8), (8, 9)]),
        (3, 4, 5, []),
    ],
)
def test_spans_cover_every_row_once(
    count: int, size: int, first: int, expected: list[tuple[int, int]]
) -> None:
    assert [(each.start, each.stop) for each in spans(count, size, first)] == expected


def test_pairs_within_a_block_are_counted_from_its_corner() -> None:
    pairs = Pairs(np.array([0, 3, 3, 5]), np.array([9, 2, 7, 6]))
    rows, columns = pairs.within(slice(2, 5), slice(5, 8))
    assert (rows.tolist(), columns.tolist()) == ([1], [2])
