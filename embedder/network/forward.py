"""Pixels to embeddings and logits, one batch at a time; the network on its device, and its lock.

A forward is launched first and awaited later. On a CPU, launching computes it. On a CUDA device the
host goes on while the device computes, so the next batch is prepared, uploaded and queued before
the results of this one are awaited.

float32 is computed by `embedder.network.vit`, half precision by `embedder.network.reduced`. In
both, pixels are normalised and projected in float32 (`embedder.network.patches`); so are the final
norm, the head and all results.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedder.errors import CorruptWeights
from embedder.network.device import Placement, Precision, get_torch_device
from embedder.network.float32 import full_float32
from embedder.network.patches import Normalisation
from embedder.network.reduced import reduce_layers
from embedder.network.results import Embeddings, replace_rows
from embedder.network.transfers import PendingResults, Transfers
from embedder.network.vit import ViT
from embedder.pictures.preprocess import Preprocessing


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
    staged: Tensor  # (b, h, w, 3) uint8 in host memory
    count: int
    extras: Extras
    precision: Precision
    pending: PendingResults

    def wait(self) -> Embeddings:
        """Wait for the results. Compute the images that overflowed the precision again in float32.

        Raises CorruptWeights where they are not finite in float32 either.
        """
        vectors, logits, patch_tokens, attentions = self.pending.wait()
        assert vectors is not None
        assert logits is not None
        found = Embeddings(vectors, logits, patch_tokens, attentions)
        overflowed = np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & np.isfinite(logits)))
        if len(overflowed) == 0:
            return found
        if self.precision is Precision.FLOAT32:
            raise CorruptWeights(
                self.forward.name, "the weights produce embeddings or logits that are not finite"
            )
        return replace_rows(found, overflowed, self.forward.relaunch(self, overflowed).wait())


class Forward:
    """A network on its device.

    It may be used from any thread; a lock lets forwards start one at a time. In half precision the
    given model stays where it is, in float32: `relaunch` computes with it.
    """

    def __init__(
        self,
        name: str,
        model: ViT,
        preprocessing: Preprocessing,
        placement: Placement,
        batch_size: int,
    ) -> None:
        self.name = name
        self._placement = placement
        self._batch_size = batch_size
        self._device = get_torch_device(placement)
        self._transfers = Transfers(self._device)
        self._normalisation = Normalisation(preprocessing)
        self._model = model
        network = Network(self._normalisation, model, placement.dtype).to(self._device)
        self._networks = {placement.precision: network}
        self._lock = threading.Lock()

    @property
    def network(self) -> nn.Module:
        """The network on its device, in the precision of the placement."""
        return self._networks[self._placement.precision]

    def launch(
        self,
        rows: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        extras: Extras = NO_EXTRAS,
        *,
        filled_to: int | None = None,
    ) -> LaunchedForward:
        """Start the forward of 1 to `batch_size` preprocessed images `(h, w, 3)`, copied where
        needed.

        The batch is filled up to `filled_to` images, or as the device needs it.
        """
        if filled_to is None:
            filled_to = self._batch_size if self._placement.full_batches else len(rows)
        staged = self._transfers.stage(rows, filled_to)
        return self._start(staged, len(rows), extras, self._placement.precision)

    def relaunch(self, launched: LaunchedForward, rows: NDArray[np.int64]) -> LaunchedForward:
        """Start the forward of some images of a batch again, in float32.

        The batch keeps its shape: see `Embedder.embed_each`.
        """
        staged = self._transfers.stage(launched.staged.numpy()[rows], len(launched.staged))
        return self._start(staged, len(rows), launched.extras, Precision.FLOAT32)

    def empty_results(self, extras: Extras = NO_EXTRAS) -> Embeddings:
        """Return the embeddings of no images."""
        shape = self._model.architecture
        tokens, width = shape.token_count, shape.hidden_size
        maps = (0, shape.num_hidden_layers, shape.num_attention_heads, 1 + tokens, 1 + tokens)
        return Embeddings(
            vectors=np.empty((0, width), np.float32),
            logits=np.empty(0, np.float32),
            patch_tokens=np.empty((0, tokens, width), np.float32) if extras.patch_tokens else None,
            attentions=np.empty(maps, np.float32) if extras.attentions else None,
        )

    def _start(
        self, staged: Tensor, count: int, extras: Extras, precision: Precision
    ) -> LaunchedForward:
        with self._lock, torch.inference_mode(), full_float32(self._device.type):
            network = self._get_network(precision)
            hidden, maps = network(self._transfers.upload(staged), attentions=extras.attentions)
            cls = hidden[:, 0]  # (b, d)
            # Row by row: the product of a matrix and a vector adds each row as its place demands.
            logits = (cls * network.head.weight[0]).sum(dim=-1) + network.head.bias  # (b,)
            vectors = torch.nn.functional.normalize(cls, dim=-1)
            patch_tokens = hidden[:count, 1:] if extras.patch_tokens else None  # (n, t, d)
            # Shape (n, layers, heads, 1 + t, 1 + t).
            attentions = torch.stack(maps, dim=1)[:count] if maps else None
            pending = self._transfers.download(
                [vectors[:count], logits[:count], patch_tokens, attentions]
            )
        return LaunchedForward(self, staged, count, extras, precision, pending)

    def _get_network(self, precision: Precision) -> Network:
        """Return the network on the device. That of float32 is copied there when the first image
        overflows half precision, and stays.
        """
        if precision not in self._networks:
            on_cpu = self._device.type == "cpu"
            model = self._model if on_cpu else copy.deepcopy(self._model)
            self._networks[precision] = Network(self._normalisation, model).to(self._device)
        return self._networks[precision]


class Network(nn.Module):
    """A network on its device: its layers compute in `dtype`, all its other parts in float32.

    In float32 its parts are those of `model`; in half precision they are copies.
    """

    def __init__(
        self, normalisation: Normalisation, model: ViT, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        layers, parts = (
            model.vit.layers,
            (model.vit.embeddings, model.vit.layernorm, model.classifier),
        )
        if dtype is not torch.float32:
            layers, parts = reduce_layers(layers, dtype), copy.deepcopy(parts)
        self.normalisation = normalisation
        self.layers = layers
        self.tokens, self.norm, self.head = parts

    def forward(self, pixels: Tensor, *, attentions: bool) -> tuple[Tensor, list[Tensor]]:
        """Compute from pixels `(b, h, w, 3)` the hidden states `(b, n, d)` after the final
        LayerNorm, and on request the attentions of each layer `(b, heads, n, n)`.
        """
        maps: list[Tensor] | None = [] if attentions else None
        hidden = self.tokens(self.normalisation(pixels))  # (b, n, d)
        for layer in self.layers:
            hidden = layer(hidden, maps)
        return self.norm(hidden), maps or []
