"""What happens to a picture between its making and its arrival, simulated alike for photographs and
fakes.

A crop is scaled, stored again and turned at random, and its colours are shifted, so that neither
container, size, codec nor palette distinguishes the two sides. First each picture receives, at
random, the history of the others: an encoding as JPEG, which nearly every photograph has, and as
small WebP, which the grids of Stable Diffusion have.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from embedder.training.fakes import CROP_SIDE, GRID_MARGIN

SIDE = CROP_SIDE + GRID_MARGIN
FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)
SCALED_CHANCE = 0.4
SCALES = (0.4, 1.0)
ENLARGED_CHANCE = 0.1
ENLARGEMENTS = (1.0, 1.5)
STORED_CHANCE = 0.5
QUALITIES = (65, 99)
WEBP_SHARE = 0.25
# An earlier encoding in each codec: drawn for pictures that did not come in it and, less often, for
# those that did.
HISTORIES = {"WEBP": (40, 90), "JPEG": (75, 98)}
HISTORY_CHANCE = 0.5
SECOND_HISTORY_CHANCE = 0.1
COLOUR_CHANCE = 0.3
GAMMAS = (0.8, 1.25)
# A lens out of focus, sharpening and sensor noise occur on both sides.
BLURRED_CHANCE, BLURS = 0.15, (0.4, 1.6)  # standard deviation of a Gaussian, in pixels
SHARPENED_CHANCE, SHARPENINGS = 0.1, (30, 150)  # percent of an unsharp mask
NOISY_CHANCE, NOISES = 0.15, (1.0, 6.0)  # standard deviation, in grey levels
EXCHANGE_CHANCE = 0.25
SHARPNESS_FLOOR = 0.01  # squared grey levels, so that a flat piece has a finite logarithm
COARSE_SIDE = 10  # of a crop's coarse version: one of its pixels covers 17


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A picture to crop from.

    (h, w, 3) uint8, the format that it came in, and its coarse version (10, 10, 3).
    """

    pixels: NDArray[np.uint8]
    container: str
    coarse: NDArray[np.uint8]


def source_of(image: Image.Image, container: str) -> Source:
    return Source(np.asarray(image), container, coarse_of(image))


def coarse_of(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((COARSE_SIDE, COARSE_SIDE), Image.Resampling.BOX))


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A square of a picture, the scale to look at it, and how sharp the picture is there."""

    source: Source
    top: int
    left: int
    side: int
    sharpness: float


def choose_place(source: Source, random: np.random.Generator) -> Place:
    """Choose a random place, at a scale for which the picture is large enough."""
    side = max(SIDE, min(round(SIDE / choose_scale(random)), *source.pixels.shape[:2]))
    if side > SIDE * 0.99 and side < SIDE * 1.01:
        side = SIDE
    top = int(random.integers(source.pixels.shape[0] - side + 1))
    left = int(random.integers(source.pixels.shape[1] - side + 1))
    grey = cut_square(source, top, left, side).convert("L")
    if side != SIDE:
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return Place(source, top, left, side, sharpness_of(np.asarray(grey)))


def cut_square(source: Source, top: int, left: int, side: int) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(source.pixels[top : top + side, left : left + side])
    )


def sharpness_of(grey: NDArray[np.uint8]) -> float:
    """(s, s) -> logarithm of the variance of the Laplacian, the usual measure of focus."""
    levels = grey.astype(np.float32)
    laplacian = (
        4 * levels[1:-1, 1:-1]
        - levels[:-2, 1:-1]
        - levels[2:, 1:-1]
        - levels[1:-1, :-2]
        - levels[1:-1, 2:]
    )
    return float(np.log(laplacian.var() + SHARPNESS_FLOOR))


def deliver_place(place: Place, other: Source, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return (160, 160, 3) pixels of the picture; at random, `other` lends its coarse colours."""
    piece = cut_piece(place, random)
    if random.random() < EXCHANGE_CHANCE:
        piece = exchange_coarse(piece, other.coarse)
    piece = refocus(piece, random)
    if random.random() < COLOUR_CHANCE:
        piece = recolour(piece, random)
    if random.random() < STORED_CHANCE:
        codec = "WEBP" if random.random() < WEBP_SHARE else "JPEG"
        piece = recompress_as(codec, piece, QUALITIES, random)
    pixels = turn(np.asarray(piece), random)
    top, left = random.integers(GRID_MARGIN + 1, size=2)
    return pixels[top : top + CROP_SIDE, left : left + CROP_SIDE]


def cut_piece(place: Place, random: np.random.Generator) -> Image.Image:
    """Cut a piece of (168, 168), with earlier encodings at random."""
    piece = cut_square(place.source, place.top, place.left, place.side)
    piece = add_history(piece, place.source.container, random)
    if place.side != SIDE:
        return piece.resize((SIDE, SIDE), FILTERS[int(random.integers(len(FILTERS)))])
    if random.random() < ENLARGED_CHANCE:
        large = round(SIDE * random.uniform(*ENLARGEMENTS))
        corner = int(random.integers(large - SIDE + 1))
        larger = piece.resize((large, large), FILTERS[int(random.integers(3))])
        return larger.crop((corner, corner, corner + SIDE, corner + SIDE))
    return piece


def add_history(piece: Image.Image, container: str, random: np.random.Generator) -> Image.Image:
    for codec, qualities in HISTORIES.items():
        if random.random() < (SECOND_HISTORY_CHANCE if container == codec else HISTORY_CHANCE):
            piece = recompress_as(codec, piece, qualities, random)
    return piece


def choose_scale(random: np.random.Generator) -> float:
    return float(random.uniform(*SCALES)) if random.random() < SCALED_CHANCE else 1.0


def exchange_coarse(piece: Image.Image, coarse: NDArray[np.uint8]) -> Image.Image:
    """Put the detail of a piece on the coarse shapes and colours of another picture.

    So the content of a picture gives no information.
    """
    change = coarse.astype(np.float32) - coarse_of(piece).astype(np.float32)  # (10, 10, 3)
    channels = [
        np.asarray(
            Image.fromarray(change[..., channel]).resize(piece.size, Image.Resampling.BICUBIC)
        )
        for channel in range(3)
    ]
    mixed = np.asarray(piece).astype(np.float32) + np.stack(channels, axis=-1)
    return Image.fromarray(np.clip(np.round(mixed), 0, 255).astype(np.uint8))


def refocus(piece: Image.Image, random: np.random.Generator) -> Image.Image:
    """Blur or sharpen, and add noise, each at random."""
    kind = random.random()
    if kind < BLURRED_CHANCE:
        piece = piece.filter(ImageFilter.GaussianBlur(random.uniform(*BLURS)))
    elif kind < BLURRED_CHANCE + SHARPENED_CHANCE:
        piece = piece.filter(
            ImageFilter.UnsharpMask(
                radius=1.0, percent=int(random.uniform(*SHARPENINGS)), threshold=0
            )
        )
    if random.random() < NOISY_CHANCE:
        noise = random.normal(0.0, random.uniform(*NOISES), np.asarray(piece).shape)
        piece = Image.fromarray(
            np.clip(np.round(np.asarray(piece) + noise), 0, 255).astype(np.uint8)
        )
    return piece


def recolour(piece: Image.Image, random: np.random.Generator) -> Image.Image:
    """Apply a different gamma to each channel."""
    levels = np.arange(256) / 255.0
    tables = [
        np.round(255.0 * levels ** random.uniform(*GAMMAS)).astype(int).tolist() for _ in range(3)
    ]
    return piece.point([level for table in tables for level in table])


def recompress_as(
    codec: str, piece: Image.Image, qualities: tuple[int, int], random: np.random.Generator
) -> Image.Image:
    quality = int(random.integers(qualities[0], qualities[1] + 1))
    return recompress_image(codec, piece, quality, subsampling=int(random.choice((0, 2))))


def recompress_image(
    codec: str, piece: Image.Image, quality: int, *, subsampling: int = 2
) -> Image.Image:
    """Encode and decode once.

    `subsampling` is Pillow's number for JPEG: 0 is 4:4:4, 2 is 4:2:0.
    """
    encoded = io.BytesIO()
    if codec == "WEBP":
        piece.save(encoded, "WEBP", quality=quality, method=2)
    else:
        piece.save(encoded, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(encoded).convert("RGB")


def turn(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    if random.random() < 0.25:
        pixels = np.rot90(pixels, int(random.integers(4)))
    return pixels[:, ::-1] if random.random() < 0.5 else pixels
