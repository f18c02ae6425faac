"""200 malformed files, made here from good ones by a fixed seed: none ends the run, hangs, or
passes as whole by half.

Ten of each of twenty good files: five truncations, which must be errors, and five with some bytes
changed, which are a typed error or a whole image of the size that it says.
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from embedder.errors import ImageError
from embedder.network.architecture import Architecture
from embedder.network.embed import Embedder
from embedder.network.results import Embedded, Failed
from embedder.network.tensor_names import to_published
from embedder.network.weights import build_empty_vit
from embedder.pictures.decode import decode
from embedder.pictures.limits import ImageLimits
from tests.work import HANG_SECONDS

SEED = 20240229
REASONS = {"not_an_image", "unsupported_format", "truncated", "too_large", "too_small", "corrupt"}


@dataclass(frozen=True)
class Malformed:
    name: str
    damage: str
    data: bytes


def picture() -> Image.Image:
    rows, columns = np.mgrid[0:80, 0:112]
    channels = [columns * 2, rows * 2, (rows + columns) % 200]
    noise = np.random.default_rng(SEED).integers(8, 40, (80, 112, 3))
    return Image.fromarray((np.stack(channels, axis=-1) + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def good_files() -> dict[str, bytes]:
    image = picture()
    palette, grey, alpha = image.convert("P"), image.convert("L"), image.copy()
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    heic = BytesIO()
    pillow_heif.from_pillow(image).save(heic)
    return {
        "baseline.jpg": encode(image, "JPEG", exif=exif),
        "progressive.jpg": encode(image, "JPEG", progressive=True),
        "grey.jpg": encode(grey, "JPEG", quality=60),
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "colour.png": encode(image, "PNG"),
        "palette.png": encode(palette, "PNG", transparency=3),
        "alpha.png": encode(alpha, "PNG"),
        "lossy.webp": encode(image, "WEBP", exif=exif),
        "lossless.webp": encode(alpha, "WEBP", lossless=True),
        "animated.webp": encode(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "colour.bmp": encode(image, "BMP"),
        "palette.bmp": encode(palette, "BMP"),
        "plain.tif": encode(image, "TIFF"),
        "lzw.tif": encode(image, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encode(grey, "TIFF", compression="tiff_deflate"),
        "still.gif": encode(palette, "GIF"),
        "animated.gif": encode(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "colour.avif": encode(image, "AVIF"),
        "alpha.avif": encode(alpha, "AVIF"),
        "colour.heic": heic.getvalue(),
    }


def malformed_files() -> list[Malformed]:
    chance = random.Random(SEED)
    made = []
    for name, good in good_files().items():
        for _ in range(5):
            cut = chance.randrange(1, len(good))
            made.append(Malformed(name, f"cut at {cut} of {len(good)}", good[:cut]))
        for flips in (1, 2, 4, 16, 64):
            data = bytearray(good)
            places = [chance.randrange(4 if flips < 16 else 0, len(good)) for _ in range(flips)]
            for place in places:
                data[place] ^= chance.randrange(1, 256)
            made.append(Malformed(name, f"changed at {places}", bytes(data)))
    return made


FILES = malformed_files()


def outcome_of(file: Malformed) -> str:
    try:
        decoded = decode(file.data, ImageLimits(min_image_side=1))
    except ImageError as err:
        outcome = err.reason
    else:
        assert decoded.image.mode == "RGB"
        assert decoded.image.size == (decoded.width, decoded.height)
        assert len(decoded.image.tobytes()) == 3 * decoded.width * decoded.height
        outcome = "decoded"
    return outcome


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("model")
    shape = Architecture(32, 1, 2, 64, 32, 8, 1e-6)
    model = build_empty_vit(shape).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    save_file(to_published(model.state_dict()), folder / "model.safetensors")
    config = {name: getattr(shape, name) for name in Architecture.__slots__}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "vit", "num_labels": 1, **config})
    )
    frozen = {
        "do_resize": True,
        "size": {"shortest_edge": 40},
        "crop_size": 32,
        "do_normalize": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(frozen))
    return Embedder.load(Path(folder), device="cpu", precision="float32")


def test_there_are_200_files_of_every_format_and_the_good_ones_are_good() -> None:
    assert len(FILES) == 200
    assert len({file.data for file in FILES}) == 200
    formats = {decode(data).format for data in good_files().values()}
    assert formats == {"jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heic"}


def test_each_file_ends_as_its_typed_error_or_as_a_whole_image() -> None:
    with ThreadPoolExecutor(2) as pool:
        running = [(file, pool.submit(outcome_of, file)) for file in FILES]
        outcomes = [(file, each.result(timeout=HANG_SECONDS)) for file, each in running]
    for file, outcome in outcomes:
        assert outcome in REASONS | {"decoded"}, file
        if file.damage.startswith("cut"):
            assert outcome in {"truncated", "not_an_image"}, (file.name, file.damage, outcome)
    seen = {outcome for _, outcome in outcomes}
    assert seen >= {"decoded", "truncated", "corrupt"}, "the damage is of several kinds"


def test_a_stream_goes_through_all_of_them_and_the_good_ones_between_them_are_embedded(
    embedder: Embedder,
) -> None:
    good = list(good_files().values())
    items: list[tuple[str, bytes]] = []
    for n, file in enumerate(FILES):
        items.append((f"bad {n}", file.data))
        if n % 10 == 0:
            items.append((f"good {n}", good[n // 10]))
    results = list(
        embedder.embed_stream((key, data, embedder.picture_order) for key, data in items)
    )
    assert [each.key for each in results] == [key for key, _ in items]
    for each in results:
        if isinstance(each, Failed):
            assert each.key.startswith("bad"), (each.key, each.error)
            assert each.error.reason in REASONS
        else:
            assert isinstance(each, Embedded)
            assert np.linalg.norm(each.vector) == pytest.approx(1, abs=1e-5)
    assert sum(isinstance(each, Embedded) for each in results) >= 20
