"""Two models on the same images: the pairs, the differences and their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.errors import NothingToEvaluate
from api.evaluation.comparing import (
    ModelLogits,
    PairedImages,
    compare_by_generator,
    compare_images,
    compare_models,
    pair_images,
)
from api.evaluation.comparison_json import ComparedFigures, ComparedModel
from api.evaluation.reading import Labelled
from api.evaluation.request import EvaluationRequest
from api.settings import Settings
from embedder.errors import UnknownModel
from embedder.pictures.delivery import Condition

AS_IS, JPEG = Condition.AS_IS, Condition.JPEG50
MODEL = ComparedModel(
    model="m",
    weights_sha256="1" * 64,
    embedding_space="2" * 64,
    device="cpu",
    precision="float32",
    caution=None,
    failures=[],
)


def paired(a: float, b: float, n: int = 200, seed: int = 0, sources: int = 40) -> PairedImages:
    """n images of each kind, whose logits of A and B lie so far apart; both see the same noise."""
    random = np.random.default_rng(seed)
    synthetic = np.arange(2 * n) < n
    noise = random.standard_normal(2 * n)
    sign = np.where(synthetic, 0.5, -0.5)
    generators = tuple("gan" if row % 4 else None if not row else "rare" for row in range(n))
    return PairedImages(
        a=noise + a * sign,
        b=noise + b * sign,
        synthetic=synthetic,
        sources=(np.arange(2 * n) % sources + 1000 * ~synthetic).astype(np.int64),
        generators=(*generators, *[None] * n),
    )


def figures_of(group: ComparedFigures) -> list[float | None]:
    return [
        figure.difference.value
        for figure in (group.roc_auc, group.balanced_accuracy, group.tpr_at_fpr)
    ]


def test_a_better_model_is_told_from_a_worse_one() -> None:
    group = compare_images("as_is", paired(1.0, 3.0), 0)
    auc = group.roc_auc
    assert (auc.larger, group.name, group.n.synthetic) == ("b", "as_is", 200)
    assert auc.difference.value == pytest.approx((auc.b.value or 0) - (auc.a.value or 0))
    assert auc.difference.low is not None
    assert auc.difference.low > 0.05
    assert group.tpr_at_fpr.larger == "b"
    assert group.resampled == "sources of real, sources of synthetic images"
    back = compare_images("as_is", paired(3.0, 1.0), 0)
    assert back.roc_auc.larger == "a"


def test_the_interval_of_the_difference_is_paired() -> None:
    """Both models see the same noise, so their difference varies less than either figure."""
    auc = compare_images("as_is", paired(1.0, 1.1, n=100), 0).roc_auc

    def width(low: float | None, high: float | None) -> float:
        assert low is not None
        assert high is not None
        return high - low

    difference = width(auc.difference.low, auc.difference.high)
    assert 0 < difference < width(auc.a.low, auc.a.high) / 4
    assert auc.larger == "b"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 40]))
def test_a_model_is_not_told_from_itself(seed: int, sources: int) -> None:
    group = compare_images("as_is", paired(1.0, 1.0, 100, seed, sources), seed)
    assert figures_of(group) == [0.0, 0.0, 0.0]
    assert (group.roc_auc.difference.low, group.roc_auc.difference.high) == (0.0, 0.0)
    assert group.roc_auc.larger is None


def test_exchanged_models_have_the_opposite_difference() -> None:
    one, other = paired(1.0, 2.0), paired(2.0, 1.0)
    forth, back = compare_images("x", one, 3), compare_images("x", other, 3)
    assert figures_of(forth) == [-each for each in figures_of(back) if each is not None]
    assert forth.roc_auc.difference.low == pytest.approx(-(back.roc_auc.difference.high or 0))


def test_a_figure_of_too_few_images_is_missing_with_its_reason() -> None:
    few = compare_images("few", paired(1.0, 2.0, n=9), 0)
    assert figures_of(few) == [None, None, None]
    assert few.roc_auc.larger is None
    assert "9 synthetic and 9 real images; 10 of each" in str(few.roc_auc.difference.reason)
    some = compare_images("some", paired(1.0, 2.0, n=20), 0)
    assert some.roc_auc.difference.value is not None
    assert "100 are needed" in str(some.tpr_at_fpr.a.reason)


def test_each_generator_is_compared_against_all_real_images() -> None:
    groups = compare_by_generator(paired(1.0, 2.0), 0)
    assert [(group.name, group.n.synthetic, group.n.real) for group in groups] == [
        ("gan", 150, 200),
        ("rare", 49, 200),
    ]


def labelled(number: int) -> Labelled:
    kind = number % 2 == 0
    return Labelled(number, f"{number}.png", None, kind, "gan", f"source {number % 3}", True)


def model_of(*numbers: int, delivered: tuple[int, ...] = ()) -> ModelLogits:
    return ModelLogits(
        described=MODEL,
        images={number: labelled(number) for number in numbers},
        logits={
            AS_IS: {number: float(number) for number in numbers},
            JPEG: {number: -float(number) for number in delivered},
        },
    )


def test_only_images_that_both_could_use_are_paired() -> None:
    a, b = model_of(1, 2, 3, 4, delivered=(1, 2)), model_of(2, 3, 5, delivered=(2, 3))
    pairs = pair_images(a, b, AS_IS)
    assert (pairs.a.tolist(), pairs.b.tolist()) == ([2.0, 3.0], [2.0, 3.0])
    assert pairs.synthetic.tolist() == [True, False]
    assert pairs.generators == ("gan", None)
    assert pair_images(a, b, JPEG).a.tolist() == [-2.0]


def write_images(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for kind in ("real", "fake/gan"):
        (folder / kind).mkdir(parents=True)
        for n in range(11):
            side = 100 if n == 10 else 170
            pixels = random.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{n}.png")
    return folder


def test_both_models_run_on_a_folder_after_each_delivery(
    tmp_path: Path,
) -> None:
    chosen = Settings(data_dir=tmp_path / "data", device="cpu", precision="float32")
    request = EvaluationRequest(source=str(write_images(tmp_path / "in")), conditions=[JPEG, AS_IS])
    seen: list[tuple[str, int, int]] = []
    answer = compare_models(
        chosen, request, ("builtin", "builtin"), lambda *done: seen.append(done)
    )
    assert [(group.name, figures_of(group)[0]) for group in answer.by_delivery] == [
        ("as_is", 0.0),
        ("jpeg50", 0.0),
    ]
    assert [group.n.real for group in answer.by_delivery] == [10, 10]
    assert [group.name for group in answer.by_generator] == ["gan"]
    assert {failure.reason for failure in answer.a.failures} == {"too_small"}
    assert len(answer.a.failures) == len(answer.b.failures) == 2
    assert "not for casework" in str(answer.a.caution)
    assert seen[-1] == ("builtin", 22, 22)


def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path / "data")
    only = tmp_path / "in" / "real"
    only.mkdir(parents=True)
    Image.new("RGB", (170, 170)).save(only / "a.png")
    request = EvaluationRequest(source=str(tmp_path / "in"))
    with pytest.raises(NothingToEvaluate, match="are real"):
        compare_models(chosen, request, ("nobody", "builtin"), lambda *_: None)
    (tmp_path / "in" / "fake").mkdir()
    Image.new("RGB", (170, 170)).save(tmp_path / "in" / "fake" / "a.png")
    with pytest.raises(UnknownModel, match="nobody"):
        compare_models(chosen, request, ("nobody", "builtin"), lambda *_: None)
