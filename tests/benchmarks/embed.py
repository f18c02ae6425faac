"""Images per second of `Embedder.embed` and `embed_stream`, beside the bare forward of the same
weights.

    python -m tests.benchmarks.embed [--images 32] [--repeats 3] [--device cpu]
        [--precision float32] [--models builtin]

Measures the built-in model and a full ViT-S/384 with random weights in the published layout. The
bare forward is transformers' own module on pixels that are ready in memory; the difference is
decoding, preprocessing and this project. The runs are interleaved and the best of each is printed,
because other programs slow down single runs. Quality is printed with speed: the largest difference
of any number in the vectors and logits from those of the bare forward.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTForImageClassification

from embedder.network.architecture import VIT_SMALL_384, Architecture
from embedder.network.download import locate_model
from embedder.network.embed import Embedder
from embedder.network.registry import get_builtin_directory
from embedder.network.results import Embedded
from embedder.network.tensor_names import to_published
from embedder.network.weights import build_empty_vit, load_vit
from embedder.pictures.decode import DecodedImage, decode, make_thumbnail
from embedder.pictures.preprocess import normalise

PICTURE_SIZE = (1280, 960)
PREPROCESSING = {
    "size": {"shortest_edge": 440},
    "resample": 3,
    "crop_size": 384,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


@dataclass(frozen=True)
class Bare:
    """The forward of transformers alone, on the same device and in the same precision."""

    model: ViTForImageClassification
    embedder: Embedder

    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        device, size = torch.device(self.embedder.device), self.embedder.batch_size
        dtype = getattr(torch, self.embedder.precision)
        vectors, logits = [], []
        with torch.inference_mode():
            for at in range(0, len(values), size):
                batch = torch.from_numpy(values[at : at + size]).to(device)
                with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
                    hidden = self.model.vit(batch).last_hidden_state[:, 0]
                    logit = self.model.classifier(hidden)[:, 0]
                vectors.append(torch.nn.functional.normalize(hidden.float(), dim=-1).cpu().numpy())
                logits.append(logit.float().cpu().numpy())
        return np.concatenate(vectors), np.concatenate(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--models", nargs="+", default=["builtin", "vit-s-384"])
    options = parser.parse_args()
    print_machine()
    pictures = encode_pictures(options.images)
    print(
        f"{len(pictures)} JPEG files of {PICTURE_SIZE[0]} x {PICTURE_SIZE[1]}, "
        f"{sum(map(len, pictures)) / 1e6:.1f} "
        f"MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model: str | Path = write_random_vit(Path(folder)) if name == "vit-s-384" else name
            if name == "builtin" and not (get_builtin_directory() / "model.safetensors").is_file():
                print("\nbuiltin: its weights are missing")
                continue
            measure(
                name,
                Embedder.load(model, device=options.device, precision=options.precision),
                model,
                pictures,
                options,
            )


def measure(
    name: str,
    embedder: Embedder,
    model: str | Path,
    pictures: list[bytes],
    options: argparse.Namespace,
) -> None:
    files = locate_model(model, offline=True)
    bare = Bare(load_vit(files.weights, files.architecture).to(embedder.device), embedder)  # type: ignore[arg-type]
    decoded = [decode(each) for each in pictures]
    pixels = np.stack([embedder.preprocess(each) for each in decoded])  # (n, h, w, 3)
    values = normalise(pixels, embedder.info.preprocessing)  # (n, 3, h, w)
    ways: dict[str, Callable[[], object]] = {
        "bare forward": lambda: bare.run(values),
        "Embedder.embed_pixels": lambda: embedder.embed_pixels(pixels),
        "Embedder.embed": lambda: embedder.embed(decoded),
        "Embedder.embed_stream": lambda: embed_in_stream(embedder, pictures),
        "embed_stream, deriving thumbnails": lambda: embed_in_stream(
            embedder, pictures, derive_thumbnail
        ),
        "decode + preprocess, one thread": lambda: [
            embedder.preprocess(decode(each)) for each in pictures
        ],
    }
    best = dict.fromkeys(ways, float("inf"))
    embedder.embed_pixels(pixels[: embedder.batch_size])  # the first forward allocates
    for _ in range(options.repeats):
        for way, run in ways.items():
            began = time.perf_counter()
            run()
            best[way] = min(best[way], time.perf_counter() - began)
    info = embedder.info
    print(
        f"\n{name}: {info.parameter_count:,} parameters, {info.image_size} pixels, "
        f"{info.dimension} dimensions"
    )
    print(
        f"{embedder.device}, {embedder.precision}, batches of {embedder.batch_size}, best of "
        f"{options.repeats}"
    )
    print(f"{'':34} {'images/s':>9} {'of bare':>8}   difference to bare: vectors, logits")
    for way, seconds in best.items():
        share = best["bare forward"] / seconds
        quality = describe_differences(way, bare.run(values), embedder, pixels, decoded, pictures)
        print(f"{way:34} {len(pictures) / seconds:9.2f} {share:8.1%}   {quality}")


def describe_differences(
    way: str,
    bare: tuple[NDArray[np.float32], NDArray[np.float32]],
    embedder: Embedder,
    pixels: NDArray[np.uint8],
    decoded: list[DecodedImage],
    pictures: list[bytes],
) -> str:
    vectors, logits = bare
    if way == "Embedder.embed_pixels":
        embeddings = embedder.embed_pixels(pixels)
    elif way == "Embedder.embed":
        embeddings = embedder.embed(decoded)
    elif way == "Embedder.embed_stream":
        streamed = embed_in_stream(embedder, pictures)
        in_vectors = max(
            np.abs(each.vector - vector).max()
            for each, vector in zip(streamed, vectors, strict=True)
        )
        in_logits = max(
            abs(each.logit - logit) for each, logit in zip(streamed, logits, strict=True)
        )
        return f"{in_vectors:.1e}, {in_logits:.1e}"
    else:
        return ""
    in_vectors = np.abs(embeddings.vectors - vectors).max()
    return f"{in_vectors:.1e}, {np.abs(embeddings.logits - logits).max():.1e}"


def embed_in_stream(
    embedder: Embedder,
    pictures: list[bytes],
    derive: Callable[[int, DecodedImage], object] = lambda *_: None,
) -> list[Embedded[int, object]]:
    results = [
        each
        for each in embedder.embed_stream(enumerate(pictures), derive)
        if isinstance(each, Embedded)
    ]
    assert len(results) == len(pictures)
    return results


def derive_thumbnail(_number: int, decoded: DecodedImage) -> bytes:
    return make_thumbnail(decoded.image)


def encode_pictures(count: int) -> list[bytes]:
    """Make JPEG files that cost about as much as photographs of this size.

    They show soft shapes under grain, in quality 90.
    """
    width, height = PICTURE_SIZE
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        soft = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            PICTURE_SIZE, Image.Resampling.BICUBIC
        )
        grain = random.normal(0, 6, (height, width, 1))
        image = Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8))
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    return pictures


def write_random_vit(folder: Path) -> Path:
    """Write a ViT-S/384 of random weights in the published layout, 87,270,764 bytes."""
    model = build_empty_vit(VIT_SMALL_384).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02, generator=generator)
    save_file(
        to_published(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"}
    )
    config = {name: getattr(VIT_SMALL_384, name) for name in Architecture.__slots__}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "vit", "num_labels": 1, **config})
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return folder


def print_machine() -> None:
    cpu_file, threads = Path("/proc/cpuinfo"), torch.get_num_threads()
    lines = cpu_file.read_text().splitlines() if cpu_file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    print(
        f"{cpu}, {os.cpu_count()} cores, {threads} torch threads, {platform.system()} "
        f"{platform.machine()}"
    )
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
    packages = ("torch", "transformers", "safetensors", "pillow", "numpy")
    print(
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


if __name__ == "__main__":
    main()
