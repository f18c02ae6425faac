from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.training.generators import (
    FAMILIES,
    FAMILY_BY_GENERATOR,
    LEFT_OUT_GENERATORS,
    Part,
    cut_quadrants,
    group_of,
    part_of,
    read_pictures,
    summarise,
)
from tests.embedder.training.corpora import write_generators


def row(label: str, name: str, source_path: str) -> dict[str, str]:
    generator = name if label == "synthetic" else ""
    return {
        "label": label,
        "generator": generator,
        "relpath": f"{'fake' if generator else 'real'}/{name}/1.png",
        "source": "somebody/pictures",
        "source_path": source_path,
    }


def test_no_generator_is_both_seen_and_left_out_and_each_family_is_known() -> None:
    assert not set(FAMILY_BY_GENERATOR) & set(LEFT_OUT_GENERATORS)
    assert set(FAMILY_BY_GENERATOR.values()) == {None, *FAMILIES}


def test_a_face_and_its_edits_are_on_one_side_of_the_split() -> None:
    for face in range(50):
        parts = {
            part_of(row("synthetic", generator, path))
            for generator, path in (
                ("stylegan2-ffhq", f"images/{face}.jpg"),
                ("stylegan2-ffhq-edited", f"edits/{face}_age_2.jpg"),
                ("stylegan2-ffhq-edited", f"edits/{face}_smart_0.jpg"),
            )
        }
        assert len(parts) == 1


def test_the_parts_have_about_the_shares_that_they_should() -> None:
    parts = [part_of(row("synthetic", "sd1.5", f"{number}.png")) for number in range(1000)]

    shares = [parts.count(part) / 1000 for part in (Part.TEST, Part.VALIDATION, Part.TRAIN)]

    assert np.allclose(shares, [0.20, 0.12, 0.68], atol=0.04)


@pytest.mark.parametrize(
    ("label", "name", "parts"),
    [
        ("synthetic", "gpt-image-1", {Part.UNSEEN}),
        ("synthetic", "sdxl-thumb128", {None}),
        ("real", "afhq", {None}),
        ("real", "bsds500", {Part.TRAIN, Part.VALIDATION}),
    ],
)
def test_unseen_generators_and_held_out_photographs_are_never_trained_on(
    label: str, name: str, parts: set[Part | None]
) -> None:
    assert {part_of(row(label, name, f"{number}.png")) for number in range(100)} == parts


@pytest.mark.parametrize(
    ("path", "group"),
    [("a/1263_age_2.jpg", "1263"), ("img/Jane_Newland.webp", "jane"), ("101.jpg", "101")],
)
def test_a_group_is_what_stands_before_the_first_underscore(path: str, group: str) -> None:
    assert group_of({"source_path": path}) == group


def test_a_grid_is_read_as_four_pictures_and_others_as_one(tmp_path: Path) -> None:
    name = "sd1.5-deliberate2-art-style"
    rows = [(f"fake/{name}/{n}.png", name, f"img/{n}.webp") for n in range(12)]
    rows += [(f"fake/flux-dev/{n}.png", "flux-dev", f"{n}.png") for n in range(2)]
    corpus = write_generators(tmp_path, rows, side=400)

    found = list(read_pictures(corpus, Part))

    assert len(found) == 12 * 4 + 2
    assert len({picture.group for picture in found if picture.source == name}) == 12
    assert {picture.image.size for picture in found} == {(200, 200), (400, 400)}
    assert {picture.container for picture in found} == {"PNG"}


def test_quadrants_are_the_picture_again() -> None:
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

    first, second, third, fourth = (
        np.asarray(each) for each in cut_quadrants(Image.fromarray(picture))
    )

    assert np.array_equal(np.block([[[first], [second]], [[third], [fourth]]]), picture)


def test_a_summary_counts_files_by_source_and_by_licence(tmp_path: Path) -> None:
    rows = [(f"fake/flux-dev/{n}.png", "flux-dev", f"{n}.png") for n in range(3)]
    rows += [(f"real/bsds500/{n}.png", "", f"{n}.jpg") for n in range(40)]

    found = summarise(write_generators(tmp_path, rows))

    assert found[Part.UNSEEN].sources == {"flux-dev": 3}
    assert found[Part.UNSEEN].licences == {"MIT": 3}
    assert found[Part.TRAIN].sources["bsds500"] + found[Part.VALIDATION].sources["bsds500"] == 40
