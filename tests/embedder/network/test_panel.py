from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.network.device import EXACT, Precision
from embedder.network.download import locate_model
from embedder.network.panel import (
    MAXIMUM_LOGIT_DIFFERENCE,
    MINIMUM_COSINE,
    Panel,
    compare,
    judge,
)
from embedder.network.registry import BUILTIN
from embedder.network.results import Embeddings
from embedder.network.weights import load_vit

BFLOAT16 = replace(EXACT, precision=Precision.BFLOAT16)
FLOAT16 = replace(EXACT, precision=Precision.FLOAT16)


def embeddings(*rows: tuple[float, float, float]) -> Embeddings:
    """Each row is a direction in two dimensions, and a logit."""
    vectors = np.array([row[:2] for row in rows], np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return Embeddings(vectors, np.array([row[2] for row in rows], np.float32))


@pytest.mark.parametrize(
    ("cosine", "difference", "accepted"),
    [
        (MINIMUM_COSINE, MAXIMUM_LOGIT_DIFFERENCE, True),
        (1.0, 0.0, True),
        (MINIMUM_COSINE - 1e-6, 0.0, False),
        (1.0, MAXIMUM_LOGIT_DIFFERENCE + 1e-6, False),
        (float("nan"), 0.0, False),
        (1.0, float("nan"), False),
        (1.0, float("inf"), False),
    ],
)
def test_both_figures_must_be_within_the_limits(
    cosine: float, difference: float, accepted: bool
) -> None:
    assert judge("float16", "cuda", 31, cosine, difference).accepted is accepted


def test_the_worst_picture_decides_each_figure() -> None:
    exact = embeddings((1, 0, 0.0), (0, 1, 1.0), (1, 1, -2.0))
    found = embeddings((1, 0, 0.25), (0.1, 1, 1.0), (1, 1, -2.125))
    check = compare("bfloat16", "cpu", exact, found)
    assert (check.precision, check.device, check.images) == ("bfloat16", "cpu", 3)
    assert check.smallest_cosine == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)
    assert check.largest_logit_difference == 0.25
    assert not check.accepted


@given(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=2).filter(any), st.floats(-9, 9))
def test_equal_results_are_accepted_and_the_cosine_never_exceeds_one(
    direction: list[float], logit: float
) -> None:
    results = embeddings((direction[0] + 4, direction[1], logit))
    check = compare("float16", "cuda", results, results)
    assert check.smallest_cosine <= 1.0
    assert check.smallest_cosine == pytest.approx(1.0, abs=1e-6)
    assert check.largest_logit_difference == 0
    assert check.accepted


def test_an_embedding_that_is_not_finite_or_has_no_direction_is_not_accepted() -> None:
    exact = embeddings((1, 0, 0.0))
    for vector in ([np.nan, 0], [0, 0], [np.inf, 0]):
        found = Embeddings(np.array([vector], np.float32), np.zeros(1, np.float32))
        assert not compare("float16", "cuda", exact, found).accepted


@pytest.fixture(scope="module")
def panel() -> Panel:
    files = locate_model(BUILTIN)
    model = load_vit(files.weights, files.architecture, files.head)
    return Panel(files.name, model, files.preprocessing)


def test_float32_on_a_cpu_moves_nothing(panel: Panel) -> None:
    check = panel.check(EXACT)
    assert check.smallest_cosine == pytest.approx(1.0, abs=1e-12)
    assert check.largest_logit_difference == 0.0
    assert check.images >= 24


@pytest.mark.parametrize(
    ("placement", "cosine", "difference"), [(BFLOAT16, 0.9999, 0.05), (FLOAT16, 0.999999, 0.01)]
)
def test_half_precision_is_accepted_for_the_built_in_model(
    panel: Panel, placement: object, cosine: float, difference: float
) -> None:
    """Its first layer stays in float32; bfloat16 there gives 0.98 and 0.3, and is refused."""
    check = panel.check(placement)  # type: ignore[arg-type]
    assert check.accepted
    assert check.smallest_cosine >= cosine
    assert 0 < check.largest_logit_difference <= difference


def test_a_first_layer_in_bfloat16_is_refused_for_the_built_in_model() -> None:
    """Weights and pixels rounded as bfloat16 rounds them, in the first layer and nowhere else."""
    files = locate_model(BUILTIN)
    model = load_vit(files.weights, files.architecture, files.head)
    exact = Panel(files.name, model, files.preprocessing)
    results = exact.exact
    projection = model.vit.embeddings.patch_embeddings.projection

    def round_values(_module: object, args: tuple[object, ...]) -> tuple[object, ...]:
        return (args[0].bfloat16().float(),)  # type: ignore[attr-defined]

    projection.weight.data = projection.weight.data.bfloat16().float()
    handle = projection.register_forward_pre_hook(round_values)
    rounded = Panel(files.name, model, files.preprocessing).exact
    handle.remove()
    check = compare("bfloat16", "cpu", results, rounded)
    assert not check.accepted
    assert check.smallest_cosine < 0.999 or check.largest_logit_difference > 0.15


def test_the_panel_of_a_tiny_model_is_read_at_its_size(tiny_model: Path) -> None:
    files = locate_model(tiny_model)
    model = load_vit(files.weights, files.architecture, files.head)
    panel = Panel(files.name, model, files.preprocessing)
    assert panel.pixels.shape[1:] == (32, 32, 3)
    assert panel.pixels.dtype == np.uint8
    assert panel.check(BFLOAT16).images == len(panel.pixels)
