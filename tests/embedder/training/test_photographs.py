import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.training.photographs import (
    HELD_OUT_COLLECTIONS,
    MIN_SIDE,
    TRAINED_COLLECTIONS,
    count_by_collection,
    cut_tiles,
    make_training_sources,
    read_photographs,
)

COLUMNS = ("relpath", "label", "width", "height")


def write_corpus(folder: Path, rows: list[tuple[str, str, int, int]]) -> Path:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as manifest:
        writer = csv.writer(manifest)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    for relpath, _, width, height in rows:
        (folder / relpath).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (9, 8, 7)).save(folder / relpath)
    return folder


def test_no_collection_is_both_trained_on_and_held_out() -> None:
    assert not set(TRAINED_COLLECTIONS) & set(HELD_OUT_COLLECTIONS)


def test_only_photographs_of_the_collections_that_are_large_enough_are_read(tmp_path: Path) -> None:
    corpus = write_corpus(
        tmp_path,
        [
            ("real/one/a.png", "real", 200, 180),
            ("real/one/small.png", "real", 200, MIN_SIDE - 1),
            ("real/other/b.png", "real", 200, 200),
            ("fake/one/c.png", "synthetic", 200, 200),
        ],
    )

    assert [photograph.name for photograph in read_photographs(corpus, ("one",))] == [
        "real/one/a.png"
    ]
    assert count_by_collection(corpus, ("one", "other")) == {"one": 1, "other": 1}


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        ((300, 200), [(200, 300)]),  # half of it would be too small
        ((640, 480), [(480, 640), (240, 320)]),
        (
            (1280, 960),
            [(480, 640), (240, 320), (512, 512)],
        ),  # and a tile of the camera's own pixels
    ],
)
def test_a_photograph_is_trained_on_at_the_scales_that_it_allows(
    size: tuple[int, int], shapes: list[tuple[int, int]]
) -> None:
    assert [source.shape[:2] for source in make_training_sources(Image.new("RGB", size))] == shapes


@pytest.mark.parametrize(
    ("size", "count"), [((99, 300), 0), ((100, 100), 1), ((250, 330), 6), ((1000, 1000), 6)]
)
def test_tiles_do_not_overlap_and_lie_inside(size: tuple[int, int], count: int) -> None:
    numbers = np.arange(size[0] * size[1], dtype=np.int32).reshape(size[1], size[0])

    found = [np.asarray(tile) for tile in cut_tiles(Image.fromarray(numbers), 100, max_tiles=6)]

    assert [tile.shape for tile in found] == [(100, 100)] * count
    seen = np.concatenate([tile.ravel() for tile in found]) if found else np.empty(0, np.int32)
    assert len(np.unique(seen)) == count * 100 * 100
    assert 0 not in seen[1:]
