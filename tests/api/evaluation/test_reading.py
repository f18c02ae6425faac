"""Labels, generators and sources of images: from a manifest, a pattern or the folders, and which
are measured.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import NothingToEvaluate
from api.evaluation.reading import Labelled, Listing, list_labelled, read_images, sample_images
from api.fields import FailedItem
from api.ingest.patterns import Pattern
from api.sources.opening import open_source


def listed(path: Path, pattern: str | None = None) -> Listing:
    with closing(open_source(str(path))) as source:
        return list_labelled(source, None if pattern is None else Pattern(pattern))


def told(image: Labelled) -> tuple[str, bool, str | None, str, bool]:
    return image.name, image.synthetic, image.generator, image.source, image.source_is_declared


def images(reals: int, fakes: int) -> list[Labelled]:
    return [
        Labelled(number, f"{number}.png", None, number >= reals, None, f"{number}.png", False)
        for number in range(reals + fakes)
    ]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_without_labels_says_so_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(
        NothingToEvaluate,
        match=r"no image has a label; 2 items left out, such as a\.png: ",
    ):
        listed(fill(tmp_path, "a.png", "b.png"))


def test_images_of_one_kind_are_not_enough(tmp_path: Path) -> None:
    with pytest.raises(NothingToEvaluate, match="all 2 labelled images are synthetic"):
        listed(fill(tmp_path, "fake/sdxl/a.png", "fake/sdxl/b.png"))


def test_a_word_that_is_no_label_is_not_guessed_at(tmp_path: Path) -> None:
    rows = ["path,label", "a.png,real", "b.png,synthetic", "c.png,deepfake"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    listing = listed(tmp_path / "list.csv")
    assert (listing.found, len(listing.images)) == (3, 2)
    assert [(each.name, each.reason) for each in listing.failures] == [("c.png", "unknown_label")]
    assert "'deepfake'" in listing.failures[0].detail


def test_folders_tell_kind_and_generator(tmp_path: Path) -> None:
    listing = listed(
        fill(tmp_path, "README.md", "real/deep/a.png", "fake/SD XL/b.png", "fake/c.png")
    )
    assert [told(image) for image in listing.images] == [
        ("fake/c.png", True, None, "fake/c.png", False),
        ("fake/SD XL/b.png", True, "sd-xl", "fake/SD XL/b.png", False),
        ("real/deep/a.png", False, None, "real/deep/a.png", False),
    ]
    assert [(each.name, each.reason) for each in listing.failures] == [("README.md", "unlabelled")]


def test_a_pattern_tells_them_too(tmp_path: Path) -> None:
    folder = fill(tmp_path, "known_real/cam1/a.png", "known_fake/flux/b.png")
    found = listed(folder, "{label}/{generator}/*").images
    assert [(image.synthetic, image.generator) for image in found] == [
        (True, "flux"),
        (False, "cam1"),
    ]


def test_a_manifest_is_believed_before_its_folders_and_tells_sources(tmp_path: Path) -> None:
    rows = [
        {"file_name": "fake/sdxl/a.png", "label": "Real", "source": "camera 1"},
        {"file_name": "b.png", "label": "synthetic", "generator": "FLUX", "source": "web"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [told(image) for image in listed(tmp_path / "list.jsonl").images] == [
        ("fake/sdxl/a.png", False, None, "camera 1", True),
        ("b.png", True, "flux", "web", True),
    ]


def test_an_image_that_is_not_there_is_a_failure_and_the_others_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "b.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,real\nb.png,synthetic\n")
    failures: list[FailedItem] = []
    with closing(open_source(str(tmp_path / "list.csv"))) as source:
        wanted = list_labelled(source, None).images
        found = [(image.name, data) for image, data in read_images(source, wanted, 100, failures)]
    assert found == [("b.png", b"b.png")]
    assert [(each.name, each.reason) for each in failures] == [("a.png", "not_found")]


def test_only_the_images_of_the_sample_are_read(tmp_path: Path) -> None:
    folder = fill(tmp_path, *(f"real/{n}.png" for n in range(9)), "fake/x/a.png")
    with closing(open_source(str(folder))) as source:
        wanted = sample_images(list_labelled(source, None).images, 4, 0)
        assert [image for image, _ in read_images(source, wanted, 100, [])] == wanted


@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 70), st.integers(0, 3))
def test_a_sample_is_as_large_as_asked_and_half_of_either_kind(
    reals: int, fakes: int, most: int, seed: int
) -> None:
    everything = images(reals, fakes)
    sample = sample_images(everything, most, seed)
    n_fakes = sum(image.synthetic for image in sample)
    n_reals = len(sample) - n_fakes
    assert len(sample) == min(most, len(everything))
    assert n_reals >= min(reals, most // 2)
    assert n_fakes >= min(fakes, most // 2)
    assert (
        sample
        == sorted(sample, key=lambda image: image.number)
        == sample_images(everything, most, seed)
    )


def test_another_seed_is_another_sample() -> None:
    assert sample_images(images(50, 50), 20, 0) != sample_images(images(50, 50), 20, 1)
