"""The stage on real generators: the model that it starts from, its rounds, and the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from embedder.demonstration.resynthesis import DECODERS
from embedder.network.architecture import read_architecture
from embedder.network.registry import CONFIG_FILE, WEIGHTS_FILE
from embedder.training.fakes import CropBatch, Scene
from embedder.training.figures import area_under_curve
from embedder.training.filters import add_filters, fix_filters, whiten_filters
from embedder.training.further import FurtherLearning, load_trained, train_further
from embedder.training.generators import CorpusPicture, Part, read_pictures
from embedder.training.mixture import CLASSES, Pool, make_corpus_batch, make_mixed_batch, pools_of
from embedder.training.photographs import cut_tiles
from embedder.training.probes import TILE_SIDE
from embedder.training.spectrum import SpectrumBaseline
from embedder.training.vit import TrainedViT, predict
from embedder.training.wallpapers import TRAINED_PACKAGES, VALIDATION_PACKAGES, read_wallpapers

FILTER_BATCHES, FILTER_CROPS = 60, 50  # 6,000 crops, for the filters and the whitening
BASELINE_BATCHES = 40
VALIDATION_TILES = 2  # of one picture


@dataclass(frozen=True, slots=True)
class GeneratorRound:
    """One round. `share` is the part of all minutes that it takes.

    A batch has `pairs` of demonstration crops, and `each` crops of photographs and of fakes.
    """

    name: str
    share: float
    pairs: int
    each: int
    learning: FurtherLearning
    new_filters: bool = False  # for a model that knows only the demonstration decoders


GENERATOR_ROUNDS = (
    GeneratorRound("large", 0.08, 16, 24, FurtherLearning(seed=0), new_filters=True),
    GeneratorRound(
        "small", 0.13, 8, 16, FurtherLearning(seed=1, head_batches=0, generator_weight=0.6)
    ),
    GeneratorRound(
        "even", 0.295, 12, 12, FurtherLearning(seed=2, head_batches=0, peak_learning_rate=6e-4)
    ),
    GeneratorRound(
        "demonstration",
        0.06,
        16,
        8,
        FurtherLearning(
            seed=3,
            head_batches=0,
            peak_learning_rate=3e-4,
            patch_learning_rate=1e-4,
            generator_weight=2.0,
        ),
    ),
    GeneratorRound("wallpapers", 0.35, 10, 16, FurtherLearning(seed=4, peak_learning_rate=6e-4)),
    GeneratorRound(
        "last",
        0.085,
        16,
        8,
        FurtherLearning(
            seed=5,
            head_batches=0,
            peak_learning_rate=2e-4,
            patch_learning_rate=1e-4,
            generator_weight=2.0,
        ),
    ),
)


def train_on_generators(
    start: Path,
    corpus: Path,
    scenes: Sequence[Scene],
    work: Path,
    minutes: float,
    rounds: Sequence[GeneratorRound] = GENERATOR_ROUNDS,
    statistics_batches: int = FILTER_BATCHES,
    wallpapers: Path | None = None,
) -> TrainedViT:
    """Train the model of the directory `start` in these rounds.

    `scenes` keep what it has learned about the demonstration decoders.
    """
    photographs, fakes = make_training_pools(corpus, wallpapers)
    validation = read_validation_pictures(corpus, wallpapers)
    model = load_trained(start / WEIGHTS_FILE, read_architecture(start / CONFIG_FILE), CLASSES)
    batches = make_filter_batches(photographs, fakes, statistics_batches)
    if any(each.new_filters for each in rounds):
        add_filters(model, batches, len(DECODERS))
    else:
        whiten_filters(model, batches)
    for each in rounds:
        progress = train_further(
            model,
            partial(make_mixed_batch, scenes, photographs, fakes, pairs=each.pairs, each=each.each),
            work / f"generators-{each.name}.safetensors",
            each.learning,
            minutes=minutes * each.share,
            report=partial(describe_validation, validation),
        )
        found = describe_validation(validation, model)
        print(
            f"  {each.name}: {progress.step} steps, {progress.seconds / 60:.1f} minutes, {found}",
            flush=True,
        )
    fix_filters(model)
    return model


def make_training_pools(corpus: Path, wallpapers: Path | None) -> tuple[Pool, Pool]:
    """Return the pools of photographs and of fakes."""
    pictures = list(read_pictures(corpus, [Part.TRAIN]))
    return pools_of([*pictures, *read_wallpapers(wallpapers, TRAINED_PACKAGES)])


def read_validation_pictures(corpus: Path, wallpapers: Path | None) -> list[CorpusPicture]:
    """Read other pictures of the same sources, and photographs of a collection that is used nowhere
    else.
    """
    return [
        *read_pictures(corpus, [Part.VALIDATION]),
        *read_wallpapers(wallpapers, VALIDATION_PACKAGES),
    ]


def make_filter_batches(photographs: Pool, fakes: Pool, count: int) -> list[CropBatch]:
    random = np.random.default_rng(5)
    return [make_corpus_batch(photographs, fakes, random, FILTER_CROPS) for _ in range(count)]


def describe_validation(pictures: Sequence[CorpusPicture], model: TrainedViT) -> str:
    """Describe the figures by which rounds and weights are chosen.

    The test part, the unseen generators and the held-out collections are never used for that.
    """
    probes = [
        (picture, tile)
        for picture in pictures
        for tile in cut_tiles(picture.image, TILE_SIDE, VALIDATION_TILES)
    ]
    logits = predict(model, [np.asarray(tile) for _, tile in probes])
    synthetic = np.array([picture.synthetic for picture, _ in probes])
    elsewhere = np.array([picture.source in VALIDATION_PACKAGES for picture, _ in probes])
    near = area_under_curve(logits[~synthetic & ~elsewhere], logits[synthetic])
    far = (
        area_under_curve(logits[elsewhere], logits[synthetic]) if elsewhere.any() else float("nan")
    )
    return f"validation AUC {near:.4f}, against photographs of another collection {far:.4f}"


def fit_baseline(corpus: Path, wallpapers: Path | None = None) -> SpectrumBaseline:
    """Fit the baseline to the same part of the corpus and the same crops as the model."""
    photographs, fakes = make_training_pools(corpus, wallpapers)
    random = np.random.default_rng(5)
    return SpectrumBaseline.fit(
        make_corpus_batch(photographs, fakes, random, FILTER_CROPS) for _ in range(BASELINE_BATCHES)
    )
