from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from embedder.network.architecture import ACTIVATIONS
from embedder.network.download import locate_model
from embedder.network.reduced import reduce_layers
from embedder.network.vit import ViT
from embedder.network.weights import load_vit
from tests.embedder.conftest import TINY, random_state


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> ViT:
    files = locate_model(tiny_model)
    return load_vit(files.weights, files.architecture)


@pytest.fixture(scope="module")
def values() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def encode(
    model: ViT, values: torch.Tensor, dtype: torch.dtype, *, attentions: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    maps: list[torch.Tensor] | None = [] if attentions else None
    with torch.inference_mode():
        hidden = model.vit.embeddings(values)
        for layer in reduce_layers(model.vit.layers, dtype):
            hidden = layer(hidden, maps)
        return model.vit.layernorm(hidden), maps or []


def test_in_float32_it_computes_what_the_layers_of_float32_compute(
    model: ViT, values: torch.Tensor
) -> None:
    with torch.inference_mode():
        expected = model(values)
    hidden, maps = encode(model, values, torch.float32, attentions=False)
    assert torch.allclose(hidden, expected, atol=1e-5)
    assert maps == []


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_it_computes_every_form_of_encoder_that_is_taken(
    activation: str, qkv_bias: bool, values: torch.Tensor
) -> None:
    shape = replace(
        TINY, hidden_size=24, num_attention_heads=3, hidden_act=activation, qkv_bias=qkv_bias
    )
    other = ViT(shape)
    other.load_state_dict(random_state(shape, std=0.1))
    with torch.inference_mode():
        expected = other(values)
    close, _ = encode(other, values, torch.float32, attentions=False)
    assert torch.allclose(close, expected, atol=1e-5)
    rough, _ = encode(other, values, torch.bfloat16, attentions=False)
    assert 0 < (rough - expected).abs().max().item() < 0.1


def test_its_attentions_are_those_of_float32_and_change_no_state(
    model: ViT, values: torch.Tensor
) -> None:
    expected: list[torch.Tensor] = []
    with torch.inference_mode():
        states = model.vit.embeddings(values)
        for layer in model.vit.layers:
            states = layer(states, expected)
    hidden, maps = encode(model, values, torch.float32, attentions=True)
    with torch.inference_mode():
        assert torch.allclose(hidden, model(values), atol=1e-5)
    assert len(maps) == len(expected) == 2
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)], ids=str
)
def test_half_precision_is_close_and_really_is_half_precision(
    model: ViT, values: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    with torch.inference_mode():
        exact = model(values)
    hidden, maps = encode(model, values, dtype, attentions=True)
    assert hidden.dtype == maps[0].dtype == torch.float32
    difference = (hidden - exact).abs().max().item()
    assert 0 < difference < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_only_the_linear_layers_are_stored_in_half_precision(
    model: ViT, dtype: torch.dtype
) -> None:
    encoder = reduce_layers(model.vit.layers, dtype)
    kinds = {
        name: parameter.dtype
        for name, parameter in encoder.named_parameters()
        if ".before." in name or ".after." in name
    }
    assert set(kinds.values()) == {torch.float32}
    linear = [each for each in encoder.modules() if isinstance(each, torch.nn.Linear)]
    assert len(linear) == 2 * 4
    assert {each.weight.dtype for each in linear} == {each.bias.dtype for each in linear} == {dtype}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
