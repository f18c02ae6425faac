"""`python -m embedder.training --corpus DIR --out embedder/models`: the whole recipe, about three
hours on two cores.

Four stages run, and each continues what an interrupted run left in `--work`. `autoencoders` trains
the demonstration decoders. `vit` trains the model on them. `generators` trains it further with
pictures of real generators. `measure` measures it and prints the `lineup evaluate` commands whose
figures the card needs. A fifth stage, `card`, writes the model card; it runs only when it is named.
New weights need new reference vectors, and their pin: `embedder.training.references`.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.demonstration.resynthesis import DECODERS, WEIGHTS_FILE, Resynthesiser
from embedder.network import registry
from embedder.network.embed import Embedder
from embedder.network.weight_files import compute_sha256
from embedder.training.autoencoders import train_all
from embedder.training.card import write_card
from embedder.training.export import export
from embedder.training.fakes import make_scenes
from embedder.training.figures import area_under_curve
from embedder.training.files import write_json, write_whole
from embedder.training.generalisation import Logits, make_corpus_probes, measure_real_generators
from embedder.training.generator_rounds import (
    GENERATOR_ROUNDS,
    fit_baseline,
    train_on_generators,
)
from embedder.training.generators import summarise
from embedder.training.held_out import MANIFESTS, read_evaluation, write_held_out
from embedder.training.measure import embed_pictures, measure, write_measured
from embedder.training.photographs import (
    HELD_OUT_COLLECTIONS,
    TRAINED_COLLECTIONS,
    count_by_collection,
    make_training_sources,
    read_photographs,
)
from embedder.training.probes import Probe, make_probes
from embedder.training.variation import vary
from embedder.training.vit import Learning, TrainedViT, average_with, build_vit, predict, train_vit

ROUND_NAMES = tuple(each.name for each in GENERATOR_ROUNDS)  # of the stage `generators`
STAGES = ("autoencoders", "vit", "generators", "measure")
LATER_STAGES = ("card",)  # after `lineup evaluate` has read what the stage `measure` wrote
HELD_OUT = "held-out"  # folder in `--work`: what `lineup evaluate` reads
VIT = "vit"  # folder in `--work`: the model that knows only the demonstration decoders
GENERATOR_VARIATIONS, GENERATOR_SEED = 1, 7  # of the photographs of that stage
MAX_TILES = {"held_out": 2, "bundled": 8}  # of one photograph
# A larger share than the autoencoders' half keeps most small collections above the crop's size.
VIT_SHRINK = 0.6


@dataclass(frozen=True, slots=True)
class Round:
    """A part of the ViT's training that continues where the previous round ended.

    `share` is the part of all minutes that it takes.
    """

    name: str
    share: float
    variations: int  # of each photograph; 0 means once, as it is
    learning: Learning


ROUNDS = (
    Round("first", 0.27, 0, Learning()),
    Round(
        "second",
        0.09,
        1,
        Learning(fresh=False, seed=1, peak_learning_rate=5e-4, generator_weight=2.0),
    ),
    Round(
        "third",
        0.36,
        3,
        Learning(fresh=False, seed=2, peak_learning_rate=6e-4, generator_weight=2.0),
    ),
    Round(
        "fourth",
        0.28,
        4,
        Learning(
            fresh=False, seed=3, peak_learning_rate=5e-4, generator_weight=2.0, all_tokens_from=0.5
        ),
    ),
)


def main() -> None:
    options = parse_options()
    for stage in options.stage or STAGES:
        print(f"{stage}:", flush=True)
        match stage:
            case "autoencoders":
                run_autoencoders(options.corpus, options.out, options.work, options.minutes_each)
            case "vit":
                run_vit(options.corpus, options.out, options.work, options.minutes)
            case "generators":
                run_generators(options)
            case "measure":
                run_measure(options)
            case "card":
                run_card(options.corpus, options.out, options.work)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedder.training", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument(
        "--out", type=Path, required=True, help="the package's folder `embedder/models`"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "lineup-training"
    )
    parser.add_argument(
        "--stage",
        action="append",
        choices=(*STAGES, *LATER_STAGES),
        help="only this stage; may be repeated",
    )
    parser.add_argument(
        "--minutes-each",
        type=float,
        default=1.6,
        help="minutes to train one autoencoder, on average",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=37.0,
        help="minutes to train the ViT on the demonstration decoders",
    )
    parser.add_argument(
        "--generator-minutes",
        type=float,
        default=125.0,
        help="minutes to train it on real generators",
    )
    parser.add_argument(
        "--round",
        action="append",
        choices=ROUND_NAMES,
        help="only this round of the stage generators; may be repeated",
    )
    parser.add_argument(
        "--wallpapers",
        type=Path,
        help="folder with the unpacked packages that `embedder.training.wallpapers` names",
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="model to start from; default: the result of the stage vit",
    )
    return parser.parse_args()


def run_autoencoders(corpus: Path, out: Path, work: Path, minutes_each: float) -> None:
    photographs = read_photographs(corpus, TRAINED_COLLECTIONS)
    sources = [
        source for photograph in photographs for source in make_training_sources(photograph.image)
    ]
    trained = train_all(sources, work, minutes_each=minutes_each)
    write_whole(out / WEIGHTS_FILE.name, lambda path: shutil.copyfile(trained, path))


def run_vit(corpus: Path, out: Path, work: Path, minutes: float) -> None:
    """Train first on the photographs as they are, then on varied ones with more weight on
    distinguishing decoders.

    The weights are the average of the last two rounds'.
    """
    decoders = load_decoders(out)
    held_out = make_held_out_probes(corpus, decoders, max_tiles=1)
    real = np.array([probe.is_real for probe in held_out])

    def report(current: TrainedViT) -> str:
        logits = predict(current, [probe.pixels for probe in held_out])
        return f"held-out AUC {area_under_curve(logits[real], logits[~real]):.4f}"

    model = build_vit(len(DECODERS))
    for each in ROUNDS:
        seed = each.learning.seed
        scenes = make_scenes(
            make_vit_sources(corpus, each.variations, seed), list(decoders.values()), seed=seed
        )
        print(f"  {each.name} round: {len(scenes)} scenes", flush=True)
        checkpoint, earlier = work / f"vit-{each.name}.safetensors", deepcopy(model.state_dict())
        progress = train_vit(
            model, scenes, checkpoint, each.learning, minutes=minutes * each.share, report=report
        )
        print(
            f"  {progress.step} steps, {progress.seconds / 60:.1f} minutes, {report(model)}",
            flush=True,
        )
    average_with(model, earlier)
    export(model, work / VIT)
    print(f"  average: {report(model)}", flush=True)


def run_generators(options: argparse.Namespace) -> None:
    corpus, out, work = options.corpus, options.out, options.work
    decoders = list(load_decoders(out).values())
    scenes = make_scenes(
        make_vit_sources(corpus, GENERATOR_VARIATIONS, GENERATOR_SEED),
        decoders,
        seed=GENERATOR_SEED,
    )
    start = options.start or work / VIT
    if not start.is_dir():
        raise SystemExit(f"{start} is not a folder: run the stage vit first, or give --start")
    rounds = [each for each in GENERATOR_ROUNDS if each.name in (options.round or ROUND_NAMES)]
    model = train_on_generators(
        start,
        corpus,
        scenes,
        work,
        options.generator_minutes,
        rounds,
        wallpapers=options.wallpapers,
    )
    export(model, out / "builtin")
    weights = out / "builtin" / registry.WEIGHTS_FILE
    pin = f"{weights.stat().st_size} {compute_sha256(weights)}"
    print(f"  pin in embedder/network/registry.py: {pin}", flush=True)


def make_vit_sources(corpus: Path, variations: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield each source in `variations` variations, or once as it is where that is 0."""
    random = np.random.default_rng(seed)
    for photograph in read_photographs(corpus, TRAINED_COLLECTIONS):
        for source in make_training_sources(photograph.image, shrink=VIT_SHRINK):
            if variations == 0:
                yield source
            for _ in range(variations):
                yield vary(source, random)


def run_measure(options: argparse.Namespace) -> None:
    corpus, out, work, wallpapers = options.corpus, options.out, options.work, options.wallpapers
    embedder = Embedder.load(out / "builtin", device="cpu")
    decoders = load_decoders(out)
    bundled = make_probes(
        ((p.name, p.image) for p in load_bundled_photographs()),
        decoders,
        max_tiles=MAX_TILES["bundled"],
    )
    probes = {
        "held_out": make_held_out_probes(corpus, decoders, max_tiles=MAX_TILES["held_out"]),
        "bundled": list(bundled),
    }
    measured = {name: measure(embedder, each) for name, each in probes.items()}
    probes_of_corpus = list(make_corpus_probes(corpus))
    values = write_measured(
        out / "builtin",
        probes,
        measured,
        date.today(),
        more={
            "real_generators": measure_real_generators(
                probes_of_corpus, make_classifiers(embedder, corpus, wallpapers)
            )
        },
    )
    print("\n".join(f"  {key}: {value}" for key, value in values.items()), flush=True)
    held_out = work / HELD_OUT
    for name, count in write_held_out(corpus, held_out).items():
        command = (
            f"lineup --model builtin evaluate {name}.csv --condition all --shareable --out {name}"
        )
        print(f"  {count} images; then: cd {held_out} && {command}", flush=True)


def run_card(corpus: Path, out: Path, work: Path) -> None:
    directory = out / "builtin"
    values = json.loads((directory / registry.MEASURED_FILE).read_text(encoding="utf-8"))
    weights = compute_sha256(directory / registry.WEIGHTS_FILE)
    values["evaluations"] = {
        name: read_evaluation(work / HELD_OUT / name, weights) for name in MANIFESTS
    }
    write_json(directory / registry.MEASURED_FILE, values)
    trained, held_out = (
        count_by_collection(corpus, each) for each in (TRAINED_COLLECTIONS, HELD_OUT_COLLECTIONS)
    )
    write_card(directory, values, trained, held_out, summarise(corpus))


def make_classifiers(
    embedder: Embedder, corpus: Path, wallpapers: Path | None
) -> dict[str, Logits]:
    """Return the model and the baseline."""
    return {
        "builtin": partial(compute_logits, embedder),
        "radial spectrum": fit_baseline(corpus, wallpapers).logits,
    }


def compute_logits(
    embedder: Embedder, pictures: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    return embed_pictures(embedder, pictures)[1]


def load_decoders(out: Path) -> dict[str, Resynthesiser]:
    return {
        generator: Resynthesiser.load(generator, out / WEIGHTS_FILE.name) for generator in DECODERS
    }


def make_held_out_probes(
    corpus: Path, decoders: dict[str, Resynthesiser], *, max_tiles: int
) -> list[Probe]:
    photographs = ((p.name, p.image) for p in read_photographs(corpus, HELD_OUT_COLLECTIONS))
    return list(make_probes(photographs, decoders, max_tiles=max_tiles))


if __name__ == "__main__":
    main()
