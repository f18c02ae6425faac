import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.calibration.copies import rate_of_bits
from index.calibration.copy_distances import (
    FURTHEST,
    ViewedImages,
    find_distances,
    find_near_duplicates,
    find_nearest_entries,
    fit_band,
    gather_views,
)
from index.copies import Symmetry, View, ViewHash
from index.truth.perceptual import MAX_HAMMING_DISTANCE, PerceptualHash

few = settings(settings.get_profile("index"), max_examples=25)


def flip(bits: np.ndarray, places: np.ndarray) -> np.ndarray:
    flags = np.unpackbits(bits, axis=-1)
    flags[..., places] ^= 1
    return np.packbits(flags, axis=-1)


def draw_bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, (*shape, 32)).astype(np.uint8)


def draw_clustered(rng: np.random.Generator, count: int, kinds: int, flipped: float) -> np.ndarray:
    """Hashes around `kinds` motifs, of which each has a share of the bits flipped."""
    motifs = rng.random((kinds, 256)) < 0.5
    chosen = motifs[rng.integers(0, kinds, count)]
    return np.packbits(chosen ^ (rng.random((count, 256)) < flipped), axis=1)


def viewed(bits: np.ndarray, sources: np.ndarray | None = None) -> ViewedImages:
    count, views = bits.shape[:2]
    return ViewedImages(
        bits.reshape(-1, 32),
        np.repeat(np.arange(count), views),
        np.arange(count) if sources is None else sources,
    )


def count_bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.unpackbits(one ^ other, axis=-1).sum(axis=-1)


def test_an_image_without_a_reliable_hash_has_no_neighbour() -> None:
    rng = np.random.default_rng(0)
    entry = draw_bits(rng, 1)
    flat = ViewHash(View(), PerceptualHash(entry[0].tobytes(), 20))
    images = gather_views([[flat], []], np.array([0, 1]))
    assert len(images.bits) == 0
    found = find_distances(images, entry, np.array([9]))
    assert found.smallest.tolist() == [FURTHEST] * 2
    assert not found.is_near_duplicate.any()


def test_the_nearest_view_counts_and_an_entry_once() -> None:
    rng = np.random.default_rng(1)
    entry = draw_bits(rng, 1)[0]
    far, near = flip(entry, np.arange(60)), flip(entry, np.arange(40))
    views = [
        ViewHash(View(symmetry), PerceptualHash(bits.tobytes(), 100))
        for symmetry, bits in ((Symmetry.UPRIGHT, far), (Symmetry.MIRRORED, near))
    ]
    found = find_distances(gather_views([views], np.array([0])), entry[None], np.array([9]))
    assert found.smallest.tolist() == [40]
    assert found.count_within(np.array([38, 40, 70])).tolist() == [[0, 1, 1]]


def test_one_picture_and_one_photograph_are_left_out() -> None:
    rng = np.random.default_rng(2)
    entries = draw_bits(rng, 3)
    image = np.stack(
        [
            flip(entries[0], np.arange(MAX_HAMMING_DISTANCE)),  # the same picture
            flip(entries[1], np.arange(50)),  # of the same photograph
            flip(entries[2], np.arange(70)),
        ]
    )[None]
    found = find_distances(viewed(image, np.array([7])), entries, np.array([1, 7, 2]))
    assert found.smallest.tolist() == [70]
    assert found.is_near_duplicate.tolist() == [True]


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 40), st.integers(1, 3))
def test_distances_are_those_of_counting_bits(
    seed: int, images: int, entries: int, views: int
) -> None:
    rng = np.random.default_rng(seed)
    motif = draw_bits(rng, 1)
    own, theirs = (
        np.packbits(np.unpackbits(motif) ^ (rng.random((count, 256)) < share), axis=1)
        for count, share in ((images * views, 0.1), (entries, 0.1))
    )
    own = own.reshape(images, views, 32)
    every = count_bits(own[:, :, None], theirs[None, None]).min(axis=1)  # (images, entries)
    allowed = np.where(every > MAX_HAMMING_DISTANCE, every, FURTHEST)
    found = find_distances(viewed(own), theirs, np.arange(entries) + 1000)
    assert found.smallest.tolist() == np.minimum(allowed.min(axis=1), FURTHEST).tolist()
    assert found.is_near_duplicate.tolist() == (every <= MAX_HAMMING_DISTANCE).any(axis=1).tolist()
    for bits in (40, 50, 97):
        within = ((every > MAX_HAMMING_DISTANCE) & (every <= bits)).sum(axis=1)
        assert found.count_within(np.array([bits]))[:, 0].tolist() == within.tolist()


@pytest.mark.parametrize(("kinds", "flipped"), [(1, 0.22), (40, 0.19)])
def test_the_rate_in_a_larger_corpus_is_foretold(kinds: int, flipped: float) -> None:
    # Entries and images of the same few motifs, as portraits are: from a tenth of the entries to
    # all of them, at 2, 5 and 10 times.
    rng = np.random.default_rng(5)
    hashes = draw_clustered(rng, 20_000 + 2_000, kinds, flipped)
    entries, images = hashes[:20_000], viewed(hashes[20_000:, None])
    some, rest = viewed(hashes[20_000:20_500, None]), viewed(hashes[20_500:, None])
    assert len(images) == len(some) + len(rest)
    measured = find_distances(some, entries[:2000], np.arange(2000) + 10_000)
    curve = fit_band(measured, some.sources, compared=2000, corpus_size=2000)
    for factor in (1, 2, 5, 10):
        held_out = find_distances(rest, entries[: 2000 * factor], np.arange(2000 * factor) + 10_000)
        for bits in (52, 56, 60):
            truth = (held_out.smallest <= bits).mean()
            there = rate_of_bits(curve, bits, 2000 * factor)
            error = 2 * np.sqrt(truth * (1 - truth) / len(rest))
            assert there.low - error <= truth <= there.high + error
            if truth * len(rest) >= 20:
                assert 0.4 < there.estimate / truth < 2.5


def test_candidates_are_the_nearest_entries_of_other_pictures_each_once() -> None:
    rng = np.random.default_rng(6)
    entries = draw_bits(rng, 30)
    motif = draw_bits(rng, 1)[0]
    for place, bits in ((4, 20), (7, 40), (11, 44), (20, 60), (25, 64)):
        entries[place] = flip(motif, np.arange(bits))
    sources = np.arange(30) + 100
    sources[7] = 1  # of the photograph that is looked up
    views = np.stack([motif, flip(motif, np.arange(2)), draw_bits(rng, 1)[0]])[None]
    images = viewed(np.concatenate([views, draw_bits(rng, 1, 3)]), np.array([1, 2]))
    nearest, _ = find_nearest_entries(images, entries, sources, 3)
    assert nearest.tolist() == [11, 20, 25]  # 4 is a near duplicate
    assert [each.tolist() for each in find_near_duplicates(images, entries)] == [[4], []]
    assert len(find_nearest_entries(images, entries, sources, 100)[0]) == 28
    nothing = find_nearest_entries(images, entries[:0], sources[:0], 3)
    assert [len(each) for each in nothing] == [0, 0]
