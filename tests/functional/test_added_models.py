"""A laboratory's own detector, from `save_pretrained` to a look-up: half precision, shards, two
labels, by the command line alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from transformers import (
    AutoImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from api.http.app import create_app
from api.settings import Settings
from tests.clients import NO_BROWSER
from tests.functional.terminal import answer, lineup

LABELS = {0: "human", 1: "AI-generated"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random detector, as transformers saves it."""
    torch.manual_seed(3)
    config = ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=64,
        patch_size=16,
        initializer_range=0.2,
        id2label=LABELS,
        label2id={name: row for row, name in LABELS.items()},
    )
    folder = tmp_path_factory.mktemp("downloaded") / "detector"
    model = ViTForImageClassification(config).half()
    model.save_pretrained(folder, max_shard_size="60KB")
    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def write_picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(rough).resize((120, 90), Image.Resampling.BICUBIC).save(path)
    return path


@torch.inference_mode()
def compute_logit(checkpoint: Path, picture: Path) -> float:
    """What transformers itself says of a picture."""
    processor = AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
    model = ViTForImageClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    pixels = processor(Image.open(picture), return_tensors="pt")["pixel_values"]
    human, generated = model(pixels).logits[0].tolist()
    return float(generated - human)


def test_a_checkpoint_is_added_searched_with_compared_and_removed(
    tmp_path: Path, checkpoint: Path
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert len(list(copy.glob("model-*.safetensors"))) > 2
    added = answer(data, "models", "add", "our-vit", copy)
    assert added["logit"] == "The logit is that of 'AI-generated' minus that of 'human'."
    shutil.rmtree(copy)

    known = [write_picture(tmp_path / "known" / f"{n}.png", n) for n in range(4)]
    use = ("--model", "our-vit", "--device", "cpu", "--precision", "float32")
    ingested = answer(data, *use, "ingest", tmp_path / "known", "--corpus", "fakes")
    assert ingested["state"] == "completed"
    found = answer(data, *use, "search", known[2])["lookups"][0]["lookup"]
    assert found["classifier"]["logit"] == pytest.approx(
        compute_logit(checkpoint, known[2]), abs=1e-5
    )
    assert found["similarity"]["neighbours"][0]["cosine_similarity"] == pytest.approx(1.0, abs=1e-6)

    assert answer(data, "models", "activate", "our-vit")["model"] == "our-vit"
    settings = Settings(data_dir=data, device="cpu", precision="float32", offline=True)
    with TestClient(
        create_app(settings), base_url="http://127.0.0.1:8765", headers=NO_BROWSER
    ) as client:
        listed = client.get("/v1/models").json()["models"]
    assert (listed[0]["name"], listed[0]["active"], listed[0]["measured"]) == (
        "our-vit",
        True,
        False,
    )
    assert listed[0]["embedding_space"] == added["embedding_space"]
    in_use = lineup(data, "models", "remove", "our-vit")
    assert (in_use.exit_code, "our-vit is the active model" in in_use.stderr) == (5, True)


def test_two_models_are_compared_on_labelled_images(tmp_path: Path, checkpoint: Path) -> None:
    for n in range(10):
        write_picture(tmp_path / "in" / "real" / f"{n}.png", n)
        write_picture(tmp_path / "in" / "fake" / "gan" / f"{n}.png", 100 + n)
    data = tmp_path / "data"
    answer(data, "models", "add", "our-vit", checkpoint)
    compared = answer(data, "models", "compare", "our-vit", checkpoint, tmp_path / "in")
    assert [group["name"] for group in compared["by_delivery"]] == [
        "as_is",
        "jpeg90",
        "jpeg75",
        "jpeg50",
        "webp80",
        "half",
        "screenshot",
    ]
    assert compared["by_delivery"][0]["roc_auc"]["difference"]["value"] == 0.0
    assert compared["a"]["model"] == "our-vit"
    assert compared["a"]["embedding_space"] == compared["b"]["embedding_space"]


def test_a_changed_copy_and_an_unclear_checkpoint_are_refused_in_one_line(
    tmp_path: Path, checkpoint: Path
) -> None:
    data, unclear = tmp_path / "data", tmp_path / "unclear"
    shutil.copytree(checkpoint, unclear)
    config = json.loads((unclear / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "a", "1": "b"}, {"a": 0, "b": 1}
    (unclear / "config.json").write_text(json.dumps(config))
    refused = lineup(data, "models", "add", "our-vit", unclear)
    assert refused.exit_code == 6
    assert "--synthetic-label" in refused.stderr
    assert refused.stderr.count("\n") == 1
    named = lineup(data, "models", "add", "our-vit", unclear, "--synthetic-label", "b")
    assert named.exit_code == 0, named.stderr
    assert "minus that of 'a'" in named.stdout
    assert "Nothing was measured on it." in named.stdout

    with next((data / "models" / "our-vit").glob("model-00001*")).open("r+b") as shard:
        shard.seek(-1, 2)
        shard.write(b"\x01")
    broken = lineup(data, "--model", "our-vit", "models")
    assert broken.exit_code == 6
    assert "the file is not used" in broken.stderr
