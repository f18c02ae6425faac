"""The photographs that came with the model, as populations that a calibration measures.

They are in no database and no corpus: their ids and source numbers are below 0. Each collection of
theirs is a collection of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from embedder.network.references import ReferenceVectors
from embedder.pictures.delivery import Condition
from index.calibration.population import CollectionName, Population
from index.truth.calibrations import ShippedReference
from index.truth.perceptual import PerceptualHash


@dataclass(frozen=True, slots=True, eq=False)
class ShippedPhotographs:
    """The vectors that came with a model. `reference` is what a calibration states about them."""

    vectors: ReferenceVectors
    reference: ShippedReference

    @classmethod
    def of(cls, vectors: ReferenceVectors | None, model: str) -> Self | None:
        """For the vectors beside the model of this name; None without any."""
        if vectors is None:
            return None
        name = f"photographs shipped with {model}"
        return cls(vectors, ShippedReference(name, vectors.sha256, len(vectors)))

    def after(self, delivery: Condition) -> Population | None:
        """Return them as they look after a delivery; None if they were not embedded after it."""
        if delivery not in self.vectors.deliveries:
            return None
        column = self.vectors.deliveries.index(delivery)
        n = len(self.vectors)
        numbers = np.arange(-n, 0, dtype=np.int64)
        names = [
            CollectionName(self.reference.name, each.name) for each in self.vectors.collections
        ]
        hashes = zip(self.vectors.hashes, self.vectors.hash_qualities.tolist(), strict=True)
        return Population(
            image_ids=numbers,
            sources=numbers,
            vectors=self.vectors.vectors[:, column],
            logits=self.vectors.logits[:, column].astype(np.float64),
            generators=(None,) * n,
            hashes=tuple(PerceptualHash(bits.tobytes(), quality) for bits, quality in hashes),
            collections=tuple(names[number] for number in self.vectors.collection_numbers),
        )
