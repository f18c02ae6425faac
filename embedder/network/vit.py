"""A ViT with one logit, written out in torch: its parameters, and its forward in float32.

It computes what `ViTForImageClassification` of transformers 5 computes, by the same operations in
the same order: from equal tokens both reach equal hidden states to the last bit (the tests
compare). The modules have transformers' names, which `tensor_names` maps to those of published
files. transformers itself is not imported, because that takes longer than importing torch (ADR
0039). The network is that of Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", without
dropout, so training and inference are the same.

Shapes: b images, t patches, n = 1 + t tokens, d dimensions, e = d / heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedder.network.architecture import Architecture
from embedder.network.patches import PatchProjection

Activation = Callable[[Tensor], Tensor]


class ViT(nn.Module):
    """A ViT and its head. `forward` computes the hidden states, from which the head reads CLS."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.vit = Trunk(architecture)
        self.classifier = nn.Linear(architecture.hidden_size, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return the hidden states `(b, n, d)` of the values `(b, 3, h, w)`; CLS is the first."""
        hidden: Tensor = self.vit(values)
        return hidden


class Trunk(nn.Module):
    """Everything but the head."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.embeddings = Tokens(architecture)
        self.layers = nn.ModuleList(
            Layer(architecture) for _ in range(architecture.num_hidden_layers)
        )
        self.layernorm = _make_norm(architecture)

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.embeddings(values)  # (b, n, d)
        for layer in self.layers:
            hidden = layer(hidden)
        normed: Tensor = self.layernorm(hidden)
        return normed


class Tokens(nn.Module):
    """Values `(b, 3, h, w)` to tokens `(b, n, d)`: CLS, then the patches row by row."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, count = architecture.hidden_size, architecture.token_count
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + count, width))
        self.patch_embeddings = Patches(architecture)

    def forward(self, values: Tensor) -> Tensor:
        patches = self.patch_embeddings(values)  # (b, t, d)
        first = self.cls_token.expand(len(values), -1, -1)  # (b, 1, d)
        return torch.cat([first, patches], dim=1) + self.position_embeddings  # (b, n, d)


class Patches(nn.Module):
    """Values `(b, 3, h, w)` to patches `(b, t, d)`. Only transformers' names need this module."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.projection = PatchProjection(architecture.hidden_size, architecture.patch_size)

    def forward(self, values: Tensor) -> Tensor:
        patches: Tensor = self.projection(values)
        return patches


class Layer(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and added to its input."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.attention = Attention(architecture)
        self.layernorm_before = _make_norm(architecture)
        self.layernorm_after = _make_norm(architecture)
        self.mlp = Perceptron(architecture)

    def forward(self, hidden: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """Return the next hidden states `(b, n, d)`, and append the attentions `(b, heads, n, n)`
        to `maps`.
        """
        hidden = self.attention(self.layernorm_before(hidden), maps) + hidden
        following: Tensor = self.mlp(self.layernorm_after(hidden)) + hidden
        return following


class Attention(nn.Module):
    """Attention of every token to every token. Query, key and value are three products."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, bias = architecture.hidden_size, architecture.qkv_bias
        self.heads = architecture.num_attention_heads
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, width, bias=bias)
        self.v_proj = nn.Linear(width, width, bias=bias)
        self.o_proj = nn.Linear(width, width)

    def forward(self, normed: Tensor, maps: list[Tensor] | None) -> Tensor:
        query, key, value = (
            project(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (b, heads, n, e)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended: Tensor = self.o_proj(attend(query, key, value, maps))
        return attended


class Perceptron(nn.Module):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.fc1 = nn.Linear(architecture.hidden_size, architecture.intermediate_size)
        self.fc2 = nn.Linear(architecture.intermediate_size, architecture.hidden_size)
        self.activation = ACTIVATIONS[architecture.hidden_act]

    def forward(self, normed: Tensor) -> Tensor:
        added: Tensor = self.fc2(self.activation(self.fc1(normed)))
        return added


def attend(query: Tensor, key: Tensor, value: Tensor, maps: list[Tensor] | None) -> Tensor:
    """Return the attended values `(b, n, d)` of `(b, heads, n, e)`, and append the attentions
    `(b, heads, n, n)` float32 to `maps`.

    torch's fused attention never forms the maps. Forming them is slower and takes more memory, so
    it is done only where they are asked for.
    """
    scale = query.shape[-1] ** -0.5
    if maps is None:
        attended = functional.scaled_dot_product_attention(query, key, value, scale=scale)
    else:
        maps.append((query @ key.transpose(2, 3) * scale).float().softmax(dim=-1))
        attended = maps[-1].to(value.dtype) @ value
    return attended.transpose(1, 2).flatten(2)


def _make_norm(architecture: Architecture) -> nn.LayerNorm:
    return nn.LayerNorm(architecture.hidden_size, architecture.layer_norm_eps)


def _gelu_by_erf(values: Tensor) -> Tensor:
    return values * 0.5 * (1.0 + torch.erf(values / math.sqrt(2.0)))


def _gelu_by_tanh(values: Tensor) -> Tensor:
    inner = values + 0.044715 * torch.pow(values, 3.0)
    return 0.5 * values * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * inner))


def _gelu_by_rounded_tanh(values: Tensor) -> Tensor:
    inner = values * 0.7978845608 * (1.0 + 0.044715 * values * values)
    return 0.5 * values * (1.0 + torch.tanh(inner))


def _gelu_by_fused_tanh(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")


def _gelu_by_sigmoid(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


# By transformers' names, and computed as it computes them: forms of one function round differently.
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": functional.gelu,
        "gelu_new": _gelu_by_tanh,
        "gelu_fast": _gelu_by_rounded_tanh,
        "gelu_python": _gelu_by_erf,
        "gelu_pytorch_tanh": _gelu_by_fused_tanh,
        "quick_gelu": _gelu_by_sigmoid,
        "relu": functional.relu,
        "silu": functional.silu,
        "swish": functional.silu,
        "tanh": torch.tanh,
    }
)
