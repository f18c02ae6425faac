from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from embedder.network.architecture import ACTIVATIONS
from embedder.network.download import locate_model
from embedder.network.reduced import ReducedEncoder
from embedder.network.weights import load_vit


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> ViTForImageClassification:
    files = locate_model(tiny_model)
    return load_vit(files.weights, files.architecture)


@pytest.fixture(scope="module")
def values() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def encode(
    model: ViTForImageClassification, values: torch.Tensor, dtype: torch.dtype, *, maps: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.inference_mode():
        hidden, found = ReducedEncoder(model.vit, dtype)(
            model.vit.embeddings(values), attentions=maps
        )
        return model.vit.layernorm(hidden), found


def test_in_float32_it_computes_what_transformers_layers_compute(
    model: ViTForImageClassification, values: torch.Tensor
) -> None:
    with torch.inference_mode():
        expected = model.vit(pixel_values=values).last_hidden_state
    hidden, maps = encode(model, values, torch.float32, maps=False)
    assert torch.allclose(hidden, expected, atol=1e-5)
    assert maps == []


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_it_computes_every_form_of_encoder_that_is_taken(
    activation: str, qkv_bias: bool, values: torch.Tensor
) -> None:
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=32,
        patch_size=8,
        hidden_act=activation,
        qkv_bias=qkv_bias,
        num_labels=1,
    )
    torch.manual_seed(0)
    other = ViTForImageClassification(config).eval()
    with torch.inference_mode():
        expected = other.vit(pixel_values=values).last_hidden_state
    assert torch.allclose(encode(other, values, torch.float32, maps=False)[0], expected, atol=1e-5)
    rough, _ = encode(other, values, torch.bfloat16, maps=False)
    assert 0 < (rough - expected).abs().max().item() < 0.1


def test_its_attentions_are_those_of_transformers_and_change_no_state(
    model: ViTForImageClassification, values: torch.Tensor
) -> None:
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = model.vit(pixel_values=values, output_attentions=True)
    model.set_attn_implementation("sdpa")
    hidden, maps = encode(model, values, torch.float32, maps=True)
    assert torch.allclose(hidden, expected.last_hidden_state, atol=1e-5)
    assert len(maps) == len(expected.attentions) == 2
    for found, wanted in zip(maps, expected.attentions, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)], ids=str
)
def test_half_precision_is_close_and_really_is_half_precision(
    model: ViTForImageClassification, values: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    with torch.inference_mode():
        exact = model.vit(pixel_values=values).last_hidden_state
    hidden, maps = encode(model, values, dtype, maps=True)
    assert hidden.dtype == maps[0].dtype == torch.float32
    difference = (hidden - exact).abs().max().item()
    assert 0 < difference < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_only_the_linear_layers_are_stored_in_half_precision(
    model: ViTForImageClassification, dtype: torch.dtype
) -> None:
    encoder = ReducedEncoder(model.vit, dtype)
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
