"""The recipe from noise to files that load, with a few steps of everything."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.network.embed import Embedder
from embedder.training.autoencoders import train_all
from embedder.training.card import write_card
from embedder.training.export import export
from embedder.training.fakes import Scene, make_paired_batch, make_scenes
from embedder.training.generalisation import CorpusProbe, measure_real_generators
from embedder.training.generators import Part, PartSummary
from embedder.training.measure import (
    Measurements,
    choose_logit_bounds,
    measure,
    measure_similarity,
    write_measured,
)
from embedder.training.probes import REAL, make_probes
from embedder.training.vit import (
    BUILTIN_ARCHITECTURE,
    Learning,
    TrainedViT,
    build_vit,
    compute_patch_filters,
    predict,
    to_pixels,
    train_vit,
)

DIMENSION = 24


@pytest.fixture(scope="module")
def sources() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (3, 30, 32, 3), np.uint8)
    return [
        np.asarray(Image.fromarray(each).resize((256, 240), Image.Resampling.BICUBIC))
        for each in coarse
    ]


@pytest.fixture(scope="module")
def weights(sources: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_all(sources, tmp_path_factory.mktemp("work"), minutes_each=60.0, max_steps=3)


@pytest.fixture(scope="module")
def scenes(sources: list[np.ndarray], weights: Path) -> list[Scene]:
    return make_scenes(sources, [Resynthesiser.load(generator, weights) for generator in DECODERS])


def quick(steps: int) -> Learning:
    return Learning(max_steps=steps, pairs=4, statistics_batches=2)


def small_vit() -> TrainedViT:
    architecture = replace(
        BUILTIN_ARCHITECTURE,
        hidden_size=DIMENSION,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    return build_vit(len(DECODERS), architecture=architecture)


@pytest.fixture(scope="module")
def trained(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> TrainedViT:
    model = small_vit()
    checkpoint = tmp_path_factory.mktemp("work") / "vit.safetensors"
    train_vit(model, scenes, checkpoint, quick(2), minutes=60.0)
    return model


def test_two_decoders_each_make_a_picture_of_the_scenes_size(scenes: list[Scene]) -> None:
    assert all(
        len(scene.fakes) == 2 and scene.fakes.keys() <= set(range(len(DECODERS)))
        for scene in scenes
    )
    assert all(fake.shape == scene.real.shape for scene in scenes for fake in scene.fakes.values())


def test_finished_autoencoders_are_not_trained_again(
    sources: list[np.ndarray], weights: Path
) -> None:
    before = weights.read_bytes()

    assert train_all(sources, weights.parent, minutes_each=60.0, max_steps=3).read_bytes() == before


def test_an_interrupted_training_goes_on_where_it_was_saved(
    scenes: list[Scene], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "vit.safetensors"
    first = train_vit(small_vit(), scenes, checkpoint, quick(2), minutes=60.0)

    resumed = small_vit()
    second = train_vit(resumed, scenes, checkpoint, quick(3), minutes=60.0)

    assert (first.step, second.step) == (2, 3)
    assert second.seconds > first.seconds


def test_a_finished_training_is_read_back_as_it_was(scenes: list[Scene], tmp_path: Path) -> None:
    model, again = small_vit(), small_vit()
    for each in (model, again):
        train_vit(each, scenes, tmp_path / "vit.safetensors", quick(2), minutes=60.0)

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_patch_filters_have_unit_variance_on_photographs(scenes: list[Scene]) -> None:
    torch.manual_seed(0)
    batches = [make_paired_batch(scenes, np.random.default_rng(number), 8) for number in range(3)]

    filters = compute_patch_filters(batches, 4, 16, len(DECODERS))  # (16, 48)

    pixels = torch.cat([to_pixels(batch.pixels[batch.generators == 0]) for batch in batches])
    responses = torch.nn.functional.conv2d(pixels, filters.reshape(16, 3, 4, 4), stride=4)
    power = (responses**2).mean((0, 2, 3))
    assert (power <= 1.01).all()  # less where a direction is fainter than the noise floor
    assert power.max() > 0.5


def test_the_exported_model_says_what_the_trained_one_said(
    trained: TrainedViT, scenes: list[Scene], tmp_path: Path
) -> None:
    export(trained, tmp_path)
    embedder = Embedder.load(tmp_path, device="cpu", precision="float32")
    crops = [scene.real[:160, :160] for scene in scenes]

    embeddings = embedder.embed_pixels(np.stack(crops))

    assert embeddings.vectors.shape == (3, DIMENSION)
    np.testing.assert_allclose(embeddings.logits, predict(trained, crops), atol=1e-4)


def test_the_files_hold_old_names_and_no_generator_head(
    trained: TrainedViT, tmp_path: Path
) -> None:
    export(trained, tmp_path)

    header = (tmp_path / "model.safetensors").read_bytes()[8:]
    assert b"vit.encoder.layer.0.attention.attention.query.weight" in header
    assert b"generator" not in header
    preprocessing = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert (preprocessing["do_resize"], preprocessing["crop_size"]) == (False, 160)


def real_generators() -> dict[str, object]:
    pixels = np.zeros((224, 224, 3), np.uint8)
    probes = [CorpusProbe(name, name, pixels) for name in (REAL, "stylegan2-ffhq", "flux-dev")]
    return measure_real_generators(probes, {"builtin": lambda pictures: np.zeros(len(pictures))})


def test_what_is_measured_is_read_back_by_the_embedder(
    trained: TrainedViT, sources: list[np.ndarray], weights: Path, tmp_path: Path
) -> None:
    export(trained, tmp_path)
    decoders = {generator: Resynthesiser.load(generator, weights) for generator in DECODERS}
    photographs = [(str(number), Image.fromarray(source)) for number, source in enumerate(sources)]
    probes = {
        name: list(make_probes(photographs, decoders, max_tiles=1))
        for name in ("held_out", "bundled")
    }
    found = {
        name: measure(Embedder.load(tmp_path, device="cpu", precision="float32"), each)
        for name, each in probes.items()
    }

    counts = {"date": "2026-01-03", "photographs": 5, "pictures": 12, "groups": 3, "generators": 1}
    evaluated = counts | {
        "auc": {"as_is": [0.7, 0.6, 0.8]},
        "by_generator": {"sdxl": {"pictures": 12, "auc": [0.7, None, None]}},
    }
    more = {
        "real_generators": real_generators(),
        "evaluations": {"seen": evaluated, "unseen": evaluated},
    }
    values = write_measured(tmp_path, probes, found, date(2026, 1, 2), more=more)
    parts = dict.fromkeys(Part, PartSummary({"bsds500": 2, "stylegan2-ffhq": 5}, {"MIT": 7}))
    write_card(tmp_path, values, {"bsds500": 2}, {"afhq": 1}, parts)

    info = Embedder.load(tmp_path, device="cpu", precision="float32").info
    assert info.generators == DECODERS
    assert info.similarity_threshold == values["similarity_threshold"]
    assert "2026-01-02" in str(info.threshold_source)
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "2 of bsds500" in card
    assert "by file: 5 of stylegan2-ffhq." in card
    assert "7 MIT" in card
    assert "| builtin | unseen | 0.500" in card
    assert "| as_is | 0.700 (0.60 to 0.80) | 0.700 (0.60 to 0.80) |" in card
    assert "| sdxl | no | 12 | 0.700 |" in card
    assert "12 pictures of 3 groups by 1 generators" in card
    assert "Not for casework" in card


def test_bounds_of_logits_are_ordered_for_a_model_without_and_with_discrimination() -> None:
    random = np.random.default_rng(0)
    names = np.array(["photograph"] * 50 + ["demo-nearest"] * 50)
    vectors = random.normal(size=(100, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    logits = random.normal(size=100).astype(np.float32)
    blind = Measurements(np.arange(100).astype(str), names, vectors, logits, vectors, logits)
    sighted = replace(blind, logits=logits + 20.0 * (names != "photograph"), jpeg_logits=logits)

    for measured in (blind, sighted):
        authentic, synthetic = choose_logit_bounds(measured)
        assert authentic <= synthetic
    assert -1.0 <= measure_similarity(blind)["similarity_threshold"] <= 1.0
