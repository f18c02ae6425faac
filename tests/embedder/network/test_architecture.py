from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedder.errors import InvalidModelConfig
from embedder.network.architecture import (
    VIT_SMALL_384,
    Architecture,
    parse_architecture,
    read_architecture,
)
from embedder.network.vit import ACTIVATIONS
from embedder.network.weights import build_empty_vit

PUBLISHED = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "image_size": 384,
    "patch_size": 16,
    "layer_norm_eps": 1e-06,
    "num_labels": 1,
}


def test_a_published_configuration_describes_vit_small() -> None:
    assert parse_architecture(PUBLISHED, "config.json") == VIT_SMALL_384
    assert VIT_SMALL_384.token_count == 576
    assert sum(p.numel() for p in build_empty_vit(VIT_SMALL_384).parameters()) == 21_811_969


def test_the_epsilon_comes_from_the_configuration_and_reaches_every_layer_norm() -> None:
    assert (
        parse_architecture({**PUBLISHED, "layer_norm_eps": 1e-12}, "config.json").layer_norm_eps
        == 1e-12
    )
    without = {key: value for key, value in PUBLISHED.items() if key != "layer_norm_eps"}
    assert parse_architecture(without, "config.json").layer_norm_eps == 1e-12, (
        "transformers' default"
    )
    model = build_empty_vit(VIT_SMALL_384)
    assert {
        model.vit.layernorm.eps,
        *(layer.layernorm_after.eps for layer in model.vit.layers),
    } == {1e-6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "swin"}, "model_type"),
        ({"model_type": "deit"}, "model_type 'deit' is not supported, only 'vit' is"),
        ({"hidden_act": "prelu"}, "hidden_act 'prelu' is not supported"),
        ({"hidden_act": None}, "hidden_act"),
        ({"qkv_bias": None}, "qkv_bias"),
        ({"qkv_bias": 1}, "qkv_bias"),
        ({"num_channels": 1}, "num_channels"),
        ({"head_dim": 32}, "head_dim 32 is not supported, only 64 is"),
        ({"quantization_config": {"load_in_8bit": True}}, "cannot be read exactly"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": "384"}, "hidden_size"),
        ({"hidden_size": 385}, "is not a multiple of"),
        ({"image_size": 383}, "is not a multiple of"),
        ({"image_size": [384, 400]}, "image_size .* is not a square"),
        ({"image_size": [384]}, "image_size"),
        ({"patch_size": [16, 8]}, "patch_size"),
        ({"patch_size": ["16", "16"]}, "patch_size"),
        ({"patch_size": 0}, "positive"),
        ({"layer_norm_eps": 0.0}, "positive"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModelConfig, match=message):
        parse_architecture({**PUBLISHED, **changes}, "config.json")


def test_squares_may_be_two_equal_numbers_and_other_keys_change_nothing() -> None:
    more = {
        "image_size": [384, 384],
        "patch_size": [16, 16],
        "head_dim": 64,
        "quantization_config": None,
        "encoder_stride": 16,
        "pooler_act": "tanh",
        "pooler_output_size": 384,
        "hidden_dropout_prob": 0.1,
        "problem_type": "single_label_classification",
        "torch_dtype": "float16",
    }
    assert parse_architecture({**PUBLISHED, **more}, "config.json") == VIT_SMALL_384


def test_another_activation_and_no_bias_are_read_and_reach_every_layer() -> None:
    changes = {"hidden_act": "quick_gelu", "qkv_bias": False}
    architecture = parse_architecture({**PUBLISHED, **changes}, "config.json")
    assert (architecture.hidden_act, architecture.qkv_bias) == ("quick_gelu", False)
    assert (architecture.reading, VIT_SMALL_384.reading) == ("hidden_act=quick_gelu", None)
    layers = build_empty_vit(architecture).vit.layers
    assert {layer.attention.q_proj.bias for layer in layers} == {None}
    assert {layer.mlp.activation for layer in layers} == {ACTIVATIONS["quick_gelu"]}


def test_code_named_by_a_configuration_is_never_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**PUBLISHED, "auto_map": {"AutoModel": "evil.Model"}}))
    (tmp_path / "evil.py").write_text("raise SystemExit('remote code ran')")
    assert read_architecture(path) == VIT_SMALL_384


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InvalidModelConfig, match=r"config\.json"):
        read_architecture(path)


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Architecture(num_hidden_layers=0)


@pytest.mark.parametrize(
    "architecture",
    [
        VIT_SMALL_384,
        Architecture(),
        Architecture(8, 3, 2, 20, 32, 8, qkv_bias=False),
        Architecture(12, 1, 1, 5, 6, 3),
    ],
)
def test_parameters_are_counted_without_building_them(architecture: Architecture) -> None:
    built = build_empty_vit(architecture).parameters()
    assert architecture.parameter_count == sum(parameter.numel() for parameter in built)
