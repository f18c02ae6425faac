"""Training on from a model that knows the demonstration decoders, with a few steps of
everything.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from embedder.demonstration.resynthesis import DECODERS
from embedder.network.architecture import read_architecture
from embedder.training.export import export
from embedder.training.fakes import CropBatch, Scene
from embedder.training.filters import add_filters, fix_filters, list_least_needed, whiten_filters
from embedder.training.further import (
    FurtherLearning,
    load_trained,
    move_average,
    start_generator_head,
    train_further,
)
from embedder.training.generator_rounds import GENERATOR_ROUNDS, GeneratorRound, train_on_generators
from embedder.training.mixture import CLASSES, NO_CLASS
from embedder.training.vit import BUILTIN_ARCHITECTURE, TrainedViT, build_vit, to_pixels
from tests.embedder.training.corpora import noisy, write_generators

DIMENSION = 24
QUICK = FurtherLearning(max_steps=2, head_batches=1)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = replace(
        BUILTIN_ARCHITECTURE,
        hidden_size=DIMENSION,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    folder = tmp_path_factory.mktemp("start")
    export(build_vit(len(DECODERS), architecture=architecture), folder)
    return folder


@pytest.fixture
def model(start: Path) -> TrainedViT:
    return load_trained(
        start / "model.safetensors", read_architecture(start / "config.json"), CLASSES
    )


def make_batch(random: np.random.Generator) -> CropBatch:
    pixels = np.stack(
        [np.asarray(noisy(int(random.integers(99)), 160, striped=bool(n % 2))) for n in range(6)]
    )
    return CropBatch(pixels, np.array([0, 5, 0, NO_CLASS, 0, 6], np.int64))


def parameters(model: TrainedViT) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_the_head_starts_from_the_mean_of_each_class_and_passes_over_what_has_none(
    model: TrainedViT,
) -> None:
    start_generator_head(model, iter([make_batch(np.random.default_rng(0))]), 1)

    lengths = model.generator_head.norm(dim=1)
    assert (lengths[[0, 5, 6]] > 0.5).all()
    assert lengths[0] > 2.0  # the sum of three of unit length
    assert not lengths[1:5].any()


def test_everything_learns_the_patch_embedding_too(model: TrainedViT, tmp_path: Path) -> None:
    before = parameters(model)

    train_further(
        model,
        make_batch,
        tmp_path / "further.safetensors",
        replace(QUICK, max_steps=4),
        minutes=60.0,
    )

    after = parameters(model)
    assert all(
        not torch.equal(before[name], after[name]) for name in before if "position" not in name
    )


def test_an_interrupted_training_goes_on_where_it_was_saved(
    model: TrainedViT, start: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "further.safetensors"
    first = train_further(model, make_batch, checkpoint, QUICK, minutes=60.0)
    again = load_trained(
        start / "model.safetensors", read_architecture(start / "config.json"), CLASSES
    )

    read_back = train_further(again, make_batch, checkpoint, QUICK, minutes=60.0)
    more = train_further(again, make_batch, checkpoint, replace(QUICK, max_steps=3), minutes=60.0)

    assert (first.step, read_back.step, more.step) == (2, 2, 3)
    for name, tensor in model.state_dict().items():
        assert tensor.shape == again.state_dict()[name].shape


def test_a_finished_training_is_read_back_as_it_was(
    model: TrainedViT, start: Path, tmp_path: Path
) -> None:
    again = load_trained(
        start / "model.safetensors", read_architecture(start / "config.json"), CLASSES
    )
    for each in (model, again):
        train_further(each, make_batch, tmp_path / "further.safetensors", QUICK, minutes=60.0)

    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_average_moves_by_what_the_decay_leaves() -> None:
    kept, now = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.9 * kept.weight + 0.1 * now.weight

    move_average(kept, now, 0.9)

    assert torch.allclose(kept.weight, expected)


def test_new_filters_leave_the_others_as_they_are(model: TrainedViT) -> None:
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    before = projection.weight.detach().clone()

    add_filters(
        model, [make_batch(np.random.default_rng(seed)) for seed in range(4)], len(DECODERS)
    )
    fix_filters(model)

    replaced = list_least_needed(DIMENSION, len(DECODERS))
    kept = [number for number in range(DIMENSION) if number not in replaced]
    assert torch.allclose(projection.weight[kept], before[kept], atol=1e-3)
    assert (projection.weight[replaced] - before[replaced]).abs().amax((1, 2, 3)).min() > 1e-3


def test_rounds_that_go_on_from_filters_of_before_keep_them(model: TrainedViT) -> None:
    projection = model.vit.vit.embeddings.patch_embeddings.projection
    before = projection.weight.detach().clone()

    whiten_filters(model, [make_batch(np.random.default_rng(seed)) for seed in range(4)])
    assert hasattr(projection, "parametrizations")
    fix_filters(model)

    assert torch.allclose(projection.weight, before, atol=1e-3)
    assert [each.new_filters for each in GENERATOR_ROUNDS] == [True] + [False] * (
        len(GENERATOR_ROUNDS) - 1
    )


def test_the_stage_makes_a_model_that_can_be_exported(start: Path, tmp_path: Path) -> None:
    rows = [(f"real/bsds500/{n}.png", "", f"{n}.jpg") for n in range(12)]
    rows += [(f"fake/sd1.5/{n}.png", "sd1.5", f"{n}.png") for n in range(12)]
    corpus = write_generators(tmp_path, rows, side=224)
    scenes = [
        Scene(np.asarray(noisy(n)), {0: np.asarray(noisy(n, striped=True))}) for n in range(2)
    ]
    rounds = (
        GeneratorRound("one", 0.5, 1, 2, QUICK, new_filters=True),
        GeneratorRound("two", 0.5, 1, 1, QUICK),
    )

    model = train_on_generators(
        start, corpus, scenes, tmp_path / "work", 60.0, rounds, statistics_batches=1
    )
    export(model, tmp_path / "made")

    again = load_trained(
        tmp_path / "made/model.safetensors",
        read_architecture(tmp_path / "made/config.json"),
        CLASSES,
    )
    pixels = to_pixels(np.array(noisy(0, 160))[None])
    assert torch.allclose(model(pixels)[1], again(pixels)[1], atol=1e-5)
    assert {path.name for path in (tmp_path / "work").iterdir()} == {
        "generators-one.safetensors",
        "generators-two.safetensors",
    }
