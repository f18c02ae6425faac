"""What each precision does to answers, images per second and memory; and the ways to embed.

    python -m tests.benchmarks.embed [--images 32] [--repeats 3] [--device cpu]
        [--precision float32] [--models builtin vit-s-384] [--train 5] [--only precisions]

The first table has a row for every precision of the device: how far it moves the panel's answers
from float32 on a CPU, images per second, memory. Beside each stands transformers' own forward with
the same weights, in the same run: in half precision by `torch.autocast`, which rounds the first
layer too. The second table has the ways to embed in one precision, beside that forward on pixels
that are ready in memory; the difference is decoding, preprocessing and this project.

`vit-s-384` is a full ViT-S/16 at 384 pixels with the trained weights of the built-in model, widened
(`vit_small`); with `--train` it is trained further for that many minutes, which needs a GPU. The
runs are interleaved and the best of each is printed, because other programs slow down single runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTForImageClassification

from embedder.decoding.picture import THUMBNAIL_PIXELS
from embedder.network.architecture import VIT_SMALL_384, Architecture
from embedder.network.device import DeviceKind, Precision, choose_device, choose_placement
from embedder.network.download import locate_model
from embedder.network.embed import Embedder, describe_model
from embedder.network.panel import Panel, PanelCheck, compare
from embedder.network.results import Embedded, Embeddings
from embedder.network.tensor_names import to_published
from embedder.network.weights import build_empty_vit, load_vit
from embedder.pictures.decode import DecodedImage, decode
from embedder.pictures.preprocess import normalise
from tests.benchmarks.vit_small import measure_accuracy, train_further, widen_builtin
from tests.tensors import measure_tensors
from tests.transformers_vit import make_transformers_vit

PICTURE_SIZE = (1280, 960)
CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
NATIVE: dict[str, object] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": False,
    "crop_size": 384,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
PREPROCESSING: dict[str, object] = {
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

    @classmethod
    def load(cls, model: str | Path, embedder: Embedder) -> Bare:
        files = locate_model(model, offline=True)
        loaded = load_vit(files.weights, files.architecture, files.head)
        return cls(make_transformers_vit(loaded).to(embedder.device), embedder)  # type: ignore[arg-type]

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
    parser.add_argument("--precision", default="auto", help="of the ways to embed")
    parser.add_argument("--models", nargs="+", default=["builtin", "vit-s-384"])
    parser.add_argument("--train", type=float, default=0, help="minutes for vit-s-384; needs a GPU")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="of the table of precisions; process: the time of this process' threads, for one "
        "thread (OMP_NUM_THREADS=1) beside other work",
    )
    parser.add_argument("--only", choices=["precisions", "ways"], help="one of the two tables")
    options = parser.parse_args()
    print_machine()
    pictures = encode_pictures(options.images)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model = write_vit_small(Path(folder), options) if name == "vit-s-384" else name
            if options.only != "ways":
                print_precisions(name, model, options)
            if options.only != "precisions":
                embedder = Embedder.load(model, device=options.device, precision=options.precision)
                measure(name, embedder, model, pictures, options)


def print_precisions(name: str, model: str | Path, options: argparse.Namespace) -> None:
    """Print the table of precisions of one model."""
    device = choose_device() if options.device == "auto" else options.device
    kind = DeviceKind(device.partition(":")[0])
    files = locate_model(model, offline=True)
    vit = load_vit(files.weights, files.architecture, files.head)
    panel = Panel(files.name, vit, files.preprocessing)
    values = normalise(panel.pixels, files.preprocessing)
    print(f"\n{name}: {files.architecture.image_size} pixels, {len(panel.pixels)} panel pictures")
    print(
        f"{'':30} {'cosine':>10} {'logit':>8} {'accepted':>9} {'images/s':>9} {'one by one':>11} "
        f"{'weights':>10} {'+ activations':>14}"
    )
    for precision in Precision:
        if kind is DeviceKind.CPU and precision is Precision.FLOAT16:
            continue
        embedder = load_unchecked(model, device, precision)
        bare = Bare.load(model, embedder)
        print_row(precision.value, embedder, panel, options)
        vectors, logits = bare.run(values)
        check = compare(precision.value, device, panel.exact, Embeddings(vectors, logits))
        batch = fill_batch(panel.pixels, embedder.batch_size)
        ready = normalise(batch, files.preprocessing)
        speed = find_best_speed(partial(bare.run, ready), len(batch), options)
        print(f"{'  transformers':30} {format_check(check)} {speed:9.2f}")


def print_row(label: str, embedder: Embedder, panel: Panel, options: argparse.Namespace) -> None:
    found = embedder.embed_pixels(panel.pixels)
    check = compare(embedder.precision, embedder.device, panel.exact, found)
    # Several batches, so that a device that computes while the host prepares can do so.
    count = embedder.batch_size * (1 if embedder.device == "cpu" else 8)
    batch = fill_batch(panel.pixels, count)
    speed = find_best_speed(lambda: embedder.embed_pixels(batch), count, options)
    few = fill_batch(panel.pixels, 8)
    alone = find_best_speed(
        lambda: [embedder.embed_each(each[None]) for each in few], len(few), options
    )
    weights, peak = measure_memory(embedder, batch[: embedder.batch_size])
    print(
        f"{label:30} {format_check(check)} {speed:9.2f} {alone:11.2f} {weights / 1e6:7.1f} MB "
        f"{peak / 1e6:11.1f} MB"
    )


def load_unchecked(model: str | Path, device: str, precision: Precision) -> Embedder:
    """Load a precision although the panel may refuse it, so that its figures can be printed."""
    files = locate_model(model, offline=True)
    vit = load_vit(files.weights, files.architecture, files.head)
    info = describe_model(files)
    return Embedder(info, vit, choose_placement(device, precision.value))


def format_check(check: PanelCheck) -> str:
    accepted = "yes" if check.accepted else "no"
    return f"{check.smallest_cosine:10.7f} {check.largest_logit_difference:8.5f} {accepted:>9}"


def fill_batch(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Repeat pictures until there are `count`."""
    return pixels[np.arange(count) % len(pixels)]


def find_best_speed(run: Callable[[], object], images: int, options: argparse.Namespace) -> float:
    """Return images per second of the fastest run; the first one, which allocates, is left out."""
    clock = CLOCKS[options.clock]
    run()
    seconds = []
    for _ in range(options.repeats):
        began = clock()
        run()
        seconds.append(clock() - began)
    return images / min(seconds)


def measure_memory(embedder: Embedder, batch: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the bytes of the weights on the device, and those with all activations of one batch of
    64. Only CUDA says what it allocated; elsewhere the tensors are counted.
    """
    network = embedder.network
    weights = sum(each.nbytes for each in {*network.parameters(), *network.buffers()})
    if not embedder.device.startswith("cuda"):
        with measure_tensors() as measured:
            embedder.embed_pixels(batch)
        return weights, weights + measured.peak_bytes * 64 // len(batch)
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    embedder.embed_pixels(batch)
    torch.cuda.synchronize()
    return weights, weights + torch.cuda.max_memory_allocated() - before


def measure(
    name: str,
    embedder: Embedder,
    model: str | Path,
    pictures: list[bytes],
    options: argparse.Namespace,
) -> None:
    bare = Bare.load(model, embedder)
    decoded = [decode(each) for each in pictures]
    pixels = np.stack([embedder.preprocess(each) for each in decoded])  # (n, h, w, 3)
    values = normalise(pixels, embedder.info.preprocessing)  # (n, 3, h, w)
    ways: dict[str, Callable[[], object]] = {
        "bare forward": lambda: bare.run(values),
        "Embedder.embed_pixels": lambda: embedder.embed_pixels(pixels),
        "Embedder.embed": lambda: embedder.embed(decoded),
        "Embedder.embed_stream": lambda: embed_in_stream(embedder, pictures),
        "embed_stream, with thumbnails": lambda: embed_in_stream(
            embedder, pictures, THUMBNAIL_PIXELS
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
    embedder: Embedder, pictures: list[bytes], thumbnail_pixels: int | None = None
) -> list[Embedded[int]]:
    order = replace(embedder.picture_order, thumbnail_pixels=thumbnail_pixels)
    items = ((number, data, order) for number, data in enumerate(pictures))
    results = [each for each in embedder.embed_stream(items) if isinstance(each, Embedded)]
    assert len(results) == len(pictures)
    return results


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


def write_vit_small(folder: Path, options: argparse.Namespace) -> Path:
    """Write the ViT-S/384 in the published layout, 87,270,764 bytes."""
    model = widen_builtin()
    if options.train:
        device = choose_device() if options.device == "auto" else options.device
        steps = train_further(model, options.train, device)
        print(f"vit-s-384: trained further for {options.train} minutes, {steps} steps", end="")
        print(f"; the fake has the higher logit in {measure_accuracy(model):.0%} of pairs")
    return write_checkpoint(folder, model.state_dict(), NATIVE)


def write_random_vit(folder: Path) -> Path:
    """Write a ViT-S/384 of random weights in the published layout, 87,270,764 bytes."""
    model = build_empty_vit(VIT_SMALL_384).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02, generator=generator)
    return write_checkpoint(folder, model.state_dict(), PREPROCESSING)


def write_checkpoint(
    folder: Path, state: dict[str, torch.Tensor], preprocessing: dict[str, object]
) -> Path:
    save_file(to_published(state), folder / "model.safetensors", metadata={"format": "pt"})
    config = {name: getattr(VIT_SMALL_384, name) for name in Architecture.__slots__}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "vit", "num_labels": 1, **config})
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
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
