"""How far a difference of precision moves a similarity, and what is said of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.lookups.answers.precision import (
    describe_computed,
    find_angle,
    find_largest_movement,
    is_alike,
    state_precision,
)
from index.truth.computations import Computation, PrecisionCheck

EXACT = Computation("cpu", "float32")
BROAD = Computation("cpu", "bfloat16", PrecisionCheck(27, 0.999996, 0.012))
HALF = Computation("cuda", "float16", PrecisionCheck(27, 0.99968, 0.053))
UNMEASURED = Computation("cuda", "float16")


def sentences(
    probe: Computation | None, *corpora: Computation | None, nearest: float | None = 0.9912
) -> list[str]:
    computed = describe_computed(probe, corpora, nearest)
    stated = list(state_precision(computed, nearest))
    assert {topic for topic, _ in stated} <= {"precision"}
    return [words for _, words in stated]


def test_nothing_is_said_where_nothing_differs_or_no_embedding_was_computed() -> None:
    assert list(state_precision(None, 0.9)) == []
    assert sentences(EXACT) == []
    assert sentences(EXACT, EXACT) == []
    assert sentences(Computation("cuda:1", "float16", HALF.check), HALF) == []
    assert sentences(None, EXACT, HALF) == []  # the embedding was sent
    # float32 on a GPU: not visible in four digits
    gpu = Computation("cuda", "float32", PrecisionCheck(27, 1.0 - 1e-10, 1e-5))
    assert sentences(EXACT, gpu) == []


def test_the_movement_is_stated_with_the_figures_that_it_follows_from() -> None:
    assert sentences(BROAD, EXACT) == [
        "the probe was embedded in bfloat16 on cpu, these corpora in float32 on cpu, which may "
        "move the similarity 0.9912 by up to 0.0004 (compared with float32 on a CPU, bfloat16 on "
        "cpu: cosine at least 0.999996 and logit within 0.012 on 27 pictures)"
    ]
    (both,) = sentences(BROAD, BROAD, HALF, EXACT)
    assert "these corpora also in float16 on cuda and float32 on cpu" in both
    assert both.count("on 27 pictures") == 2


def test_what_nobody_recorded_or_measured_is_said() -> None:
    assert sentences(EXACT, EXACT, None) == [
        "the probe was embedded in float32 on cpu; nobody recorded it for some embeddings of these "
        "corpora, which an earlier release or another program made"
    ]
    assert sentences(EXACT, UNMEASURED) == [
        "the probe was embedded in float32 on cpu, these corpora in float16 on cuda; how far that "
        "moves similarities was not measured"
    ]
    (words,) = sentences(BROAD, EXACT, nearest=None)
    assert words.endswith("was not measured")


@pytest.mark.parametrize(
    ("probe", "corpora", "nearest", "expected"),
    [
        (EXACT, [], 0.9, 0.0),
        (HALF, [HALF], 0.9, 0.0),
        (None, [EXACT], 0.9, None),
        (EXACT, [EXACT, None], 0.9, None),
        (EXACT, [UNMEASURED], 0.9, None),
        (EXACT, [HALF], None, None),
        (EXACT, [HALF], 1.0, pytest.approx(1 - 0.99968)),
        (EXACT, [HALF], 0.0, pytest.approx(math.sqrt(1 - 0.99968**2))),
    ],
)
def test_the_movement_is_that_of_the_nearest_similarity(
    probe: Computation | None,
    corpora: list[Computation | None],
    nearest: float | None,
    expected: object,
) -> None:
    assert describe_computed(probe, corpora, nearest).similarity_moves_by == expected


def test_the_corpora_are_listed_with_what_is_known_of_them() -> None:
    computed = describe_computed(EXACT, [HALF, None], 0.9)

    assert computed.probe is not None
    assert (computed.probe.device, computed.probe.precision) == ("cpu", "float32")
    assert computed.probe.check is None
    half, unknown = computed.corpora
    assert half.check is not None
    assert half.check.smallest_cosine == 0.99968
    assert (unknown.device, unknown.precision, unknown.check) == (None, None, None)


def test_the_kind_of_a_device_and_the_precision_make_computations_alike() -> None:
    assert is_alike(Computation("cuda", "float16"), HALF._replace(device="cuda:1"))
    assert not is_alike(EXACT, BROAD)
    assert not is_alike(EXACT, Computation("cuda", "float32"))
    assert find_angle(UNMEASURED) is None
    assert find_angle(EXACT) == 0.0


UNIT = (
    st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    .map(np.array)
    .filter(lambda vector: float(np.linalg.norm(vector)) > 0.1)
)


@given(one=UNIT, other=UNIT, turn_one=UNIT, turn_other=UNIT, size=st.floats(0, 0.5))
def test_no_pair_of_turned_vectors_moves_further(
    one: np.ndarray, other: np.ndarray, turn_one: np.ndarray, turn_other: np.ndarray, size: float
) -> None:
    """Turn both vectors by at most an angle each, and compare their similarities."""
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    turned = [vector + size * turn for vector, turn in ((one, turn_one), (other, turn_other))]
    if any(np.linalg.norm(each) < 0.1 for each in turned):
        return
    turned = [each / np.linalg.norm(each) for each in turned]
    angles = [
        math.acos(min(max(float(before @ after), -1.0), 1.0))
        for before, after in zip((one, other), turned, strict=True)
    ]
    moved = abs(float(turned[0] @ turned[1]) - float(one @ other))
    bound = find_largest_movement(float(turned[0] @ turned[1]), sum(angles))
    assert moved <= bound + 1e-7
