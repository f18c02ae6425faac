"""The figures that the shipped weights must reach, on photographs that training never saw."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.demonstration.photographs import load_bundled_photographs
from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.errors import CorruptWeights
from embedder.network.download import fetch_model
from embedder.network.embed import Embedder
from embedder.network.registry import (
    EARLIER_BUILTIN_WEIGHTS,
    MODELS,
    PinnedFile,
    get_builtin_directory,
)
from embedder.training.measure import (
    Measurements,
    choose_logit_bounds,
    measure,
    measure_classifier,
    measure_nearest_generator,
    measure_similarity,
)
from embedder.training.photographs import HELD_OUT_COLLECTIONS, read_photographs
from embedder.training.probes import Probe, compute_median_psnr, make_probes

REPOSITORY = Path(__file__).parents[3]


def builtin_weights() -> Path:
    return get_builtin_directory() / "model.safetensors"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load("builtin", device="cpu")


@pytest.fixture(scope="module")
def decoders() -> dict[str, Resynthesiser]:
    return {generator: Resynthesiser.load(generator) for generator in DECODERS}


@pytest.fixture(scope="module", params=["bundled", pytest.param("corpus", marks=pytest.mark.prove)])
def probes(request: pytest.FixtureRequest, decoders: dict[str, Resynthesiser]) -> list[Probe]:
    if request.param == "bundled":
        photographs = [
            (photograph.name, photograph.image) for photograph in load_bundled_photographs()
        ]
        return list(make_probes(photographs, decoders, max_tiles=8))
    corpus = Path(os.environ.get("LINEUP_TEST_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
    if not (corpus / "manifest.csv").is_file():
        pytest.skip(f"no corpus of photographs at {corpus}: set LINEUP_TEST_CORPUS")
    held_out = (
        (photograph.name, photograph.image)
        for photograph in read_photographs(corpus, HELD_OUT_COLLECTIONS)
    )
    return list(make_probes(held_out, decoders, max_tiles=2))


@pytest.fixture(scope="module")
def measured(embedder: Embedder, probes: list[Probe]) -> Measurements:
    return measure(embedder, probes)


def test_the_files_are_small_enough_for_the_wheel() -> None:
    assert builtin_weights().stat().st_size < 12_000_000
    assert "NOT" in (get_builtin_directory() / "MODEL_CARD.md").read_text(encoding="utf-8").upper()


def test_other_weights_in_its_place_are_refused() -> None:
    pinned = PinnedFile("model.safetensors", builtin_weights().stat().st_size, "0" * 64)

    with pytest.raises(CorruptWeights, match="sha256"):
        fetch_model(replace(MODELS["builtin"], pinned=(pinned,)))


def test_its_weights_are_none_of_the_earlier_ones(embedder: Embedder) -> None:
    assert embedder.info.weights_sha256 not in EARLIER_BUILTIN_WEIGHTS
    assert [name for name in MODELS if name.startswith("builtin")] == ["builtin"]


def test_its_thresholds_are_ordered_and_say_where_they_come_from(embedder: Embedder) -> None:
    info = embedder.info

    assert info.generators == DECODERS
    assert info.caution == MODELS["builtin"].caution is not None
    assert info.dimension >= 128
    assert info.similarity_threshold is not None
    assert 0.0 < info.similarity_threshold < 1.0
    assert info.no_traces_logit is not None
    assert info.synthetic_logit is not None
    assert info.no_traces_logit < info.synthetic_logit
    assert "held-out" in str(info.threshold_source)
    assert "held-out" in str(info.logit_source)


def test_fakes_are_close_to_their_photographs(probes: list[Probe]) -> None:
    medians = compute_median_psnr(probes)

    assert set(medians) == set(DECODERS)
    assert min(medians.values()) >= 29.0, medians


def test_the_logit_distinguishes_fakes_from_photographs(measured: Measurements) -> None:
    figures = measure_classifier(measured)

    assert figures["auc"] >= 0.97
    assert figures["auc_jpeg75"] >= 0.88


def test_the_nearest_fake_of_another_photograph_has_the_right_generator(
    measured: Measurements,
) -> None:
    assert measure_nearest_generator(measured)["nearest_generator_accuracy"] >= 0.90


def test_the_shipped_threshold_and_logits_hold_on_these_photographs(
    embedder: Embedder, measured: Measurements
) -> None:
    """Loose bounds, for 1 % of a few dozen tiles is less than one: a wrong file would miss them by
    far.
    """
    info, real = embedder.info, measured.real
    authentic, synthetic = choose_logit_bounds(measured)

    assert info.no_traces_logit is not None
    assert info.synthetic_logit is not None
    assert authentic < info.synthetic_logit
    assert info.no_traces_logit < synthetic
    assert (measured.logits[real] > info.synthetic_logit).mean() <= 0.05
    assert (measured.logits[~real] < info.no_traces_logit).mean() <= 0.05
    assert (
        measure_similarity(measured)["match_rate"] >= 0.4
    )  # many fakes of unlike scenes are further apart
