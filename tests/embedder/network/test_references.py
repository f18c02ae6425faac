"""The reference vectors that travel with a model: the shipped file, and what a file must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedder.errors import InvalidReferences, UnsafeWeights
from embedder.network.embed import Embedder
from embedder.network.references import (
    FORMAT,
    REFERENCES_FILE,
    ReferenceVectors,
    find_references,
    read_references,
)
from embedder.network.registry import MODELS, get_builtin_directory
from embedder.network.weight_files import compute_sha256
from embedder.pictures.delivery import Condition

SPACE = "f" * 64
N, D = 3, 8


def unit_vectors(*shape: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write(path: Path, about: dict[str, str] | None = None, **tensors: Any) -> Path:
    """Write three photographs after two deliveries; arguments replace parts of the file."""
    whole = {
        "vectors": unit_vectors(N, 2, D),
        "logits": np.zeros((N, 2), np.float32),
        "hashes": np.zeros((N, 32), np.uint8),
        "hash_qualities": np.full(N, 100, np.uint8),
        "collections": np.array([0, 1, 1], np.int32),
    } | tensors
    stated = {
        "format": FORMAT,
        "space": SPACE,
        "deliveries": json.dumps(["as_is", "jpeg75"]),
        "collections": json.dumps(
            [{"name": "camera", "description": "a"}, {"name": "phone", "description": "b"}]
        ),
    } | (about or {})
    kept = {name: array for name, array in whole.items() if array is not None}
    save_file(kept, path, metadata=stated)
    return path


@pytest.mark.parametrize(
    ("about", "tensors", "message"),
    [
        ({"format": "lineup-references-9"}, {}, f"not of the format {FORMAT}"),
        ({}, {"logits": None}, "without logits"),
        ({"space": "e" * 64}, {}, "not of this model's"),
        ({"deliveries": '["as_fax"]'}, {}, "metadata cannot be read"),
        ({"collections": '[{"name": "camera"}]'}, {}, "metadata cannot be read"),
        ({"deliveries": '["jpeg75", "as_is"]'}, {}, "as_is first"),
        ({"deliveries": '["as_is", "as_is"]'}, {}, "each delivery once"),
        ({}, {"vectors": unit_vectors(N, 2, D + 1)}, r"vectors has the shape \(3, 2, 9\)"),
        ({}, {"vectors": 2 * unit_vectors(N, 2, D)}, "is wrong"),
        ({}, {"logits": np.full((N, 2), np.nan, np.float32)}, "is wrong"),
        ({}, {"collections": np.array([0, 1, 2], np.int32)}, "is wrong"),
        ({}, {"hashes": np.zeros((N, 31), np.uint8)}, "hashes has the shape"),
    ],
)
def test_a_file_that_is_not_of_this_model_is_refused(
    tmp_path: Path, about: dict[str, str], tensors: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / REFERENCES_FILE, about, **tensors)

    with pytest.raises(InvalidReferences, match=message):
        read_references(path, SPACE, D)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / REFERENCES_FILE)
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(InvalidReferences, match="not a complete safetensors file"):
        read_references(path, SPACE, D)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / REFERENCES_FILE
    path.write_bytes(b"\x80\x04" + bytes(64))

    with pytest.raises(UnsafeWeights):
        read_references(path, SPACE, D)


def test_a_file_with_another_digest_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / REFERENCES_FILE)

    with pytest.raises(InvalidReferences, match="sha256"):
        read_references(path, SPACE, D, "0" * 64)


def test_a_folder_without_the_file_has_no_references(tmp_path: Path) -> None:
    assert find_references(tmp_path, SPACE, D) is None


def test_float16_is_widened_and_normalised(tmp_path: Path) -> None:
    exact = unit_vectors(N, 2, D)
    path = write(tmp_path / REFERENCES_FILE, vectors=exact.astype(np.float16))

    found = find_references(tmp_path, SPACE, D, compute_sha256(path))

    assert found is not None
    assert found.vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(found.vectors, axis=2) - 1).max() < 1e-6
    assert np.abs((found.vectors * exact).sum(axis=2) - 1).max() < 1e-6
    assert [each.name for each in found.collections] == ["camera", "phone"]
    assert found.deliveries == (Condition.AS_IS, Condition.JPEG75)


@pytest.fixture(scope="module")
def shipped() -> ReferenceVectors:
    found = Embedder.load("builtin", device="cpu", precision="float32").references
    assert found is not None
    return found


def test_the_shipped_vectors_belong_to_the_shipped_weights_and_are_pinned(
    shipped: ReferenceVectors,
) -> None:
    """Loading compares the space; a new model needs new vectors."""
    assert shipped.sha256 == MODELS["builtin"].references_sha256
    assert shipped.sha256 == compute_sha256(get_builtin_directory() / REFERENCES_FILE)


def test_the_shipped_photographs_are_a_few_hundred_after_every_delivery(
    shipped: ReferenceVectors,
) -> None:
    assert shipped.deliveries == tuple(Condition)
    assert len(shipped) >= 250
    assert len(shipped.collections) == 10
    assert np.bincount(shipped.collection_numbers).max() < 0.25 * len(shipped)
    kept = [(shipped.vectors[:, 0] * shipped.vectors[:, k]).sum(axis=1) for k in range(1, 7)]
    assert all(np.median(each) < 0.9999 for each in kept)  # each delivery changes photographs


def test_no_shipped_photograph_is_there_twice(shipped: ReferenceVectors) -> None:
    reliable = shipped.hashes[shipped.hash_qualities >= 50]
    bits = np.unpackbits(reliable, axis=1).astype(np.int16)  # (n, 256)
    distances = (bits[:, None] != bits[None]).sum(axis=2)
    np.fill_diagonal(distances, 256)

    assert distances.min() > 31


def test_a_model_with_another_model_s_references_is_refused(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        (tmp_path / name).symlink_to(get_builtin_directory() / name)
    write(tmp_path / REFERENCES_FILE)

    with pytest.raises(InvalidReferences, match="not of this model's"):
        Embedder.load(tmp_path, device="cpu", precision="float32")
