"""Views are searched for as a loop over all hashes and all views would do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.pictures import views as embedder_views
from index.copies import AS_SEEN, Box, CopyEvidence, Symmetry, View, ViewHash
from index.truth.perceptual import MAX_HAMMING_DISTANCE, MIN_QUALITY, PerceptualHash
from index.view_hashes import (
    MAX_CANDIDATE_DISTANCE,
    MAX_KEY_DISTANCE,
    HashRows,
    ViewedHashes,
    Views,
    find_evidence,
    key_of,
    select_views,
)

MIRRORED, TURNED = View(Symmetry.MIRRORED), View(Symmetry.TURNED_90)
PART, KEPT = View(part=Box(0.0, 0.0, 0.5, 1.0)), View(kept=Box(0.1, 0.1, 0.9, 0.9))
EVERY_VIEW = (AS_SEEN, MIRRORED, TURNED, PART, KEPT, View(Symmetry.MIRRORED, PART.part))
# The frequencies of each bit, from the first: the highest one comes first.
FREQUENCIES = np.stack(np.divmod(np.arange(255, -1, -1), 16), axis=1) + 1  # (256, 2)


def pack(bits: np.ndarray) -> PerceptualHash:
    return PerceptualHash(np.packbits(bits).tobytes(), 100)


def draw(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 2, 256).astype(np.uint8)


def flip(bits: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    flipped = bits.copy()
    flipped[random.choice(256, count, replace=False)] ^= 1
    return flipped


def count_bits(one: PerceptualHash, other: PerceptualHash) -> int:
    return (int.from_bytes(one.bits) ^ int.from_bytes(other.bits)).bit_count()


def count_key_bits(one: PerceptualHash, other: PerceptualHash) -> int:
    rows = np.frombuffer(one.bits + other.bits, np.uint8).reshape(2, 32)
    bits = np.unpackbits(rows, axis=1)[:, (FREQUENCIES % 2 == 0).all(axis=1)]
    return int((bits[0] != bits[1]).sum())


def find_by_loop(
    stored: list[PerceptualHash], hashed: list[ViewHash], furthest: int
) -> dict[int, int]:
    """Return the smallest distance by place. The views of a group are keyed by its first one."""
    first: dict[object, PerceptualHash] = {}
    found: dict[int, int] = {}
    for view, own in ((each.view, each.hash) for each in hashed):
        diagonal = view.symmetry is Symmetry.TURNED_90
        key = first.setdefault((view.part, view.kept, diagonal), own)
        for place, other in enumerate(stored):
            bits = count_bits(own, other)
            is_same = view == AS_SEEN and bits <= MAX_HAMMING_DISTANCE
            if is_same or (bits <= furthest and count_key_bits(key, other) <= MAX_KEY_DISTANCE):
                found[place] = min(found.get(place, 257), bits)
    return found


def put(table: ViewedHashes, ids: list[int], hashes: list[PerceptualHash]) -> ViewedHashes:
    bits = np.frombuffer(b"".join(each.bits for each in hashes), np.uint8).reshape(-1, 32)
    return table.add(np.array(ids, np.int64), bits)


def find(table: ViewedHashes, hashed: PerceptualHash) -> list[tuple[int, int]]:
    """The ids within 60 bits of a probe as it is seen, and their distances."""
    ((ids, distances),) = table.find_many([Views(hashed, ())], 60)
    return list(zip(ids.tolist(), distances.tolist(), strict=True))


@settings(settings.get_profile("index"), max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.lists(st.sampled_from(EVERY_VIEW), unique=True),
    st.sampled_from([MAX_HAMMING_DISTANCE, 60, MAX_CANDIDATE_DISTANCE]),
)
def test_what_is_found_is_what_a_loop_over_all_pairs_finds(
    seed: int, count: int, chosen: list[View], furthest: int
) -> None:
    random = np.random.default_rng(seed)
    motifs = [draw(random) for _ in chosen] or [draw(random)]
    hashed = [ViewHash(view, pack(motif)) for view, motif in zip(chosen, motifs, strict=False)]
    near = [
        pack(flip(motifs[number % len(motifs)], int(random.integers(0, 110)), random))
        for number in range(count)
    ]
    seen = next((each.hash for each in hashed if each.view == AS_SEEN), None)
    if seen is not None:  # it is the first one wherever it stands
        hashed.sort(key=lambda each: each.view != AS_SEEN)
    views, table = Views(seen, hashed), ViewedHashes()
    for some in (near[: count // 2], near[count // 2 :]):
        start = 1000 - len(table)
        table = put(table, [start - place for place in range(len(some))], some)
    expected = find_by_loop(near, hashed, furthest)
    fewer = Views(hashed[0].hash, hashed[1:]) if hashed else views
    (ids, distances), *others = table.find_many([views, fewer, views], furthest)
    assert [each.tolist() for each in others[1]] == [ids.tolist(), distances.tolist()]
    alone = table.find_many([fewer], furthest)[0]
    assert [each.tolist() for each in others[0]] == [each.tolist() for each in alone]
    ordered = sorted((bits, 1000 - place) for place, bits in expected.items())
    assert list(zip(distances.tolist(), ids.tolist(), strict=True)) == ordered
    for place, one in enumerate(views.find_nearest(near)):
        if furthest == MAX_CANDIDATE_DISTANCE:
            assert (None if one is None else one.bits) == expected.get(place)


@settings(settings.get_profile("index"), max_examples=60)
@given(st.integers(0, 2**32))
def test_the_views_that_are_kept_find_the_same_again(seed: int) -> None:
    """The hashes of a turned and of a transposed picture differ a little, and so do their keys."""
    random = np.random.default_rng(seed)
    motif = draw(random)
    hashed = [ViewHash(AS_SEEN, pack(draw(random)))]
    hashed += [
        ViewHash(View(each), pack(flip(motif, int(random.integers(0, 20)), random)))
        for each in (Symmetry.TURNED_90, Symmetry.TURNED_270, Symmetry.TRANSPOSED)
    ]
    stored = [pack(flip(motif, int(random.integers(40, 80)), random)) for _ in range(12)]
    views = Views(hashed[0].hash, hashed)
    found = dict(enumerate(views.find_nearest(stored)))
    near = {place: each for place, each in found.items() if each is not None}
    kept = select_views(hashed, [each.view for each in near.values()])
    again = Views(hashed[0].hash, kept)
    nearest = again.find_nearest([stored[place] for place in near])
    assert dict(zip(near, nearest, strict=True)) == near


def test_an_id_has_the_hash_that_came_first() -> None:
    random = np.random.default_rng(1)
    motif = draw(random)
    hashes = [pack(flip(motif, count, random)) for count in (20, 20, 2)]
    table = put(ViewedHashes(), [5, 3, 5], hashes)
    assert put(table, [3, 5], hashes[1:]) is table
    assert find(table, pack(motif)) == [(3, 20), (5, 20)]


@pytest.mark.parametrize("sealed", [0, 2, 40])
def test_a_larger_set_leaves_the_smaller_one_as_it_is(sealed: int) -> None:
    random = np.random.default_rng(6)
    motif = draw(random)
    hashes = [pack(flip(motif, number % 30, random)) for number in range(700)]
    ids = [int(each) for each in random.permutation(700)]
    table = ViewedHashes(put(ViewedHashes(), ids[:sealed], hashes[:sealed]).sort())
    states = [(table, sealed)]
    for end in (sealed, sealed + 1, 300, 301, 700):
        table = put(table, ids[:end], hashes[:end])  # those that it has already are left out
        states.append((table, end))
    for state, end in states:
        distances = [
            bin(int.from_bytes(pack(motif).bits) ^ int.from_bytes(each.bits)).count("1")
            for each in hashes[:end]
        ]
        expected = sorted(zip(distances, ids[:end], strict=True))
        assert [(bits, number) for number, bits in find(state, pack(motif))] == expected
    moved = table.move_to(states[3][0].sort())
    assert find(moved, pack(motif)) == find(table, pack(motif))
    assert moved.sort().ids.tolist() == list(range(700))


def test_a_search_of_many_equal_hashes_goes_block_by_block() -> None:
    """More distances than are computed at a time, and more pairs."""
    motif = pack(draw(np.random.default_rng(7)))
    count = 3_000
    bits = np.tile(np.frombuffer(motif.bits, np.uint8), (count, 1))
    table = ViewedHashes(HashRows.of(np.arange(count), bits))
    views = Views(motif, [ViewHash(each, motif) for each in EVERY_VIEW])
    for ids, distances in table.find_many([views] * 3, MAX_CANDIDATE_DISTANCE):
        assert np.array_equal(ids, np.arange(count))
        assert not distances.any()


@pytest.mark.parametrize(("distance", "is_found"), [(31, True), (32, False)])
def test_a_near_duplicate_as_it_is_needs_no_key(distance: int, is_found: bool) -> None:
    """All bits that differ are those of the key, so that it says nothing of the two."""
    bits = np.zeros(256, np.uint8)
    other = bits.copy()
    other[np.flatnonzero((FREQUENCIES % 2 == 0).all(axis=1))[:distance]] = 1
    table = put(ViewedHashes(), [1], [pack(other)])
    assert len(find(table, pack(bits))) == is_found


def test_flat_views_are_not_compared() -> None:
    random = np.random.default_rng(2)
    motif = draw(random)
    flat = PerceptualHash(np.packbits(motif).tobytes(), MIN_QUALITY - 1)
    views = Views(flat, [ViewHash(MIRRORED, flat)])
    table = put(ViewedHashes(), [1], [flat])
    assert len(views) == 0
    assert len(table.find_many([views], 60)[0][0]) == 0
    assert views.find_nearest([pack(motif)])[0] is None
    around = Views(pack(motif), ()).find_nearest([flat, pack(motif), None])
    assert [each is None for each in around] == [True, False, True]


def test_the_key_is_the_coefficients_that_mirroring_leaves_as_they_are() -> None:
    marked = (FREQUENCIES % 2 == 0).all(axis=1).astype(np.uint8)
    assert marked.sum() == 64
    bits = np.packbits(np.stack([marked, 1 - marked]), axis=1)
    assert key_of(bits).tolist() == [[255] * 8, [0] * 8]


def test_of_equally_near_views_the_one_that_stands_first_is_named() -> None:
    motif = pack(draw(np.random.default_rng(3)))
    views = Views(motif, [ViewHash(each, motif) for each in EVERY_VIEW])
    nearest = views.find_nearest([motif])[0]
    assert nearest is not None
    assert (nearest.bits, nearest.view) == (0, AS_SEEN)


def test_a_near_duplicate_as_it_is_needs_no_explanation() -> None:
    random = np.random.default_rng(4)
    motif, turned = draw(random), draw(random)
    views = Views(pack(motif), [ViewHash(TURNED, pack(turned))])
    near = views.find_nearest([pack(flip(motif, 9, random))])[0]
    assert near is not None
    assert near.bits == 9
    assert find_evidence(near, None) is None
    assert find_evidence(None, None) is None
    evidence = find_evidence(views.find_nearest([pack(turned)])[0], 0.5)
    assert evidence == CopyEvidence(TURNED, 0, 0.5)


def test_the_decoders_know_the_same_symmetries() -> None:
    assert [each.value for each in embedder_views.Symmetry] == [each.value for each in Symmetry]
