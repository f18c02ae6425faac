"""Pixels to embeddings and logits, one batch at a time; the network on its device, and its lock.

A forward is launched first and awaited later. On a CPU, launching computes it. On a CUDA device the
host goes on while the device computes, so the next batch is prepared, uploaded and queued before
the results of this one are awaited.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import ViTForImageClassification

from embedder.errors import CorruptWeights
from embedder.network.device import Placement, Precision, get_torch_device
from embedder.network.results import Embeddings
from embedder.network.transfers import PendingResults, Transfers


@dataclass(frozen=True, slots=True)
class Extras:
    """What is returned beside vectors and logits."""

    patch_tokens: bool = False
    attentions: bool = False


NO_EXTRAS = Extras()


@dataclass(frozen=True, slots=True, eq=False)
class LaunchedForward:
    """A forward that was launched.

    `count` is the number of its images, without those that fill up the batch.
    """

    forward: Forward
    staged: Tensor  # (b, 3, h, w) in host memory
    count: int
    extras: Extras
    precision: Precision
    pending: PendingResults

    def wait(self) -> Embeddings:
        """Wait for the results. If the precision overflowed on these images, compute them again in
        float32.

        Raises CorruptWeights where they are not finite in float32 either.
        """
        vectors, logits, patch_tokens, attentions = self.pending.wait()
        assert vectors is not None
        assert logits is not None
        if np.isfinite(vectors).all() and np.isfinite(logits).all():
            return Embeddings(vectors, logits, patch_tokens, attentions)
        if self.precision is Precision.FLOAT32:
            raise CorruptWeights(
                self.forward.name, "the weights produce embeddings or logits that are not finite"
            )
        return self.forward.relaunch(self).wait()


class Forward:
    """A network on its device.

    It may be used from any thread; a lock lets forwards start one at a time.
    """

    def __init__(
        self, name: str, model: ViTForImageClassification, placement: Placement, batch_size: int
    ) -> None:
        self.name = name
        self._placement = placement
        self._batch_size = batch_size
        self._device = get_torch_device(placement)
        self._transfers = Transfers(self._device)
        self._model = model.to(self._device)  # type: ignore[arg-type]  # not in transformers' stub
        self._lock = threading.Lock()

    def launch(
        self, rows: Sequence[NDArray[np.float32]] | NDArray[np.float32], extras: Extras = NO_EXTRAS
    ) -> LaunchedForward:
        """Start the forward of 1 to `batch_size` preprocessed images `(3, h, w)`, copied where
        needed.
        """
        count = len(rows)
        staged = self._transfers.stage(
            rows, self._batch_size if self._placement.full_batches else count
        )
        return self._start(staged, count, extras, self._placement.precision)

    def relaunch(self, launched: LaunchedForward) -> LaunchedForward:
        """Start a forward again, in float32."""
        return self._start(launched.staged, launched.count, launched.extras, Precision.FLOAT32)

    def empty_results(self, extras: Extras = NO_EXTRAS) -> Embeddings:
        """Return the embeddings of no images."""
        config = self._model.config
        tokens = self._model.vit.embeddings.patch_embeddings.num_patches
        maps = (0, config.num_hidden_layers, config.num_attention_heads, 1 + tokens, 1 + tokens)
        return Embeddings(
            vectors=np.empty((0, config.hidden_size), np.float32),
            logits=np.empty(0, np.float32),
            patch_tokens=np.empty((0, tokens, config.hidden_size), np.float32)
            if extras.patch_tokens
            else None,
            attentions=np.empty(maps, np.float32) if extras.attentions else None,
        )

    def _start(
        self, staged: Tensor, count: int, extras: Extras, precision: Precision
    ) -> LaunchedForward:
        with self._lock, torch.inference_mode():
            hidden, maps = self._compute_hidden_states(
                self._transfers.upload(staged), precision, extras.attentions
            )
            cls = hidden[:, 0]  # (b, d)
            logits = self._model.classifier(cls)[:, 0]  # (b,)
            vectors = torch.nn.functional.normalize(cls, dim=-1)
            patch_tokens = hidden[:count, 1:] if extras.patch_tokens else None  # (n, t, d)
            # Shape (n, layers, heads, 1 + t, 1 + t).
            attentions = torch.stack(maps, dim=1)[:count] if maps else None
            pending = self._transfers.download(
                [vectors[:count], logits[:count], patch_tokens, attentions]
            )
        return LaunchedForward(self, staged, count, extras, precision, pending)

    def _compute_hidden_states(
        self, pixels: Tensor, precision: Precision, attentions: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute hidden states `(b, 1 + t, d)` after the final LayerNorm, and the attentions of
        each layer `(b, heads, 1 + t, 1 + t)`.

        Only the eager attention forms its map. It is chosen for such a call alone, because it is
        slower and takes more memory.
        """
        reduced = precision is not Precision.FLOAT32
        if attentions:
            self._model.set_attn_implementation("eager")
        try:
            with torch.autocast(self._device.type, dtype=self._placement.dtype, enabled=reduced):
                output = self._model.vit(pixel_values=pixels, output_attentions=attentions)
        finally:
            if attentions:
                self._model.set_attn_implementation("sdpa")
        return output.last_hidden_state.float(), [each.float() for each in output.attentions or ()]
