"""Pictures, encoded files and small models that the tests of `embedder` share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.hooks import RemovableHandle

from embedder.network.architecture import VIT_SMALL_384, Architecture
from embedder.network.forward import Network
from embedder.network.tensor_names import Layout, to_published
from embedder.network.weights import build_empty_vit

TINY = Architecture(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    image_size=32,
    patch_size=8,
    layer_norm_eps=1e-6,
)

# The whole preprocessing file of the default repository.
PUBLISHED_PREPROCESSING = {
    "do_normalize": True,
    "do_resize": True,
    "do_center_crop": True,
    "crop_size": 384,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": {"shortest_edge": 440},
    "image_processor_type": "CLIPImageProcessor",
}


def make_picture(width: int = 120, height: int = 90, seed: int = 0) -> Image.Image:
    """Colour gradients under noise: every region differs, and nothing in it is plain black, white
    or grey.
    """
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [
        columns * 180 // width,
        rows * 180 // height,
        (rows + columns) * 180 // (width + height),
    ]
    noise = np.random.default_rng(seed).integers(8, 60, (height, width, 3))
    return Image.fromarray((np.stack(channels, axis=-1) + noise).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    if format == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, format, **options)
    return buffer.getvalue()


def sixteen_bit_grey(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def encoded_samples(picture: Image.Image) -> dict[str, bytes]:
    """Good files of every format that is taken, in the modes and codings that differ in how they
    end.
    """
    palette, alpha, frames = (
        picture.convert("P"),
        picture.copy(),
        [picture.rotate(90).convert("P")] * 2,
    )
    alpha.putalpha(Image.linear_gradient("L").resize(picture.size))
    return {
        "jpeg": encode(picture, "JPEG", quality=90),
        "jpeg-progressive": encode(picture, "JPEG", progressive=True),
        "jpeg-restarts": encode(picture, "JPEG", restart_marker_rows=1),
        "jpeg-grey": encode(picture.convert("L"), "JPEG"),
        "jpeg-cmyk": encode(picture.convert("CMYK"), "JPEG"),
        "png": encode(picture, "PNG"),
        "png-palette": encode(palette, "PNG"),
        "png-alpha": encode(alpha, "PNG"),
        "png-16": encode(sixteen_bit_grey(picture), "PNG"),
        "webp": encode(picture, "WEBP"),
        "webp-lossless": encode(alpha, "WEBP", lossless=True),
        "webp-animated": encode(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)]),
        "bmp": encode(picture, "BMP"),
        "bmp-1": encode(picture.convert("1"), "BMP"),
        "tiff": encode(picture, "TIFF"),
        "tiff-lzw": encode(picture, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encode(picture, "TIFF", compression="jpeg"),
        "tiff-fax": encode(picture.convert("1"), "TIFF", compression="group4"),
        "gif": encode(palette, "GIF"),
        "gif-animated": encode(palette, "GIF", save_all=True, append_images=frames),
        "avif": encode(picture, "AVIF"),
        "heic": encode(picture, "HEIC"),
    }


def write_model(
    directory: Path,
    architecture: Architecture = TINY,
    *,
    layout: Layout = "huggingface",
    preprocessing: dict[str, Any] | None = None,
    seed: int = 0,
    std: float = 0.2,
) -> Path:
    """A model of random weights with the three files of a local directory."""
    directory.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} if layout == "huggingface" else None
    tensors = to_published(random_state(architecture, seed, std), layout)
    save_file(tensors, directory / "model.safetensors", metadata=metadata)
    config = {name: getattr(architecture, name) for name in Architecture.__slots__}
    (directory / "config.json").write_text(
        json.dumps({"model_type": "vit", "num_labels": 1, **config})
    )
    frozen = preprocessing or {
        "do_resize": False,
        "crop_size": architecture.image_size,
        "do_normalize": False,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(frozen))
    return directory


def random_state(
    architecture: Architecture, seed: int = 0, std: float = 0.2
) -> dict[str, torch.Tensor]:
    model = build_empty_vit(architecture).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std, generator=generator)
    return model.state_dict()


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    return make_picture()


@pytest.fixture(scope="session")
def samples(picture: Image.Image) -> dict[str, bytes]:
    return encoded_samples(picture)


@pytest.fixture(scope="session")
def encoder() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def picture_maker() -> Callable[..., Image.Image]:
    return make_picture


@pytest.fixture(scope="session")
def model_writer() -> Callable[..., Path]:
    return write_model


@pytest.fixture(scope="session")
def tiny_architecture() -> Architecture:
    return TINY


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def published_preprocessing() -> dict[str, Any]:
    return dict(PUBLISHED_PREPROCESSING)


@pytest.fixture(scope="session")
def published_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One random ViT-S/384 in both published layouts: 87 MB each, written once."""
    root = tmp_path_factory.mktemp("published")
    layouts: tuple[Layout, ...] = ("huggingface", "timm")
    return {
        each: write_model(
            root / each,
            VIT_SMALL_384,
            layout=each,
            preprocessing=dict(PUBLISHED_PREPROCESSING),
            std=0.02,
        )
        for each in layouts
    }


@pytest.fixture(scope="session")
def special_files() -> Path:
    """The folder of files that try a decoder; skips where it is not."""
    default = Path(__file__).parents[3] / "shared" / "corpus"
    folder = Path(os.environ.get("LINEUP_TEST_CORPUS", str(default))) / "special"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set LINEUP_TEST_CORPUS to the corpus")
    return folder


@pytest.fixture
def at_forward() -> Iterator[Callable[[Callable[[int, torch.dtype], object]], None]]:
    """Calls a function in every forward of any network, with its batch size and the type that its
    layers compute in, until the test ends.
    """
    handles: list[RemovableHandle] = []

    def install(act: Callable[[int, torch.dtype], object]) -> None:
        def hook(module: torch.nn.Module, args: tuple[torch.Tensor], output: Any) -> None:
            if isinstance(module, Network):
                linear = next(m for m in module.layers.modules() if isinstance(m, torch.nn.Linear))
                act(len(args[0]), linear.weight.dtype)

        handles.append(register_module_forward_hook(hook))

    yield install
    for handle in handles:
        handle.remove()
