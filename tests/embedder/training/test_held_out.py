import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from embedder.training.generators import Part, part_of, read_rows
from embedder.training.held_out import read_evaluation, write_held_out
from tests.embedder.training.corpora import write_generators

GRID = "sd1.5-deliberate2-art-style"
WEIGHTS = "ab" * 32


def test_the_manifests_hold_what_training_never_saw_and_grids_cut_apart(tmp_path: Path) -> None:
    rows = [("real/afhq/1.png", "", "1.png"), ("real/bsds500/1.png", "", "1.png")]
    rows += [(f"fake/{GRID}/{n}.png", GRID, f"{n}.webp") for n in range(10)]
    rows += [
        ("fake/flux-dev/1.png", "flux-dev", "1.png"),
        ("fake/sdxl-thumb128/1.png", "sdxl-thumb128", "1.png"),
    ]
    (tmp_path / "corpus").mkdir()
    corpus = write_generators(tmp_path / "corpus", rows, side=448)
    tested = [row["relpath"] for row in read_rows(corpus) if part_of(row) is Part.TEST]

    counts = write_held_out(corpus, tmp_path / "held-out")

    never_seen = (tmp_path / "held-out/relpaths.txt").read_text().split()
    assert {*tested, "real/afhq/1.png", "fake/flux-dev/1.png", "fake/sdxl-thumb128/1.png"} == set(
        never_seen
    )
    listed = {}
    for name in ("seen", "unseen"):
        with (tmp_path / "held-out" / f"{name}.csv").open() as manifest:
            listed[name] = list(csv.DictReader(manifest))
    assert counts == {"seen": 1 + 4 * len(tested), "unseen": 2}
    assert {row["source"] for row in listed["seen"] if row["label"] == "real"} == {"afhq"}
    assert {row["generator"] for row in listed["unseen"]} == {"", "flux-dev"}
    for row in [*listed["seen"], *listed["unseen"]]:
        with Image.open(tmp_path / "held-out" / row["path"]) as image:
            assert image.size == ((224, 224) if row["generator"] == GRID else (448, 448))
    assert len({row["source"] for row in listed["seen"] if row["generator"]}) == len(tested)


def evaluation(folder: Path) -> Path:
    measure = {"value": 0.70001, "low": None, "high": 0.9}
    figures = {"roc_auc": measure, "n": {"real": 5, "synthetic": 7}}
    found = {
        "made": {"weights_sha256": WEIGHTS, "created_at": "2026-01-02T03:04:05Z"},
        "measured": {
            "n": {"real": 5, "synthetic": 7, "synthetic_sources": 3},
            "generators": {"sdxl": 7},
        },
        "classifier": {
            "by_condition": [{"name": "as_is", "figures": figures}],
            "by_generator": [{"name": "sdxl", "figures": figures}],
        },
    }
    (folder / "evaluation.json").write_text(json.dumps(found))
    return folder


def test_an_evaluation_of_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other weights"):
        read_evaluation(evaluation(tmp_path), "cd" * 32)


def test_the_card_takes_counts_and_areas(tmp_path: Path) -> None:
    read = read_evaluation(evaluation(tmp_path), WEIGHTS)

    assert read["auc"] == {"as_is": [0.7, None, 0.9]}
    assert read["by_generator"] == {"sdxl": {"pictures": 7, "auc": [0.7, None, 0.9]}}
    assert (read["photographs"], read["pictures"], read["groups"], read["generators"]) == (
        5,
        7,
        3,
        1,
    )
    assert read["date"] == "2026-01-02"
