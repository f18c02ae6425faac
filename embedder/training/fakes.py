"""Pairs of a photograph and its re-synthesised versions, and the crops of both that train the ViT.

Both sides pass through the same pipeline: the same places, the same mirroring and the same chances
of the same re-compression. So neither subject, size nor container distinguishes them, only what the
decoder left in the pixels.
"""

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.demonstration.resynthesis import Resynthesiser

CROP_SIDE = 160
# Pixels more than the crop: the 8-pixel grid of a re-compressed JPEG may begin anywhere in a centre
# crop.
GRID_MARGIN = 8
SCENE_SIDE = 208
# Two of four: twice as many photographs in the same time, as making the fakes takes minutes.
DECODERS_EACH = 2
JPEG_CHANCE = 0.5
JPEG_QUALITIES = (65, 98)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A piece of a photograph and what some decoders made of it, by decoder number.

    All are (h, w, 3) uint8 of one size.
    """

    real: NDArray[np.uint8]
    fakes: Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class CropBatch:
    """`pixels` (b, 160, 160, 3) uint8; `generators` (b,) int64.

    Generator 0 is a photograph, 1 + i is the i-th decoder.
    """

    pixels: NDArray[np.uint8]
    generators: NDArray[np.int64]


def make_scenes(
    sources: Iterable[NDArray[np.uint8]],
    decoders: Sequence[Resynthesiser],
    *,
    decoders_each: int = DECODERS_EACH,
    seed: int = 0,
) -> list[Scene]:
    """Make one scene of each source: a random piece, passed through `decoders_each` decoders."""
    random, started, scenes = np.random.default_rng(seed), time.monotonic(), list[Scene]()
    for source in sources:
        piece = cut_random_piece(source, SCENE_SIDE, random)
        turns = [int(turn) for turn in random.permutation(len(decoders))[:decoders_each]]
        image = Image.fromarray(piece)
        scenes.append(Scene(piece, {turn: np.asarray(decoders[turn](image)) for turn in turns}))
        if len(scenes) % 200 == 0:
            print(f"  {len(scenes)} scenes, {time.monotonic() - started:.0f} s", flush=True)
    return scenes


def cut_random_piece(
    picture: NDArray[np.uint8], side: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Copy (side, side, 3) contiguous pixels, fewer where the picture has fewer."""
    top = random.integers(max(0, picture.shape[0] - side) + 1)
    left = random.integers(max(0, picture.shape[1] - side) + 1)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def make_paired_batch(
    scenes: Sequence[Scene], random: np.random.Generator, pairs: int
) -> CropBatch:
    """Cut `pairs` places, each as a photograph and as a fake of one of the scene's decoders."""
    crops, generators = list[NDArray[np.uint8]](), list[int]()
    for _ in range(pairs):
        scene = scenes[int(random.integers(len(scenes)))]
        decoder = sorted(scene.fakes)[int(random.integers(len(scene.fakes)))]
        side = CROP_SIDE + GRID_MARGIN
        top = random.integers(scene.real.shape[0] - side + 1)
        left = random.integers(scene.real.shape[1] - side + 1)
        flip = random.random() < 0.5
        for generator, picture in ((0, scene.real), (1 + decoder, scene.fakes[decoder])):
            crop = picture[top : top + side, left : left + side]
            crops.append(deliver_crop(crop[:, ::-1] if flip else crop, random))
            generators.append(generator)
    return CropBatch(np.stack(crops), np.array(generators, np.int64))


def deliver_crop(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """(168, 168, 3) -> (160, 160, 3): re-compress at random, then crop at a random place."""
    if random.random() < JPEG_CHANCE:
        quality = int(random.integers(JPEG_QUALITIES[0], JPEG_QUALITIES[1] + 1))
        picture = recompress(picture, quality, subsampling=int(random.choice((0, 2))))
    top, left = random.integers(GRID_MARGIN + 1, size=2)
    return picture[top : top + CROP_SIDE, left : left + CROP_SIDE]


def recompress(
    picture: NDArray[np.uint8], quality: int, *, subsampling: int = 2
) -> NDArray[np.uint8]:
    """Encode as JPEG and decode.

    `subsampling` is PIL's number: 0 is 4:4:4, 2 is 4:2:0.
    """
    stored = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        stored, "JPEG", quality=quality, subsampling=subsampling
    )
    return np.asarray(Image.open(stored))
