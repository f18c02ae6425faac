"""Draws the panel: photographs, fakes, and what is neither, in the size that a model reads.

The photographs travel with the package (`models/panel/SOURCES.md` names them and their rights).
The fakes are made of them by the shipped decoders. The rest is drawn: text, flat areas, noise,
night, gradients, stripes, and what delivery does to a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from embedder.demonstration.resynthesis import DECODERS, Resynthesiser
from embedder.pictures.preprocess import Preprocessing, preprocess

PHOTOGRAPHS_FOLDER = Path(__file__).parents[1] / "models" / "panel"
PHOTOGRAPH_SIDE = 256  # pixels
RESYNTHESISED = ("astronaut", "chelsea", "coffee", "rocket")  # by one decoder each

_TEXT = "The traces of a generator lie in the low bits of neighbouring pixels. 0123456789 "


def draw_panel(preprocessing: Preprocessing) -> dict[str, Image.Image]:
    """Return the pictures by name, RGB squares that the model accepts.

    The photographs are enlarged where the model reads more than they have.
    """
    side = max(PHOTOGRAPH_SIDE, preprocessing.min_side, preprocessing.crop_size)
    photographs = {
        path.stem: _fit(_read(path), side) for path in sorted(PHOTOGRAPHS_FOLDER.glob("*.webp"))
    }
    fakes = {
        f"{photograph} by {decoder}": Resynthesiser.load(decoder)(photographs[photograph])
        for photograph, decoder in zip(RESYNTHESISED, DECODERS, strict=True)
    }
    delivered = {name: deliver(photographs[of]) for name, (of, deliver) in _DELIVERIES.items()}
    drawn = {name: draw(side) for name, draw in _DRAWINGS.items()}
    sheet = {"contact sheet": _draw_contact_sheet(list(photographs.values()), side)}
    return {**photographs, **fakes, **delivered, **sheet, **drawn}


def preprocess_panel(preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the pixels `(n, h, w, 3)` of the panel that a model reads."""
    panel = draw_panel(preprocessing)
    return np.stack([preprocess(image, preprocessing) for image in panel.values()])


def compute_panel_digest() -> str:
    """Return the sha256 (hex) of what makes the panel: the photographs and this code."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(PHOTOGRAPHS_FOLDER.glob("*.webp")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> Image.Image:
    with Image.open(path) as stored:
        return stored.convert("RGB")


def _fit(image: Image.Image, side: int) -> Image.Image:
    return image if image.width >= side else image.resize((side, side), Image.Resampling.BICUBIC)


def _recompress(format: str, quality: int) -> Callable[[Image.Image], Image.Image]:
    def recompress(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, format, quality=quality)
        file.seek(0)
        with Image.open(file) as stored:
            return stored.convert("RGB")

    return recompress


def _shrink_and_enlarge(image: Image.Image) -> Image.Image:
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _darken(image: Image.Image) -> Image.Image:
    """At night: 8 % of the light, and the noise of a sensor."""
    noise = _random().normal(0, 2, (image.height, image.width, 3))
    return _to_image(np.asarray(image) * 0.08 + noise)


def _overexpose(image: Image.Image) -> Image.Image:
    return _to_image(np.asarray(image) * 1.8 + 40)


_DELIVERIES: Mapping[str, tuple[str, Callable[[Image.Image], Image.Image]]] = MappingProxyType(
    {
        "damaged by JPEG 15": ("astronaut", _recompress("JPEG", 15)),
        "JPEG 75": ("coffee", _recompress("JPEG", 75)),
        "WebP 40": ("camera", _recompress("WEBP", 40)),
        "shrunk and enlarged": ("grass", _shrink_and_enlarge),
        "out of focus": ("chelsea", lambda image: image.filter(ImageFilter.GaussianBlur(3))),
        "night": ("astronaut", _darken),
        "overexposed": ("coffee", _overexpose),
        "negative": ("rocket", ImageOps.invert),
    }
)


def _draw_text(side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    for line in range(side // 14):
        pen.text((2, 2 + 14 * line), _TEXT[line % 40 :] * 4, fill=(20, 20, 20))
    return image


def _draw_window(side: int) -> Image.Image:
    """A screen: frames, plain colours, sharp edges and a few words."""
    image = Image.new("RGB", (side, side), (236, 238, 241))
    pen = ImageDraw.Draw(image)
    for number in range(6):
        top = number * side // 6
        frame = (4, top + 4, side - 4, top + side // 7)
        pen.rectangle(frame, fill=(255, 255, 255), outline=(90, 90, 90))
        pen.rectangle((8, top + 8, 28, top + 24), fill=(30, 90 + 20 * number, 200))
        pen.text((40, top + 10), _TEXT[number:], fill=(0, 0, 0))
    return image


def _draw_gradient(side: int) -> Image.Image:
    rows, columns = np.mgrid[0:side, 0:side] / side
    return _to_image(np.stack([rows, columns, (rows + columns) / 2], axis=-1) * 255)


def _draw_stripes(side: int) -> Image.Image:
    """Stripes that become finer to the right: up to the finest that pixels can show."""
    columns = np.arange(side)
    wave = np.sin(np.pi * columns * columns / (2 * side))
    return _to_image(np.broadcast_to((128 + 120 * wave)[None, :, None], (side, side, 3)))


def _draw_checkers(side: int) -> Image.Image:
    """Neighbouring pixels one level apart: nothing but low bits."""
    rows, columns = np.mgrid[0:side, 0:side]
    return _to_image(np.repeat((200 + (rows + columns) % 2)[..., None], 3, axis=-1))


def _draw_weak_noise(side: int) -> Image.Image:
    return _to_image(_random().normal(180, 1.5, (side, side, 3)))


def _draw_noise(side: int) -> Image.Image:
    return _to_image(_random().integers(0, 256, (side, side, 3)))


def _draw_contact_sheet(images: list[Image.Image], side: int) -> Image.Image:
    """Photographs at half their size, edge to edge: sharp detail in every model's picture."""
    half = side // 2
    sheet = Image.new("RGB", (2 * half, 2 * half))
    for number, image in enumerate(images[:4]):
        small = image.resize((half, half), Image.Resampling.LANCZOS)
        sheet.paste(small, (number % 2 * half, number // 2 * half))
    return sheet.resize((side, side)) if side % 2 else sheet


_DRAWINGS: Mapping[str, Callable[[int], Image.Image]] = MappingProxyType(
    {
        "text": _draw_text,
        "window": _draw_window,
        "gradient": _draw_gradient,
        "stripes": _draw_stripes,
        "checkers": _draw_checkers,
        "weak noise": _draw_weak_noise,
        "noise": _draw_noise,
        "black": lambda side: Image.new("RGB", (side, side)),
        "grey": lambda side: Image.new("RGB", (side, side), (128, 128, 128)),
        "red": lambda side: Image.new("RGB", (side, side), (200, 20, 30)),
    }
)


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _to_image(values: NDArray[np.generic]) -> Image.Image:
    """Values `(h, w, 3)` of 0 to 255, rounded and clipped."""
    return Image.fromarray(np.clip(np.rint(values.astype(np.float64)), 0, 255).astype(np.uint8))
