"""The script that a user would write to embed a folder of images, the images, and the bare forward.

    python -m tests.benchmarks.ingest_script [--images 200] [--size 512x512]
        [--models builtin vit-s-384]

The script uses only transformers: its image processor (PIL), its model, a loop over batches, and
`numpy.save` at the end. It keeps no rows, skips no broken file and cannot continue after a stop.
The script and the bare forward run in processes of their own, from the same checkpoint folder.
Quality is printed with speed: the distance of the script's vectors from the bare ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.ingest_peers import read_peak_bytes, report, watch

MODELS = ("builtin", "vit-s-384")
SIZES = {"256x256": (256, 256), "512x512": (512, 512), "1280x960": (1280, 960)}
QUALITY = 90
# Share of the largest crop that fits into the photograph; smaller ones would be enlarged too much.
SMALLEST_CROP = 0.35
# Levels of 255. Grain restores the detail of enlarged crops, so that the JPEG files cost as much as
# those of photographs.
GRAIN = 3.0
LIMIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Embedding:
    """One way to embed files.

    `seconds` are those of the loop, or of the best repeat. The vectors are in a .npy file.
    """

    way: str
    model: str
    images: int
    precision: str
    batch_size: int
    vectors: Path
    seconds: float | None = None
    process_seconds: float | None = None
    peak_bytes: int | None = None
    peak_anonymous_bytes: int | None = None
    failed: str = ""

    @property
    def images_per_second(self) -> float | None:
        return self.images / self.seconds if self.seconds else None


# The images


def make_sample(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> list[Path]:
    """Write JPEG files that do not exist yet.

    File i depends only on seed, size and i; no two files are equal.
    """
    paths = [folder / f"{i // 1000:04}" / f"{i:07}.jpg" for i in range(count)]

    def write(i: int) -> None:
        path, temporary = paths[i], paths[i].with_suffix(".part")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_picture(np.random.default_rng([seed, *size, i]), size).save(
                temporary, "JPEG", quality=QUALITY
            )
            temporary.rename(path)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(write, range(count)):
            pass
    return paths


def draw_picture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw a crop of a bundled photograph (or soft shapes without one) at this size, under
    grain.
    """
    scene = draw_scene(random, size[0] / size[1]).resize(size, Image.Resampling.BICUBIC)
    if random.integers(2):
        scene = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    grain = random.normal(0, GRAIN, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(scene) + grain).clip(0, 255).astype(np.uint8))


def draw_scene(random: np.random.Generator, aspect: float) -> Image.Image:
    from embedder.demonstration.photographs import load_bundled_photographs

    try:
        photographs = load_bundled_photographs()
    except ModuleNotFoundError:
        return Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    image = photographs[random.integers(len(photographs))].image
    largest = min(image.width, image.height * aspect)
    width = largest * random.uniform(SMALLEST_CROP, 1)
    left = random.uniform(0, image.width - width)
    top = random.uniform(0, image.height - width / aspect)
    return image.crop((round(left), round(top), round(left + width), round(top + width / aspect)))


# What the processes do


def embed_with_script(
    folder: Path, files: Sequence[Path], batch_size: int, precision: str, out: Path
) -> None:
    """Embed as a user would; the pooler, which no checkpoint here has, is left out."""
    import torch
    from transformers import AutoModel, CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    started = time.perf_counter()
    vectors = []
    for at in range(0, len(files), batch_size):
        images = [Image.open(path).convert("RGB") for path in files[at : at + batch_size]]
        inputs = processor(images, return_tensors="pt")
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            hidden = model(**inputs).last_hidden_state[:, 0]  # (b, d)
        vectors.append(torch.nn.functional.normalize(hidden.float(), dim=-1).numpy())
    np.save(out, np.concatenate(vectors))
    report(seconds=time.perf_counter() - started, peak_bytes=read_peak_bytes(), done=True)


def embed_with_bare_forward(
    folder: Path, files: Sequence[Path], batch_size: int, precision: str, out: Path, repeats: int
) -> None:
    """Run the forward alone, on pixels that Lineup prepared."""
    from embedder.network.download import locate_model
    from embedder.network.embed import Embedder
    from embedder.network.weights import load_vit
    from embedder.pictures.decode import decode
    from embedder.pictures.preprocess import normalise
    from tests.benchmarks.embed import Bare
    from tests.transformers_vit import make_transformers_vit

    embedder = Embedder.load(folder, device="cpu", precision=precision, batch_size=batch_size)
    found = locate_model(folder, offline=True)
    model = make_transformers_vit(load_vit(found.weights, found.architecture))
    forward = Bare(model, embedder)
    prepared = np.stack([embedder.preprocess(decode(path.read_bytes())) for path in files])
    pixels = normalise(prepared, embedder.info.preprocessing)  # (n, 3, h, w)
    forward.run(pixels[:batch_size])  # the first forward allocates
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        vectors, _ = forward.run(pixels)
        seconds.append(time.perf_counter() - started)
    np.save(out, vectors)
    report(
        seconds=min(seconds), precision=embedder.precision, peak_bytes=read_peak_bytes(), done=True
    )


# The figures


def run_script(
    model: str,
    work: Path,
    files: Sequence[Path],
    *,
    batch_size: int = 32,
    precision: str = "float32",
) -> Embedding:
    """Embed the files with the script.

    `precision` is float32, as the script is written, or bfloat16 by autocast.
    """
    return _measure("script", model, work, files, batch_size, precision, ())


def run_bare_forward(
    model: str,
    work: Path,
    files: Sequence[Path],
    *,
    batch_size: int = 8,
    precision: str = "auto",
    repeats: int = 3,
) -> Embedding:
    """Return the best of the repeats.

    All pixels are in memory, so use about a hundred files.
    """
    return _measure("bare", model, work, files, batch_size, precision, ("--repeats", str(repeats)))


def measure_largest_difference(one: Embedding, other: Embedding) -> float:
    """Return the largest difference of any number in the vectors that both have."""
    some = [np.load(each.vectors)[: min(one.images, other.images)] for each in (one, other)]
    return float(np.abs(some[0] - some[1]).max())


def get_model_folder(model: str, work: Path) -> Path:
    """Return the checkpoint's folder; a model of random weights is written first."""
    from embedder.network.registry import get_builtin_directory
    from tests.benchmarks.embed import write_random_vit

    if model == "builtin":
        return get_builtin_directory()
    folder = work / model
    folder.mkdir(parents=True, exist_ok=True)
    return folder if (folder / "preprocessor_config.json").exists() else write_random_vit(folder)


def _measure(
    way: str,
    model: str,
    work: Path,
    files: Sequence[Path],
    batch_size: int,
    precision: str,
    more: Sequence[str],
) -> Embedding:
    work.mkdir(parents=True, exist_ok=True)
    listed, out = work / "files.txt", work / f"{way}-{model}.npy"
    listed.write_text("\n".join(map(str, files)))
    arguments = ("--child", way, str(get_model_folder(model, work)), str(listed), str(out))
    settings = ("--batch", str(batch_size), "--precision", precision, *more)
    finished = watch(
        "tests.benchmarks.ingest_script", (*arguments, *settings), LIMIT_SECONDS, threads=None
    )
    return Embedding(
        way,
        model,
        len(files),
        finished.reported.get("precision", precision),
        batch_size,
        out,
        finished.reported.get("seconds"),
        finished.seconds,
        finished.peak_bytes,
        finished.peak_anonymous_bytes,
        finished.problem,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", choices=sorted(SIZES), default="512x512")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batch", type=int, default=32, help="batch size of the script")
    parser.add_argument("--precision", default="float32", help="precision of both")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("benchmark-ingest-images"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options)
        return
    files = make_sample(options.work / options.size, options.images, SIZES[options.size])
    mean = sum(path.stat().st_size for path in files) / len(files)
    print(f"{len(files)} JPEG files of {options.size}, {mean / 1e3:.0f} kB on average")
    for model in options.models:
        ways = [
            run_script(
                model, options.work, files, batch_size=options.batch, precision=options.precision
            ),
            run_bare_forward(
                model,
                options.work,
                files[:64],
                precision=options.precision,
                repeats=options.repeats,
            ),
        ]
        for each in ways:
            print_embedding(each)
        if not any(each.failed for each in ways):
            difference = measure_largest_difference(*ways)
            print(f"{'':10} largest difference of their vectors: {difference:.1e}")


def print_embedding(each: Embedding) -> None:
    if each.failed or each.peak_bytes is None or each.peak_anonymous_bytes is None:
        print(f"{each.model:10} {each.way:7} {each.failed}")
        return
    print(
        f"{each.model:10} {each.way:7} {each.images_per_second:8.2f} images/s, {each.precision}, "
        f"batches of "
        f"{each.batch_size}, process {each.process_seconds:.1f} s, "
        f"peak {each.peak_bytes / 1e6:.0f} "
        f"MB, "
        f"anonymous {each.peak_anonymous_bytes / 1e6:.0f} MB",
        flush=True,
    )


def _child(options: argparse.Namespace) -> None:
    way, folder, listed, out = options.child
    files = [Path(line) for line in Path(listed).read_text().splitlines()]
    if way == "script":
        embed_with_script(Path(folder), files, options.batch, options.precision, Path(out))
    else:
        embed_with_bare_forward(
            Path(folder), files, options.batch, options.precision, Path(out), options.repeats
        )


if __name__ == "__main__":
    main()
