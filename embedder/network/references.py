"""Vectors of photographs that travel with a model, in one file beside its weights.

A calibration needs known-real images. These give a first one before an installation has any, and
join its own. The file holds no images: per photograph its vector and logit after each kind of
delivery, its perceptual hash (so that a probe that is one of them is not compared with itself) and
its collection. Any model folder may have such a file; docs/models.md describes the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from embedder.errors import InvalidReferences
from embedder.network.weight_files import check_is_safetensors, compute_sha256
from embedder.pictures.delivery import Condition

REFERENCES_FILE: Final = "references.safetensors"
# In the file's metadata, under the key `format`.
FORMAT: Final = "lineup-references-1"
TENSORS: Final = ("vectors", "logits", "hashes", "hash_qualities", "collections")
HASH_BYTES: Final = 32
# Float16 rounds a vector's norm by less than this; a vector of another space is further off.
_NORM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ReferenceCollection:
    """A collection of photographs: its name, and where they come from."""

    name: str
    description: str


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceVectors:
    """n photographs after k kinds of delivery, `as_is` first.

    `vectors` (n, k, d) float32 have L2 norm 1, `logits` are (n, k), `hashes` (n, 32) are PDQ bits
    of the photographs as they are and `hash_qualities` (n,) lie in 0 to 100. `collection_numbers`
    (n,) count in `collections`. `sha256` is that of the file.
    """

    vectors: NDArray[np.float32]
    logits: NDArray[np.float32]
    hashes: NDArray[np.uint8]
    hash_qualities: NDArray[np.uint8]
    collection_numbers: NDArray[np.int64]
    collections: tuple[ReferenceCollection, ...]
    deliveries: tuple[Condition, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.vectors)


def count_by_collection(path: Path) -> dict[str, tuple[int, str]]:
    """Return the number of photographs and the description of each collection of a file, whatever
    its embedding space.

    Raises InvalidReferences for a file of another format.
    """
    with safe_open(path, framework="numpy") as file:
        about: Mapping[str, str] = file.metadata() or {}
        if about.get("format") != FORMAT:
            raise InvalidReferences(path, f"it is not of the format {FORMAT}")
        numbers = file.get_tensor("collections")
    return {
        each["name"]: (int(np.count_nonzero(numbers == number)), each["description"])
        for number, each in enumerate(json.loads(about["collections"]))
    }


def find_references(
    folder: Path, space_fingerprint: str, dimension: int, pinned_sha256: str | None = None
) -> ReferenceVectors | None:
    """Read the file in a model's folder; None if there is none.

    Raises InvalidReferences if it belongs to another embedding space, is not what was pinned, or
    has another format.
    """
    path = folder / REFERENCES_FILE
    if not path.is_file():
        return None
    return read_references(path, space_fingerprint, dimension, pinned_sha256)


def read_references(
    path: Path, space_fingerprint: str, dimension: int, pinned_sha256: str | None = None
) -> ReferenceVectors:
    """Read and check a file of reference vectors.

    Raises InvalidReferences, UnsafeWeights, CorruptWeights.
    """
    check_is_safetensors(path)
    sha256 = compute_sha256(path)
    if pinned_sha256 is not None and sha256 != pinned_sha256:
        raise InvalidReferences(path, f"it has sha256 {sha256}, not {pinned_sha256}")
    try:
        with safe_open(path, framework="numpy") as file:
            about: Mapping[str, str] = file.metadata() or {}
            names = set(file.keys())
            missing = [name for name in TENSORS if name not in names]
            if about.get("format") != FORMAT or missing:
                raise InvalidReferences(
                    path, f"it is not of the format {FORMAT}" + _listed(" without", missing)
                )
            arrays = {name: file.get_tensor(name) for name in TENSORS}
    except SafetensorError as err:
        raise InvalidReferences(path, f"it is not a complete safetensors file: {err}") from err
    if about.get("space") != space_fingerprint:
        raise InvalidReferences(
            path,
            f"its vectors are of the space {about.get('space', 'unknown')}, not of this model's, "
            f"{space_fingerprint}; remove it, or make it again with this model",
        )
    try:
        collections = tuple(
            ReferenceCollection(each["name"], each["description"])
            for each in json.loads(about["collections"])
        )
        deliveries = tuple(Condition(each) for each in json.loads(about["deliveries"]))
    except (KeyError, TypeError, ValueError) as err:
        raise InvalidReferences(path, f"its metadata cannot be read: {err}") from err
    return _check(path, arrays, collections, deliveries, dimension, sha256)


def _check(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    collections: tuple[ReferenceCollection, ...],
    deliveries: tuple[Condition, ...],
    dimension: int,
    sha256: str,
) -> ReferenceVectors:
    n, k = len(arrays["hashes"]), len(deliveries)
    shapes = {
        "vectors": (n, k, dimension),
        "logits": (n, k),
        "hashes": (n, HASH_BYTES),
        "hash_qualities": (n,),
        "collections": (n,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InvalidReferences(path, f"{name} has the shape {arrays[name].shape}, not {shape}")
    if not n or deliveries[:1] != (Condition.AS_IS,) or len(set(deliveries)) != k:
        raise InvalidReferences(path, "it needs photographs, each delivery once, as_is first")
    vectors = arrays["vectors"].astype(np.float32)
    norms = np.linalg.norm(vectors, axis=2)  # (n, k)
    logits = arrays["logits"].astype(np.float32)
    is_usable = np.isfinite(logits).all() and np.abs(norms - 1).max() < _NORM_TOLERANCE
    numbers = arrays["collections"].astype(np.int64)
    if not is_usable or numbers.min() < 0 or numbers.max() >= len(collections):
        raise InvalidReferences(path, "a vector, a logit or the number of a collection is wrong")
    return ReferenceVectors(
        vectors=vectors / norms[:, :, None],
        logits=logits,
        hashes=arrays["hashes"].astype(np.uint8),
        hash_qualities=arrays["hash_qualities"].astype(np.uint8),
        collection_numbers=numbers,
        collections=collections,
        deliveries=deliveries,
        sha256=sha256,
    )


def _listed(lead: str, names: list[str]) -> str:
    return f"{lead} {', '.join(names)}" if names else ""
