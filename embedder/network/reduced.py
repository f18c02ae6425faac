"""The layers of a ViT in half precision: its weights and matrix products, and nothing else.

Weights of the linear layers are stored in half precision, and so are the activations between them.
The residual stream, LayerNorm, the softmax's sums and everything before and after the encoder stay
in float32. `embedder.network.vit` computes float32; a panel of pictures compares the two on each
device (`embedder.network.panel`).

Why not `torch.autocast` over the layers of float32: it converts every weight anew in each forward,
keeps the weights in float32 on the device, and holds activations that are not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from embedder.network.vit import Layer, attend


class ReducedLayer(nn.Module):
    """One layer. Query, key and value are one product of three times the width."""

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.attention
        self.heads = attention.heads
        self.before = _copy_norm(layer.layernorm_before)
        self.after = _copy_norm(layer.layernorm_after)
        self.qkv = _stack([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self.out = _stack([attention.o_proj], dtype)
        self.activation = layer.mlp.activation
        self.widen = _stack([layer.mlp.fc1], dtype)
        self.narrow = _stack([layer.mlp.fc2], dtype)
        self.requires_grad_(False)

    def forward(self, hidden: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """Add to the hidden states `(b, n, d)` float32, in place, and append the attentions
        `(b, heads, n, n)` float32 to `maps`.
        """
        dtype = self.qkv.weight.dtype
        hidden += self.out(self._attend(self.before(hidden).to(dtype), maps))
        # One expression, so that each activation is freed once the next one is there.
        hidden += self.narrow(self.activation(self.widen(self.after(hidden).to(dtype))))
        return hidden

    def _attend(self, normed: Tensor, maps: list[Tensor] | None) -> Tensor:
        stacked = self.qkv(normed)  # (b, n, 3 * d)
        query, key, value = stacked.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return attend(query, key, value, maps)


def reduce_layers(layers: Iterable[nn.Module], dtype: torch.dtype) -> nn.ModuleList:
    """Return the layers in half precision.

    The weights are copied: the given layers stay in float32, where they are.
    """
    return nn.ModuleList(ReducedLayer(cast("Layer", layer), dtype) for layer in layers)


def _stack(linears: list[nn.Linear], dtype: torch.dtype) -> nn.Linear:
    """Return one linear layer that gives the results of several, one behind the other."""
    weight = torch.cat([linear.weight.detach() for linear in linears]).to(dtype)
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    stacked = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(biases), device="meta")
    stacked.weight = nn.Parameter(weight)
    if biases:  # a configuration leaves out all of them or none
        stacked.bias = nn.Parameter(torch.cat(biases).to(dtype))
    return stacked


def _copy_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    copied = nn.LayerNorm(norm.normalized_shape, norm.eps, device="meta")
    copied.weight = nn.Parameter(norm.weight.detach().clone())
    copied.bias = nn.Parameter(norm.bias.detach().clone())
    return copied
