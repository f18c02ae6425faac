"""Learning the weights of `lineup-copy`: from photographs and their edits to a file that loads."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageOps
from safetensors.numpy import save

from embedder.copies.aggregated import INPUT, Weights, extract, prepare
from embedder.copies.inputs import make_descriptor_pixels
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.training.copy_descriptor import Size, edit, learn

pytest.importorskip("cv2")


def test_what_is_learned_describes_pictures() -> None:
    prepare()
    random = np.random.default_rng(3)
    images = [each.image for each in load_bundled_photographs()]
    pixels = [make_descriptor_pixels(each, INPUT) for each in images]
    found = [extract(each) for each in pixels]
    edits = [extract(make_descriptor_pixels(edit(each, random), INPUT)) for each in images]
    weights = Weights.from_bytes(
        save(learn(found, list(enumerate(edits)), random, Size(16, 16, 32))), "learned"
    )
    assert weights.dimension == 32
    vectors = np.stack([weights.describe(each) for each in pixels])
    mirrored = [make_descriptor_pixels(ImageOps.mirror(each), INPUT) for each in images]
    similarity = np.stack([weights.describe(each) for each in mirrored]) @ vectors.T
    assert np.array_equal(similarity.argmax(axis=1), np.arange(len(images)))


def test_edits_are_pictures_of_every_size_and_the_same_for_one_seed() -> None:
    image = load_bundled_photographs()[0].image
    sizes = set()
    for seed in range(6):
        first, again = (edit(image.copy(), np.random.default_rng(seed)) for _ in range(2))
        assert first.mode == "RGB"
        assert np.array_equal(np.asarray(first), np.asarray(again))
        sizes.add(first.size)
    assert len(sizes) > 2
