from itertools import combinations, product
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.others import NOTHING, BlockShape, SamePictures, find_nearest
from index.calibration.population import Population
from index.truth.perceptual import PerceptualHash, near_duplicate

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
