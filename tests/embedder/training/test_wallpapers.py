from pathlib import Path

import pytest

from embedder.training.wallpapers import (
    LARGEST_EDGE,
    PHOTOGRAPHS,
    SMALLER_EDGES,
    TRAINED_PACKAGES,
    VALIDATION_PACKAGES,
    read_wallpapers,
)
from tests.embedder.training.corpora import noisy

PACKAGE = VALIDATION_PACKAGES[0]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wallpapers")
    for number, name in enumerate(PHOTOGRAPHS[PACKAGE]):
        stored = folder / PACKAGE / "usr/share/backgrounds" / name
        stored.parent.mkdir(parents=True, exist_ok=True)
        noisy(number, 900 if number else 3000).save(stored)
    return folder


def test_validation_photographs_are_of_a_collection_that_nothing_is_trained_on() -> None:
    assert set(TRAINED_PACKAGES) | set(VALIDATION_PACKAGES) == set(PHOTOGRAPHS)
    assert not set(TRAINED_PACKAGES) & set(VALIDATION_PACKAGES)


def test_each_photograph_is_read_as_it_is_and_smaller_and_called_lossless_only_where_it_was_scaled(
    unpacked: Path,
) -> None:
    found = list(read_wallpapers(unpacked, VALIDATION_PACKAGES))

    sizes = {
        name: [p.image.width for p in found if p.group.endswith(name)]
        for name in PHOTOGRAPHS[PACKAGE]
    }
    large, *others = sizes.values()
    assert large == [LARGEST_EDGE, *SMALLER_EDGES]
    assert all(each == [900, 800] for each in others)
    assert all(
        (picture.container == "PNG") == (picture.image.width in SMALLER_EDGES) for picture in found
    )
    assert not any(picture.synthetic for picture in found)


def test_a_photograph_that_is_not_there_is_named_and_without_a_folder_there_is_none(
    unpacked: Path,
) -> None:
    with pytest.raises(FileNotFoundError, match=PHOTOGRAPHS[TRAINED_PACKAGES[0]][0]):
        list(read_wallpapers(unpacked, TRAINED_PACKAGES))
    assert not list(read_wallpapers(None, TRAINED_PACKAGES))
