"""The forward that is written out computes what transformers computes, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from embedder.network import architecture, vit
from embedder.network.architecture import Architecture
from embedder.network.vit import ViT
from embedder.network.weights import build_empty_vit
from tests.embedder.conftest import TINY, random_state
from tests.transformers_vit import make_transformers_vit

HEADS_OF_EVERY_KIND = replace(TINY, hidden_size=48, num_attention_heads=3, layer_norm_eps=1e-3)


@pytest.fixture(scope="module")
def values() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def make_vit(shape: Architecture) -> ViT:
    model = build_empty_vit(shape)
    model.load_state_dict(random_state(shape), assign=True)
    return model


def compute_hidden(model: ViT, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return hidden states `(b, n, d)` by transformers' layers on our tokens, and by ours."""
    theirs = make_transformers_vit(model).vit
    with torch.inference_mode():
        hidden = model.vit.embeddings(values)
        for layer in theirs.layers:
            hidden = layer(hidden)
        return theirs.layernorm(hidden), model(values)


@pytest.mark.parametrize("activation", sorted(architecture.ACTIVATIONS))
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_every_form_that_is_taken_equals_transformers_layers_to_the_last_bit(
    activation: str, qkv_bias: bool, values: Tensor
) -> None:
    shape = replace(HEADS_OF_EVERY_KIND, hidden_act=activation, qkv_bias=qkv_bias)
    theirs, ours = compute_hidden(make_vit(shape), values)
    assert torch.equal(ours, theirs)
    assert ours.shape == (3, 1 + 16, 48)


def test_from_pixels_on_it_is_within_rounding_of_transformers_whole_forward(values: Tensor) -> None:
    """transformers projects the patches by a convolution, whose sums have another order."""
    model = make_vit(TINY)
    with torch.inference_mode():
        theirs = make_transformers_vit(model).vit(values).last_hidden_state
        assert torch.allclose(model(values), theirs, atol=1e-5)


def test_attentions_are_those_of_transformers_eager_attention(values: Tensor) -> None:
    model = make_vit(TINY)
    theirs = make_transformers_vit(model)
    theirs.set_attn_implementation("eager")
    maps: list[Tensor] = []
    with torch.inference_mode():
        hidden = model.vit.embeddings(values)
        ours, expected = model.vit.layers[0](hidden, maps), theirs.vit.layers[0](hidden)
        _, wanted = theirs.vit.layers[0].attention(model.vit.layers[0].layernorm_before(hidden))
    assert torch.equal(ours, expected)
    assert torch.equal(maps[0], wanted)
    assert torch.allclose(maps[0].sum(dim=-1), torch.ones(3, 2, 17), atol=1e-6)


def test_every_activation_that_a_configuration_may_name_is_computed() -> None:
    assert vit.ACTIVATIONS.keys() == architecture.ACTIVATIONS


def test_gradients_reach_every_parameter(values: Tensor) -> None:
    """The recipe of the built-in model trains this very module."""
    model = make_vit(TINY).requires_grad_(True)
    model.classifier(model(values)[:, 0]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
