"""Reference vectors as they travel with a model, for the model of `tests.api.small_lineup`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from api.calibrations.shipped import ShippedPhotographs
from api.lineup import Lineup
from embedder.network.references import ReferenceCollection, ReferenceVectors
from embedder.pictures.decode import decode
from embedder.pictures.delivery import Condition, deliver
from embedder.pictures.perceptual import compute_perceptual_hash
from tests.api.small_lineup import encoded, picture

DELIVERIES = (Condition.AS_IS, Condition.JPEG75)


def make_references(lineup: Lineup, count: int = 24, first_seed: int = 500) -> ReferenceVectors:
    """Pictures of two collections, as they are and as JPEG."""
    vectors, logits, hashes, qualities = [], [], [], []
    for seed in range(first_seed, first_seed + count):
        decoded = decode(encoded(picture(seed)))
        copies = [deliver(decoded.image, each) for each in DELIVERIES]
        pixels = np.stack(
            [lineup.embedder.preprocess(replace(decoded, image=copy)) for copy in copies]
        )
        embedded = lineup.embedder.embed_pixels(pixels)
        hashed = compute_perceptual_hash(decoded.image)
        vectors.append(embedded.vectors)
        logits.append(embedded.logits)
        hashes.append(np.frombuffer(hashed.bits, np.uint8))
        qualities.append(hashed.quality)
    return ReferenceVectors(
        vectors=np.stack(vectors),
        logits=np.stack(logits),
        hashes=np.stack(hashes),
        hash_qualities=np.array(qualities, np.uint8),
        collection_numbers=np.arange(count) % 2,
        collections=(ReferenceCollection("camera", "a"), ReferenceCollection("phone", "b")),
        deliveries=DELIVERIES,
        sha256="5" * 64,
    )


def draw_references(dimension: int, count: int = 24) -> ReferenceVectors:
    """Random vectors of any dimension, in two collections, after one delivery."""
    random = np.random.default_rng(9)
    vectors = random.normal(size=(count, 1, dimension)).astype(np.float32)
    return ReferenceVectors(
        vectors=vectors / np.linalg.norm(vectors, axis=2, keepdims=True),
        logits=random.normal(size=(count, 1)).astype(np.float32),
        hashes=random.integers(0, 256, (count, 32), dtype=np.uint8),
        hash_qualities=np.full(count, 100, np.uint8),
        collection_numbers=np.arange(count) % 2,
        collections=(ReferenceCollection("camera", "a"), ReferenceCollection("phone", "b")),
        deliveries=(Condition.AS_IS,),
        sha256="7" * 64,
    )


def ship(lineup: Lineup, count: int = 24) -> ShippedPhotographs:
    """Let the model of an opened Lineup come with photographs."""
    lineup.model.references = make_references(lineup, count)
    shipped = ShippedPhotographs.of(lineup.model.references, lineup.space.model)
    assert shipped is not None
    return shipped
