from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import ViTForImageClassification

from embedder.errors import TensorMismatch
from embedder.network.architecture import Architecture
from embedder.network.tensor_names import (
    find_unused,
    from_published,
    layout_of,
    published_name_of,
    to_published,
)
from embedder.network.weights import load_vit

ModelWriter = Callable[..., Path]


@pytest.mark.parametrize("layout", ["huggingface", "timm", "modules"])
def test_names_there_and_back_are_the_same_tensors(
    tmp_path: Path, model_writer: ModelWriter, tiny_architecture: Architecture, layout: str
) -> None:
    published = load_file(model_writer(tmp_path, layout=layout) / "model.safetensors")
    assert layout_of(published) == layout
    named = from_published(published, tiny_architecture.num_hidden_layers)
    again = to_published(named, layout)  # type: ignore[arg-type]
    assert again.keys() == published.keys()
    assert all(torch.equal(again[name], published[name]) for name in published)


@pytest.mark.parametrize("layout", ["huggingface", "timm", "modules"])
def test_every_module_knows_the_published_tensor_it_lives_in(
    tmp_path: Path, model_writer: ModelWriter, tiny_architecture: Architecture, layout: str
) -> None:
    published = load_file(model_writer(tmp_path, layout=layout) / "model.safetensors")
    modules = from_published(published, tiny_architecture.num_hidden_layers)
    assert {published_name_of(module, layout) for module in modules} == set(published)  # type: ignore[arg-type]


def test_transformers_itself_reads_the_old_names_alike(
    tiny_model: Path, tiny_architecture: Architecture
) -> None:
    theirs = ViTForImageClassification.from_pretrained(
        tiny_model, local_files_only=True
    ).state_dict()
    ours = load_vit(tiny_model / "model.safetensors", tiny_architecture).state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_tensors_of_another_kind_of_model_are_refused() -> None:
    with pytest.raises(TensorMismatch, match=r"vit\.embeddings\.cls_token"):
        layout_of(["model.embed_tokens.weight", "lm_head.weight"])


@pytest.mark.parametrize("layout", ["huggingface", "timm", "modules"])
def test_a_model_without_biases_of_query_key_and_value_has_no_such_names(
    tmp_path: Path, model_writer: ModelWriter, tiny_architecture: Architecture, layout: str
) -> None:
    plain = replace(tiny_architecture, qkv_bias=False)
    tensors = load_file(model_writer(tmp_path, plain, layout=layout) / "model.safetensors")
    named = from_published(tensors, plain.num_hidden_layers, qkv_bias=False)
    assert to_published(named, layout).keys() == tensors.keys()  # type: ignore[arg-type]
    with pytest.raises(TensorMismatch) as refused:
        from_published(tensors, plain.num_hidden_layers)
    assert len(refused.value.missing) == 2 * (1 if layout == "timm" else 3)


def test_tensors_that_are_not_used_are_named() -> None:
    names = ["vit.pooler.dense.weight", "classifier.weight", "vit.embeddings.mask_token"]
    assert find_unused(names) == ["vit.embeddings.mask_token", "vit.pooler.dense.weight"]
