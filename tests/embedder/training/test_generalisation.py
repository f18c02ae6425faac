from pathlib import Path

import numpy as np
import pytest

from embedder.training.generalisation import (
    CONDITIONS,
    CorpusProbe,
    bootstrap_interval,
    make_corpus_probes,
    measure_real_generators,
)
from embedder.training.probes import REAL
from tests.embedder.training.corpora import noisy, write_generators


def probes() -> list[CorpusProbe]:
    made = [CorpusProbe(REAL, str(n // 2), np.asarray(noisy(n, 224))) for n in range(6)]
    for generator in ("stylegan2-ffhq", "flux-dev"):
        made += [
            CorpusProbe(generator, str(n), np.asarray(noisy(n, 224, striped=True)))
            for n in range(3)
        ]
    return made


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_leaves_enough_for_the_crop(condition: str) -> None:
    assert min(CONDITIONS[condition](np.asarray(noisy(0, 224))).shape[:2]) >= 160


def test_held_out_photographs_and_fakes_that_training_never_saw_are_measured(
    tmp_path: Path,
) -> None:
    grid = "sd1.5-deliberate2-art-style"
    rows = [("real/afhq/1.png", "", "1.png"), ("real/bsds500/1.png", "", "1.png")]
    rows += [(f"fake/{grid}/{n}.png", grid, f"{n}.webp") for n in range(10)]
    rows += [
        ("fake/flux-dev/1.png", "flux-dev", "1.png"),
        ("fake/sdxl-thumb128/1.png", "sdxl-thumb128", "1.png"),
    ]

    found = list(make_corpus_probes(write_generators(tmp_path, rows, side=448)))

    assert {probe.generator for probe in found} == {REAL, grid, "flux-dev"}
    assert {probe.group for probe in found if probe.generator == REAL} == {"real/afhq/1.png"}
    in_grids = [probe.group for probe in found if probe.generator == grid]
    assert (
        len(in_grids) == 4 * len(set(in_grids)) < 40
    )  # a tile of each picture, of the test part alone


def test_figures_are_by_side_condition_and_generator() -> None:
    def sighted(pictures: list[np.ndarray]) -> np.ndarray:
        waves = np.cos(np.pi * np.arange(160) / 2)
        return np.array([np.abs(p[:160, :160].mean((0, 2)) @ waves) / 160 - 1.0 for p in pictures])

    found = measure_real_generators(
        probes(), {"sighted": sighted, "blind": lambda pictures: np.zeros(len(pictures))}
    )

    assert found["photographs"] == {"generators": 0, "groups": 3, "tiles": 6}
    assert found["fakes"] == {
        "seen": {"generators": 1, "groups": 3, "tiles": 3},
        "unseen": {"generators": 1, "groups": 3, "tiles": 3},
    }
    assert found["auc"]["sighted"]["unseen"]["clean"] == 1.0
    assert found["auc"]["blind"] == {
        side: dict.fromkeys(CONDITIONS, 0.5) for side in ("seen", "unseen")
    }
    assert list(found["by_generator"]) == ["stylegan2-ffhq", "flux-dev"]
    assert found["share_called_synthetic"]["clean"] == {
        "photographs": 0.0,
        "seen": 1.0,
        "unseen": 1.0,
    }


def test_tiles_of_one_picture_are_drawn_together() -> None:
    several = [CorpusProbe(REAL, "a", np.zeros((1, 1, 3), np.uint8))] * 5
    several += [CorpusProbe("flux-dev", "b", np.zeros((1, 1, 3), np.uint8))] * 5
    real = np.array([True] * 5 + [False] * 5)
    logits = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0])

    assert bootstrap_interval(several, logits, real, ~real) == [0.5, 0.5]
