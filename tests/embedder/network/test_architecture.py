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
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"qkv_bias": False}, "qkv_bias"),
        ({"num_channels": 1}, "num_channels"),
        ({"num_labels": 2}, "2 labels"),
        ({"num_labels": 1000}, "1000 labels"),
        ({"hidden_size": "384"}, "hidden_size"),
        ({"hidden_size": 385}, "is not a multiple of"),
        ({"image_size": 383}, "is not a multiple of"),
        ({"image_size": [384, 384]}, "image_size"),
        ({"patch_size": 0}, "positive"),
        ({"layer_norm_eps": 0.0}, "positive"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidModelConfig, match=message):
        parse_architecture({**PUBLISHED, **changes}, "config.json")


def test_two_labels_in_a_map_are_two_labels() -> None:
    without = {key: value for key, value in PUBLISHED.items() if key != "num_labels"}
    with pytest.raises(InvalidModelConfig, match="2 labels"):
        parse_architecture({**without, "id2label": {"0": "real", "1": "fake"}}, "config.json")
    assert (
        parse_architecture({**without, "id2label": {"0": "synthetic"}}, "config.json")
        == VIT_SMALL_384
    )


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
