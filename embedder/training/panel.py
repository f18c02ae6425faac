"""The photographs of the precision panel, cut out of the ones that scikit-image ships.

`python -m embedder.training.panel` writes `embedder/models/panel`. Only photographs without
copyright restrictions are taken; `SOURCES.md` there names them. They are stored without loss,
because the low bits matter, and are small, because they travel in the wheel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from embedder.demonstration.photographs import read_bundled
from embedder.network.panel_pictures import PHOTOGRAPH_SIDE, PHOTOGRAPHS_FOLDER


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of PHOTOGRAPH_SIDE pixels of a file in scikit-image; `left` and `top` begin it."""

    file: str
    left: int
    top: int


CROPS: Mapping[str, Crop] = {
    "astronaut": Crop("astronaut.png", 110, 0),
    "camera": Crop("camera.png", 130, 40),
    "chelsea": Crop("chelsea.png", 90, 30),
    "coffee": Crop("coffee.png", 160, 60),
    "grass": Crop("grass.png", 0, 0),
    "hubble": Crop("hubble_deep_field.jpg", 300, 300),
    "retina": Crop("retina.jpg", 900, 500),
    "rocket": Crop("rocket.jpg", 220, 150),
}


def cut(crop: Crop) -> Image.Image:
    """Cut one photograph out of scikit-image's.

    Raises ModuleNotFoundError without scikit-image.
    """
    right, bottom = crop.left + PHOTOGRAPH_SIDE, crop.top + PHOTOGRAPH_SIDE
    return read_bundled("skimage", f"data/{crop.file}").crop((crop.left, crop.top, right, bottom))


def write_photographs(folder: Path = PHOTOGRAPHS_FOLDER) -> None:
    """Write all photographs as WebP without loss."""
    for name, crop in CROPS.items():
        cut(crop).save(folder / f"{name}.webp", lossless=True, quality=100, method=6)


if __name__ == "__main__":
    write_photographs()
