"""Marks behave as sets of positions."""

from weakref import ref

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.vectors.marks import Marks

sizes = st.integers(0, 40)


def marks_of(size: int, positions: set[int]) -> Marks:
    marks = np.zeros(size, np.bool_)
    marks[sorted(positions)] = True
    return Marks(marks)


@st.composite
def subsets(draw: st.DrawFn, count: int = 2) -> tuple[int, list[set[int]]]:
    size = draw(sizes)
    positions = st.sets(st.integers(0, max(size - 1, 0))) if size else st.just(set())
    return size, [draw(positions) for _ in range(count)]


@settings(derandomize=True, deadline=None)
@given(subsets())
def test_marks_are_a_set_of_positions(drawn: tuple[int, list[set[int]]]) -> None:
    size, (one, other) = drawn
    marks = marks_of(size, one)
    assert marks.count == len(one)
    assert marks.positions.tolist() == sorted(one)
    members = marks_of(size, other)
    assert marks.among(members).positions.tolist() == sorted(one & other)
    assert marks.among(members) is marks.among(members)
    assert marks.among(members).within is marks
    assert marks.within is marks
    assert marks.without(np.array(sorted(other), np.int64)).positions.tolist() == sorted(
        one - other
    )
    assert marks.positions.tolist() == sorted(one)  # unchanged by the operations


@settings(derandomize=True, deadline=None)
@given(subsets(1), st.integers(0, 20))
def test_extended_marks_keep_theirs_and_mark_every_new_position(
    drawn: tuple[int, list[set[int]]], more: int
) -> None:
    size, (one,) = drawn
    extended = marks_of(size, one).extend(more)
    assert extended.positions.tolist() == sorted(one) + list(range(size, size + more))
    assert len(extended.marks) == size + more


@settings(derandomize=True, deadline=None)
@given(subsets(1))
def test_packed_bits_are_the_marks_lowest_bit_first(drawn: tuple[int, list[set[int]]]) -> None:
    size, (one,) = drawn
    packed = marks_of(size, one).packed
    assert len(packed) == -(-size // 8)
    bits = {
        8 * byte + bit for byte in range(len(packed)) for bit in range(8) if packed[byte] >> bit & 1
    }
    assert bits == one


def test_marks_on_all_positions() -> None:
    assert Marks.all_of(3).positions.tolist() == [0, 1, 2]
    assert Marks.all_of(0).count == 0


def test_marks_among_members_do_not_outlive_either() -> None:
    marks, members = Marks.all_of(3), Marks.all_of(3)
    both = ref(marks.among(members))
    assert both() is marks.among(members)
    among = marks.among(members)
    del members
    assert both() is among
    del among
    assert both() is None
    left = marks.among(Marks.all_of(3))
    del marks
    assert left.within is left
