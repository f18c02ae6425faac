"""Small corpora with a manifest, of pictures made here."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = ("relpath", "label", "generator", "source", "source_path", "licence", "width", "height")


def noisy(seed: int, side: int = 200, *, striped: bool = False) -> Image.Image:
    """Coarse shapes and noise; striped: with a faint wave of 4 pixels, as a generator might
    leave.
    """
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 216, (6, 6, 3), np.uint8)
    shapes = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    made = shapes + random.normal(0.0, 4.0, (side, side, 3))
    if striped:
        made = made + 6.0 * np.cos(np.pi * np.arange(side) / 2)[None, :, None]
    return Image.fromarray(np.clip(np.round(made), 0, 255).astype(np.uint8))


def write_generators(folder: Path, rows: list[tuple[str, str, str]], side: int = 200) -> Path:
    """Rows of (relpath, generator or "" for a photograph, path at its source)."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as manifest:
        writer = csv.writer(manifest)
        writer.writerow(COLUMNS)
        for relpath, generator, source_path in rows:
            label = "synthetic" if generator else "real"
            writer.writerow(
                (relpath, label, generator, "somebody/pictures", source_path, "MIT", side, side)
            )
    for seed, (relpath, generator, _) in enumerate(rows):
        (folder / relpath).parent.mkdir(parents=True, exist_ok=True)
        noisy(seed, side, striped=bool(generator)).save(folder / relpath)
    return folder
