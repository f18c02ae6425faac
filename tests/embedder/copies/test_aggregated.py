"""`lineup-copy`: what its vector survives, and that pictures without features are like no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors.numpy import load_file, save

from embedder.copies.aggregated import AggregatedDescriptor, Weights, aggregate
from embedder.copies.descriptors import DESCRIPTORS, LINEUP_COPY, CopyDescriptor
from embedder.copies.inputs import make_descriptor_pixels
from embedder.copies.opening import open_descriptor
from embedder.copies.pairing import mirror_descriptors
from embedder.demonstration.photographs import load_bundled_photographs
from embedder.errors import CorruptWeights, ModelUnavailable

pytest.importorskip("cv2")
SOURCE = DESCRIPTORS[LINEUP_COPY]


@pytest.fixture(scope="module")
def descriptor() -> CopyDescriptor:
    return open_descriptor(LINEUP_COPY)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [each.image for each in load_bundled_photographs()]


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[np.float32]]:
    assert SOURCE.path is not None
    return load_file(SOURCE.path)


def describe(descriptor: CopyDescriptor, pictures: list[Image.Image]) -> NDArray[np.float32]:
    pixels = [make_descriptor_pixels(each, descriptor.input) for each in pictures]
    return descriptor.describe(np.stack(pixels))


@pytest.mark.parametrize("name", ["mean", "axes", "words", "centre", "projection"])
def test_weights_that_do_not_fit_together_are_refused(
    tensors: dict[str, NDArray[np.float32]], name: str
) -> None:
    with pytest.raises(CorruptWeights, match="do not fit"):
        Weights.from_bytes(save({**tensors, name: tensors[name][:-1]}), "own")
    with pytest.raises(CorruptWeights, match="no weights"):
        Weights.from_bytes(save({key: tensors[key] for key in tensors if key != name}), "own")


def test_bytes_that_are_not_safetensors_are_refused() -> None:
    with pytest.raises(CorruptWeights, match="no weights"):
        Weights.from_bytes(b"\x80\x04anything", "own")


def test_another_file_under_its_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(SOURCE, sha256="0" * 64)
    monkeypatch.setattr("embedder.copies.opening.DESCRIPTORS", {LINEUP_COPY: other})
    with pytest.raises(CorruptWeights, match="has sha256"):
        open_descriptor(LINEUP_COPY)


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(SOURCE, runtime="onnxruntime", module="not_installed_anywhere")
    monkeypatch.setattr("embedder.copies.opening.DESCRIPTORS", {LINEUP_COPY: absent})
    with pytest.raises(ModelUnavailable, match="install the package"):
        open_descriptor(LINEUP_COPY)


def test_pixels_of_another_size_are_refused(descriptor: CopyDescriptor) -> None:
    with pytest.raises(ValueError, match="pixels must be uint8"):
        descriptor.describe(np.zeros((1, 8, 8, 3), np.uint8))


def test_the_file_is_small_and_as_pinned(descriptor: CopyDescriptor) -> None:
    path: Path | None = SOURCE.path
    assert path is not None
    assert path.stat().st_size == SOURCE.byte_size < 2_000_000
    assert descriptor.fingerprint == SOURCE.fingerprint
    assert descriptor.dimension == SOURCE.dimension
    assert isinstance(descriptor, AggregatedDescriptor)


def test_mirroring_twice_changes_nothing() -> None:
    descriptors = np.random.default_rng(0).integers(0, 256, (9, 128), np.uint8)
    assert not np.array_equal(mirror_descriptors(descriptors), descriptors)
    assert np.array_equal(mirror_descriptors(mirror_descriptors(descriptors)), descriptors)


def test_what_is_gathered_is_the_same_for_mirrored_descriptors(
    tensors: dict[str, NDArray[np.float32]],
) -> None:
    descriptors = np.random.default_rng(1).integers(0, 256, (40, 128), np.uint8)
    mean, axes, words = (tensors[key].astype(np.float32) for key in ("mean", "axes", "words"))
    plain = aggregate(descriptors, mean, axes, words)
    mirrored = aggregate(mirror_descriptors(descriptors), mean, axes, words)
    assert np.allclose(mirrored, plain, atol=1e-4)
    assert np.isclose(np.linalg.norm(plain), 1, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        ImageOps.flip,
        lambda image: image.rotate(90, expand=True),
        lambda image: ImageOps.expand(image, 60, "white"),
        lambda image: ImageOps.crop(image, image.width // 8),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["mirrored", "flipped", "turned", "bordered", "cropped", "grey"],
)
def test_an_edited_photograph_is_nearest_to_its_original(
    descriptor: CopyDescriptor,
    photographs: list[Image.Image],
    change: object,
) -> None:
    assert callable(change)
    originals = describe(descriptor, photographs)
    edited = describe(descriptor, [change(each) for each in photographs])
    similarity = edited @ originals.T  # (n, n)
    assert np.array_equal(similarity.argmax(axis=1), np.arange(len(photographs)))
    assert np.allclose(np.linalg.norm(edited, axis=1), 1, atol=1e-5)


def test_a_vector_does_not_depend_on_the_other_pictures(
    descriptor: CopyDescriptor, photographs: list[Image.Image]
) -> None:
    together = describe(descriptor, photographs[:3])
    alone = [describe(descriptor, [each])[0] for each in photographs[:3]]
    assert np.array_equal(together, np.stack(alone))


def test_pictures_without_features_are_near_to_themselves_alone(
    descriptor: CopyDescriptor, photographs: list[Image.Image]
) -> None:
    flat = [Image.new("RGB", (300, 200), (shade, shade, 90)) for shade in (0, 10, 128, 255)]
    flat.append(Image.new("RGB", (3, 3)))
    vectors = describe(descriptor, [*flat, *photographs])
    similarity = vectors @ vectors.T
    among = similarity[: len(flat)].copy()
    among[np.arange(len(flat)), np.arange(len(flat))] = 0
    assert np.abs(among).max() < 0.35  # 256 random numbers: a deviation of 0.06
    assert np.array_equal(describe(descriptor, flat), vectors[: len(flat)])
