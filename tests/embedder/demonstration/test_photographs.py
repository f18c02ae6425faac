from __future__ import annotations

import pytest
from PIL import Image

from embedder.demonstration.photographs import (
    BUNDLED_FILES,
    load_bundled_photographs,
    load_grey_photographs,
    read_bundled,
)


def test_a_package_that_is_not_installed_is_named_with_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"lineup-forensics\[demo\]") as missing:
        read_bundled("no_such_package_of_photographs", "data/astronaut.png")
    assert missing.value.name == "no_such_package_of_photographs"


def test_the_photographs_are_colour_pictures_of_the_stated_size() -> None:
    photographs = load_bundled_photographs()
    assert len(photographs) == len(BUNDLED_FILES) == len({each.name for each in photographs})
    for photograph in photographs:
        assert photograph.image.mode == "RGB"
        assert 427 <= photograph.image.width <= 1024
        red, green, blue = photograph.image.split()
        assert red.tobytes() != green.tobytes() != blue.tobytes()


def test_further_photographs_are_grey() -> None:
    photographs = load_grey_photographs()
    names = {each.name for each in (*photographs, *load_bundled_photographs())}
    assert len(names) == 13
    for photograph in photographs:
        red, green, blue = photograph.image.split()
        assert red.tobytes() == green.tobytes() == blue.tobytes()
        assert 384 <= photograph.image.width <= 512


def test_they_are_read_once() -> None:
    assert load_bundled_photographs() is load_bundled_photographs()
    assert isinstance(load_bundled_photographs()[0].image, Image.Image)
