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
from api.evaluation.reading import (
    SYNTHETIC,
    Labelled,
    Listing,
    Unlabelled,
    list_labelled,
    read_images,
    read_label,
    require_both,
    sample_images,
)
from api.fields import FailedItem
from api.ingest.patterns import Pattern
from api.sources.access import Access
from api.sources.item import Item
from api.sources.json_values import JSON
from api.sources.opening import open_source


def listed(path: Path, pattern: str | None = None) -> Listing:
    with closing(open_source(str(path), Access())) as source:
        return list_labelled(source, None if pattern is None else Pattern(pattern))


def facts_of(image: Labelled) -> tuple[str, bool, str | None, str, bool]:
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
    assert [facts_of(image) for image in listing.images] == [
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
    assert [facts_of(image) for image in listed(tmp_path / "list.jsonl").images] == [
        ("fake/sdxl/a.png", False, None, "camera 1", True),
        ("b.png", True, "flux", "web", True),
    ]


def test_an_image_that_is_not_there_is_a_failure_and_the_others_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "b.png")
    (tmp_path / "list.csv").write_text("path,label\na.png,real\nb.png,synthetic\n")
    failures: list[FailedItem] = []
    with closing(open_source(str(tmp_path / "list.csv"), Access())) as source:
        wanted = list_labelled(source, None).images
        found = [(image.name, data) for image, data in read_images(source, wanted, 100, failures)]
    assert found == [("b.png", b"b.png")]
    assert [(each.name, each.reason) for each in failures] == [("a.png", "not_found")]


def test_only_the_images_of_the_sample_are_read(tmp_path: Path) -> None:
    folder = fill(tmp_path, *(f"real/{n}.png" for n in range(9)), "fake/x/a.png")
    with closing(open_source(str(folder), Access())) as source:
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


def item(name: str, **declared: JSON) -> Item:
    return Item(name, lambda _: b"", declared, f"/images/{name}")


def failed(*reasons: str) -> list[FailedItem]:
    return [
        FailedItem(name=f"{place}.png", reason=reason, detail=f"it is {reason}")
        for place, reason in enumerate(reasons)
    ]


def test_an_empty_source_has_no_label_and_no_example(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(NothingToEvaluate, match=r"^no image has a label$"):
        listed(tmp_path / "list.csv")


@pytest.mark.parametrize(("synthetic", "word"), [(True, "synthetic"), (False, "real")])
def test_what_there_is_only_is_named(synthetic: bool, word: str) -> None:
    one_kind = images(0, 3) if synthetic else images(3, 0)
    with pytest.raises(
        NothingToEvaluate, match=f"^all 3 labelled images are {word}; figures need both kinds$"
    ):
        require_both(one_kind, [])


def test_an_image_of_each_kind_is_enough_whatever_failed() -> None:
    require_both(images(1, 1), failed("truncated", "truncated"))


def test_the_most_frequent_failure_is_the_example_and_the_first_by_name_of_equal_ones() -> None:
    with pytest.raises(NothingToEvaluate, match=r"3 items left out, such as 1\.png: it is b$"):
        require_both([], failed("a", "b", "b"))
    with pytest.raises(NothingToEvaluate, match=r"2 items left out, such as 1\.png: it is a$"):
        require_both([], failed("b", "a"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.png", "unlabelled"),
        ("other/a.png", "unlabelled"),
        ("other/real/a.png", "unlabelled"),
        ("real", "unlabelled"),
        ("reals/a.png", "unlabelled"),
    ],
)
def test_a_name_that_no_known_folder_begins_has_no_label(name: str, reason: str) -> None:
    with pytest.raises(Unlabelled) as caught:
        read_label(0, item(name), None)
    assert caught.value.reason == reason


@pytest.mark.parametrize("column", ["label", "generator", "source", "caption"])
def test_text_that_cannot_be_stored_is_an_invalid_provenance(column: str) -> None:
    with pytest.raises(Unlabelled) as caught:
        read_label(0, item("real/a.png", **{column: "re\x00al"}), None)
    assert caught.value.reason == "invalid_provenance"
    assert "NUL" in str(caught.value)


def test_a_word_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(Unlabelled) as caught:
        read_label(0, item("real/a.png", label="authentic"), None)
    assert caught.value.reason == "unknown_label"
    assert "'authentic'" in str(caught.value)
    assert all(word in str(caught.value) for word in SYNTHETIC)


@pytest.mark.parametrize(("word", "synthetic"), SYNTHETIC.items())
def test_each_word_is_read_in_a_column_and_as_a_folder_in_any_case(
    word: str, synthetic: bool
) -> None:
    for spelt in (word, word.upper(), word.title()):
        assert read_label(0, item("a.png", label=spelt), None).synthetic is synthetic
        assert read_label(0, item(f"{spelt}/a.png"), None).synthetic is synthetic


def test_the_folder_of_real_images_is_no_generator() -> None:
    assert read_label(0, item("real/camera/a.png"), None).generator is None
    assert read_label(0, item("fake/a.png"), None).generator is None
    assert read_label(0, item("fake/Flux 1/deep/a.png"), None).generator == "flux-1"


def test_a_declared_generator_is_kept_before_that_of_the_folder() -> None:
    found = read_label(0, item("fake/flux/a.png", generator="SDXL"), None)
    assert (found.synthetic, found.generator) == (True, "sdxl")


def test_a_column_is_kept_before_the_pattern() -> None:
    pattern = Pattern("{label}/{source}/*")
    by_both = read_label(7, item("real/web/a.png", label="fake"), pattern)
    by_pattern = read_label(8, item("real/web/a.png"), pattern)
    assert (by_both.number, by_both.synthetic) == (7, True)
    assert (by_pattern.synthetic, by_pattern.source) == (False, "web")
    assert by_pattern.source_is_declared


def test_an_image_without_a_declared_source_is_its_own() -> None:
    alone = read_label(3, item("real/a.png"), None)
    assert (alone.source, alone.source_is_declared) == ("real/a.png", False)
    assert (alone.number, alone.location) == (3, "/images/real/a.png")


def test_an_image_outside_of_the_roots_is_a_failure(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "real/a.png", "fake/x/c.png")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "fake/x/b.png").symlink_to(tmp_path / "secret")
    (folder / "fake/x/c.png").unlink()
    failures: list[FailedItem] = []
    with closing(open_source(str(folder), Access([str(folder)]))) as source:
        wanted = list_labelled(source, None).images
        read = [image.name for image, _ in read_images(source, wanted, 100, failures)]
    assert read == ["real/a.png"]
    assert [(each.name, each.reason) for each in failures] == [("fake/x/b.png", "not_allowed")]


def test_of_a_large_file_one_byte_more_than_allowed_is_read(tmp_path: Path) -> None:
    folder = fill(tmp_path, "real/a.png", "fake/x/b.png")
    with closing(open_source(str(folder), Access())) as source:
        wanted = list_labelled(source, None).images
        assert [data for _, data in read_images(source, wanted, 3, [])] == [b"fake", b"real"]


@pytest.mark.parametrize("most", [None, 6, 7])
def test_a_sample_of_everything_is_everything_in_order(most: int | None) -> None:
    everything = images(4, 2)
    assert sample_images(everything, most, 0) == everything
    assert sample_images([], most, 0) == []


@pytest.mark.parametrize(
    ("reals", "fakes", "most", "expected"),
    [(50, 50, 10, (5, 5)), (50, 50, 11, (5, 6)), (3, 50, 10, (3, 7)), (50, 3, 10, (7, 3))],
)
def test_what_one_kind_lacks_is_taken_of_the_other(
    reals: int, fakes: int, most: int, expected: tuple[int, int]
) -> None:
    sample = sample_images(images(reals, fakes), most, 0)
    n_fakes = sum(image.synthetic for image in sample)
    assert (len(sample) - n_fakes, n_fakes) == expected
