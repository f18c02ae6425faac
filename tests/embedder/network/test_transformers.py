"""Checkpoints of every form that is taken, as transformers writes them, give the embeddings and
logits of transformers' own model and image processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification

from embedder.errors import InvalidModelConfig
from embedder.network.architecture import ACTIVATIONS
from embedder.network.embed import Embedder
from embedder.pictures.decode import decode

SIDE = 32
VIT = {"image_processor_type": "ViTImageProcessor", "size": SIDE}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": 40, "crop_size": SIDE}
DEIT = {"image_processor_type": "DeiTImageProcessorFast", "size": 40, "crop_size": SIDE}
TWO = {"id2label": {0: "Real", 1: "Fake"}, "label2id": {"Real": 0, "Fake": 1}}


@dataclass(frozen=True)
class Case:
    """A checkpoint; `logit` computes the one logit from those of transformers `(n, r)`."""

    logit: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits[:, 0]
    dtype: torch.dtype = torch.float32
    processor: dict[str, Any] = field(default_factory=lambda: VIT)
    config: dict[str, Any] = field(default_factory=lambda: {"num_labels": 1})
    save: dict[str, Any] = field(default_factory=dict)
    in_shards: bool = False


def minus(chosen: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda logits: logits[:, chosen] - logits[:, 1 - chosen]


CASES = {
    "one logit": Case(),
    "float16": Case(dtype=torch.float16),
    "bfloat16": Case(dtype=torch.bfloat16),
    "shards": Case(save={"max_shard_size": "40KB"}, in_shards=True),
    "float16 in shards": Case(
        dtype=torch.float16, save={"max_shard_size": "20KB"}, in_shards=True, processor=CLIP
    ),
    "names of transformers 5": Case(save={"save_original_format": False}),
    "two labels": Case(minus(1), config=TWO),
    "two labels the other way round": Case(
        minus(0), config={"id2label": {0: "artificial", 1: "human"}}, dtype=torch.float16
    ),
    "one label that means authentic": Case(
        lambda logits: -logits[:, 0], config={"id2label": {0: "authentic"}}
    ),
    "no bias": Case(config={"num_labels": 1, "qkv_bias": False}),
    "no bias, names of transformers 5": Case(
        config={"num_labels": 1, "qkv_bias": False}, save={"save_original_format": False}
    ),
    "sizes as lists": Case(config={"num_labels": 1, "image_size": [32, 32], "patch_size": [8, 8]}),
    "another epsilon": Case(config={"num_labels": 1, "layer_norm_eps": 1e-3}),
    "CLIP's processor": Case(processor=CLIP),
    "DeiT's processor": Case(processor=DEIT),
    "values from -1 to 1": Case(
        processor=VIT | {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 1.0}
    ),
    "values that are only normalised": Case(
        processor=VIT | {"do_rescale": False, "image_mean": [120, 118, 110], "image_std": [60] * 3}
    ),
    "values that are only rescaled": Case(processor=CLIP | {"do_normalize": False}),
    "a processor without a name": Case(processor={"size": {"height": SIDE, "width": SIDE}}),
    **{
        f"activation {name}": Case(config={"num_labels": 1, "hidden_act": name})
        for name in sorted(ACTIVATIONS)
    },
}


def write_checkpoint(folder: Path, case: Case) -> Path:
    """Write a random checkpoint with `save_pretrained`."""
    shape = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 64,
        "image_size": SIDE,
        "patch_size": 8,
        "layer_norm_eps": 1e-6,
    }
    model = ViTForImageClassification(ViTConfig(**(shape | case.config)))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    model.to(case.dtype).save_pretrained(folder, **case.save)
    (folder / "preprocessor_config.json").write_text(json.dumps(case.processor))
    return folder


@pytest.fixture(scope="module")
def pictures(picture_maker: Callable[..., Image.Image]) -> list[bytes]:
    """Files of several sizes and formats."""
    files = []
    for n, (width, height) in enumerate([(120, 90), (37, 64), (32, 32), (200, 41), (32, 55)]):
        buffer = BytesIO()
        picture_maker(width, height, seed=n).save(buffer, ("PNG", "JPEG", "WEBP")[n % 3])
        files.append(buffer.getvalue())
    return files


@torch.inference_mode()
def compute_reference(folder: Path, images: list[Image.Image]) -> tuple[np.ndarray, torch.Tensor]:
    """Return vectors `(n, d)` of norm 1 and all logits `(n, r)` of transformers itself."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    cls = model.vit(pixels).last_hidden_state[:, 0]
    vectors = torch.nn.functional.normalize(cls, dim=-1)
    return vectors.numpy(), model(pixels).logits


@pytest.mark.parametrize("name", CASES)
def test_embedding_and_logit_are_those_of_transformers(
    name: str, tmp_path: Path, pictures: list[bytes]
) -> None:
    case = CASES[name]
    folder = write_checkpoint(tmp_path / "model", case)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == case.in_shards
    embedder = Embedder.load(folder, device="cpu", precision="float32")
    decoded = [decode(each) for each in pictures]
    ours = embedder.embed(decoded)
    vectors, logits = compute_reference(folder, [each.image for each in decoded])
    assert np.abs(ours.vectors - vectors).max() <= 1e-6
    assert np.abs(ours.logits - case.logit(logits).numpy()).max() <= 1e-5
    assert np.ptp(ours.logits) > 1e-3, "the pictures differ"


def test_the_ways_to_read_one_file_of_weights_are_different_spaces(tmp_path: Path) -> None:
    """Their logits differ, so what is stored of one must not be used with another."""
    folder = write_checkpoint(tmp_path / "model", CASES["two labels"])
    config = json.loads((folder / "config.json").read_text())
    spaces = []
    for changes in (
        {},
        {"id2label": {"0": "fake", "1": "real"}, "label2id": {"fake": 0, "real": 1}},
        {"hidden_act": "relu"},
    ):
        (folder / "config.json").write_text(json.dumps(config | changes))
        info = Embedder.load(folder, device="cpu", precision="float32").info
        spaces.append((info.reading, info.weights_sha256, info.space_fingerprint))
    readings, weights, fingerprints = zip(*spaces, strict=True)
    assert readings == ("logit=1-0", "logit=0-1", "logit=1-0;hidden_act=relu")
    assert len(set(weights)) == 1
    assert len(set(fingerprints)) == 3


def test_two_labels_without_names_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """transformers does not write the names `LABEL_0` and `LABEL_1`."""
    folder = write_checkpoint(tmp_path / "model", Case(config={}))
    assert "id2label" not in json.loads((folder / "config.json").read_text())
    with pytest.raises(InvalidModelConfig, match=r"'LABEL_0' and 'LABEL_1' .*--synthetic-label"):
        Embedder.load(folder)
