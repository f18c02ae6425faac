"""The encoder of a ViT in half precision: its weights and matrix products, and nothing else.

Weights of the linear layers are stored in half precision, and so are the activations between them.
The residual stream, LayerNorm, the softmax's sums and everything before and after the encoder stay
in float32. transformers' own layers compute float32; a panel of pictures compares the two on each
device (`embedder.network.panel`).

Why not `torch.autocast` over transformers' layers: it converts every weight anew in each forward,
keeps the weights in float32 on the device, and holds activations that are not needed any more.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.vit.modeling_vit import ViTLayer, ViTModel


class ReducedLayer(nn.Module):
    """One layer. Query, key and value are one product of three times the width."""

    def __init__(self, layer: ViTLayer, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.attention
        self.heads = int(attention.num_attention_heads)
        self.before = _copy_norm(layer.layernorm_before)
        self.after = _copy_norm(layer.layernorm_after)
        self.qkv = _stack([attention.q_proj, attention.k_proj, attention.v_proj], dtype)
        self.out = _stack([attention.o_proj], dtype)
        self.activation = layer.mlp.activation_fn
        self.widen = _stack([layer.mlp.fc1], dtype)
        self.narrow = _stack([layer.mlp.fc2], dtype)

    def forward(self, hidden: Tensor, maps: list[Tensor] | None) -> Tensor:
        """Add to the hidden states `(b, n, d)` float32, in place, and append the attentions
        `(b, heads, n, n)` to `maps`.
        """
        dtype = self.qkv.weight.dtype
        hidden += self.out(self._attend(self.before(hidden).to(dtype), maps))
        # One expression, so that each activation is freed once the next one is there.
        hidden += self.narrow(self.activation(self.widen(self.after(hidden).to(dtype))))
        return hidden

    def _attend(self, normed: Tensor, maps: list[Tensor] | None) -> Tensor:
        batch, tokens, width = normed.shape
        stacked = self.qkv(normed)  # (b, n, 3 * d)
        query, key, value = stacked.view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if maps is None:
            seen = functional.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5
            maps.append(scores.float().softmax(dim=-1))
            seen = maps[-1].to(value.dtype) @ value
        return seen.transpose(1, 2).reshape(batch, tokens, width)  # (b, n, d)


class ReducedEncoder(nn.Module):
    """All layers of a ViT, between its embeddings and its final norm, in half precision.

    It copies the weights: the model that it is made of stays in float32, where it is.
    """

    def __init__(self, vit: ViTModel, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ReducedLayer(cast("ViTLayer", layer), dtype) for layer in vit.layers
        )
        self.requires_grad_(False).train(False)

    def forward(self, hidden: Tensor, *, attentions: bool) -> tuple[Tensor, list[Tensor]]:
        """Return the hidden states `(b, n, d)` float32 after the last layer, computed in place, and
        on request the attentions of each layer, `(b, heads, n, n)` float32.
        """
        maps: list[Tensor] | None = [] if attentions else None
        for layer in self.layers:
            hidden = layer(hidden, maps)
        return hidden, maps or []


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
