"""What the classifier says of flat pictures: `python -m tests.benchmarks.flat_tiles CORPUS`.

CORPUS is a folder with `fake/` and `real/`. Of a sample of pictures of each kind, the flattest tile
that the model can read is cut out. Printed: by how much its luminance deviates, how many tiles
reach the model's limits of the logit. The question is whether a logit over the limit may stand for
a picture that is too flat for other verdicts (ADR 0016).
"""

from __future__ import annotations

import sys
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.model import load_embedder
from api.settings import Settings
from embedder.network.embed import Embedder
from embedder.pictures.decode import decode
from embedder.pictures.legibility import MIN_LUMINANCE_STD, measure_luminance_std

PICTURES, STEP, SEED = 160, 40, 17
STEPS = (0.0, 1.0, 2.0, MIN_LUMINANCE_STD, 8.0, 256.0)


def cut_flattest(image: Image.Image, side: int) -> Image.Image | None:
    """Return the square of this side whose luminance deviates least; None if there is none."""
    grey = np.asarray(image.convert("L"), np.float32)  # (h, w)
    if min(grey.shape) < side + STEP:
        return None
    places = [
        (float(grey[y : y + side, x : x + side].std()), x, y)
        for y in range(0, grey.shape[0] - side + 1, STEP)
        for x in range(0, grey.shape[1] - side + 1, STEP)
    ]
    _, x, y = min(places)
    return image.crop((x, y, x + side, y + side))


def read_tiles(embedder: Embedder, folder: Path) -> tuple[NDArray[np.float64], list[float]]:
    """Return the logits (n,) of the flattest tiles, and how much each deviates."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:PICTURES]
    pixels, deviations = [], []
    for number in sorted(chosen.tolist()):
        tile = cut_flattest(
            Image.open(paths[number]).convert("RGB"), embedder.info.preprocessing.min_side
        )
        if tile is None:
            continue
        buffer = BytesIO()
        tile.save(buffer, "PNG")
        pixels.append(embedder.preprocess(decode(buffer.getvalue(), embedder.limits)))
        deviations.append(measure_luminance_std(pixels[-1]))
    logits = [
        embedder.embed_pixels(np.stack(pixels[at : at + 16])).logits
        for at in range(0, len(pixels), 16)
    ]
    return np.concatenate(logits).astype(np.float64), deviations


def main(corpus: Path) -> None:
    """Print the table."""
    embedder = load_embedder(Settings(offline=True, precision="float32"))
    info = embedder.info
    assert info.synthetic_logit is not None, "the model has no limits of the logit"
    assert info.no_traces_logit is not None, "the model has no limits of the logit"
    print(f"{'kind':6}{'deviation':>12}{'tiles':>8}{'synthetic':>11}{'no_traces':>11}")
    for kind in ("real", "fake"):
        logits, deviations = read_tiles(embedder, corpus / kind)
        for low, high in pairwise(STEPS):
            among = logits[[low <= each < high for each in deviations]]
            over = int((among >= info.synthetic_logit).sum())
            under = int((among <= info.no_traces_logit).sum())
            between = f"{low:g} to {high:g}"
            print(f"{kind:6}{between:>12}{len(among):8}{over:11}{under:11}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
