"""Measuring the built-in model through `Embedder` on photographs that it was never trained on.

Probe and reference never come from the same photograph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from embedder.demonstration.resynthesis import DECODERS
from embedder.network.embed import Embedder
from embedder.network.registry import MEASURED_FILE
from embedder.pictures.preprocess import preprocess
from embedder.training.fakes import recompress
from embedder.training.figures import (
    Names,
    area_under_curve,
    cosine_similarities,
    nearest_accuracy,
    pairs_of_one_photograph,
)
from embedder.training.files import write_json
from embedder.training.probes import REAL, Probe, compute_median_psnr

JPEG_QUALITY = 75  # of the re-compressed probes
FALSE_MATCH_RATE = 0.01
MISSED_FAKE_RATE = 0.02
EMBED_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """Probes in one order: names, generators, and the model's results.

    The results are for the probes as they are and re-compressed.
    """

    photographs: Names
    generators: Names
    vectors: NDArray[np.float32]  # (n, d)
    logits: NDArray[np.float32]  # (n,)
    jpeg_vectors: NDArray[np.float32]  # (n, d)
    jpeg_logits: NDArray[np.float32]  # (n,)

    @property
    def real(self) -> NDArray[np.bool_]:
        real: NDArray[np.bool_] = self.generators == REAL
        return real


def measure(embedder: Embedder, probes: Sequence[Probe]) -> Measurements:
    vectors, logits = embed_pictures(embedder, [probe.pixels for probe in probes])
    jpeg_vectors, jpeg_logits = embed_pictures(
        embedder, [recompress(p.pixels, JPEG_QUALITY) for p in probes]
    )
    return Measurements(
        photographs=np.array([probe.photograph for probe in probes]),
        generators=np.array([probe.generator for probe in probes]),
        vectors=vectors,
        logits=logits,
        jpeg_vectors=jpeg_vectors,
        jpeg_logits=jpeg_logits,
    )


def embed_pictures(
    embedder: Embedder, pictures: Sequence[NDArray[np.uint8]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embed pictures (h, w, 3): vectors (n, d), logits (n,)."""
    vectors, logits = list[NDArray[np.float32]](), list[NDArray[np.float32]]()
    for start in range(0, len(pictures), EMBED_BATCH):
        batch = pictures[start : start + EMBED_BATCH]
        pixels = [
            preprocess(Image.fromarray(picture), embedder.info.preprocessing) for picture in batch
        ]
        embeddings = embedder.embed_pixels(np.stack(pixels))
        vectors.append(embeddings.vectors)
        logits.append(embeddings.logits)
    return np.concatenate(vectors), np.concatenate(logits)


def measure_classifier(measured: Measurements) -> dict[str, float]:
    real = measured.real
    return {
        "auc": area_under_curve(measured.logits[real], measured.logits[~real]),
        "auc_jpeg75": area_under_curve(measured.jpeg_logits[real], measured.jpeg_logits[~real]),
    }


def measure_nearest_generator(measured: Measurements) -> dict[str, float]:
    """Return the share of fakes whose nearest reference comes from the same decoder.

    References are the fakes of other photographs.
    """
    fake = ~measured.real
    photographs, generators = measured.photographs[fake], measured.generators[fake]
    same = pairs_of_one_photograph(photographs, photographs)
    references = measured.vectors[fake]
    return {
        name: nearest_accuracy(
            cosine_similarities(vectors[fake], references, same=same), generators, generators
        )
        for name, vectors in (
            ("nearest_generator_accuracy", measured.vectors),
            ("nearest_generator_accuracy_jpeg75", measured.jpeg_vectors),
        )
    }


def measure_similarity(measured: Measurements) -> dict[str, float]:
    """Return the similarity that FALSE_MATCH_RATE of the photographs reach with a fake of another
    photograph.

    Also return the share of the fakes that reach it, as they are and re-compressed.
    """
    real, photographs = measured.real, measured.photographs
    references = measured.vectors[~real]

    def nearest(vectors: NDArray[np.float32], of: NDArray[np.bool_]) -> NDArray[np.float64]:
        same = pairs_of_one_photograph(photographs[of], photographs[~real])
        similarities: NDArray[np.float64] = cosine_similarities(
            vectors[of], references, same=same
        ).astype(np.float64)
        nearest_similarity: NDArray[np.float64] = similarities.max(axis=1)
        return nearest_similarity

    innocent = np.concatenate(
        [nearest(measured.vectors, real), nearest(measured.jpeg_vectors, real)]
    )
    threshold = float(np.quantile(innocent, 1.0 - FALSE_MATCH_RATE))
    return {
        "similarity_threshold": threshold,
        "match_rate": float(np.mean(nearest(measured.vectors, ~real) >= threshold)),
        "match_rate_jpeg75": float(np.mean(nearest(measured.jpeg_vectors, ~real) >= threshold)),
    }


def choose_logit_bounds(measured: Measurements) -> tuple[float, float]:
    """Return (authentic, synthetic): below the first a verdict may be authentic, above the second
    synthetic.

    FALSE_MATCH_RATE of the photographs are above one bound, and MISSED_FAKE_RATE of the fakes are
    below the other, both over native and re-compressed probes. Between the bounds, in whichever
    order they come, the classifier is inconclusive.
    """
    real = measured.real
    photographs = np.concatenate([measured.logits[real], measured.jpeg_logits[real]])
    fakes = np.concatenate([measured.logits[~real], measured.jpeg_logits[~real]])
    bounds = (
        np.quantile(photographs, 1.0 - FALSE_MATCH_RATE),
        np.quantile(fakes, MISSED_FAKE_RATE),
    )
    return float(min(bounds)), float(max(bounds))


def write_measured(
    directory: Path,
    probes: dict[str, list[Probe]],
    measured: dict[str, Measurements],
    today: date,
    more: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, object]:
    """Write `measured.json`.

    The bounds by which the product decides come from all sets together; figures are given for each
    set.
    """
    pooled = pool(list(measured.values()))
    photographs, tiles = len(np.unique(pooled.photographs)), int(pooled.real.sum())
    similarity = measure_similarity(pooled)
    authentic, synthetic = choose_logit_bounds(pooled)
    source = (
        f"{tiles} tiles of {photographs} held-out photographs, native and JPEG "
        f"{JPEG_QUALITY}, {today.isoformat()}"
    )
    values: dict[str, object] = {
        "generators": list(DECODERS),
        "similarity_threshold": round(similarity["similarity_threshold"], 4),
        "threshold_source": f"similarity at {FALSE_MATCH_RATE:.0%} false-match rate: nearest "
        f"demonstration fake of {source}",
        "synthetic_logit": round(synthetic, 3),
        "no_traces_logit": round(authentic, 3),
        "logit_source": f"logit over which {FALSE_MATCH_RATE:.0%} of the photographs lie, and "
        f"under which {MISSED_FAKE_RATE:.0%} of their demonstration fakes lie: {source}",
        "match_rate_of_fakes": round(similarity["match_rate"], 4),
        "match_rate_of_fakes_jpeg75": round(similarity["match_rate_jpeg75"], 4),
        "figures": {name: measure_set(probes[name], measured[name]) for name in measured},
        "date": today.isoformat(),
        "torch": torch.__version__,
        **more,
    }
    write_json(directory / MEASURED_FILE, values)
    return values


def measure_set(probes: Sequence[Probe], measured: Measurements) -> dict[str, object]:
    rates = measure_classifier(measured) | measure_nearest_generator(measured)
    return {
        "photographs": len(np.unique(measured.photographs)),
        "photograph_tiles": int(measured.real.sum()),
        "fake_tiles": int((~measured.real).sum()),
        **{name: round(value, 4) for name, value in rates.items()},
        "auc_by_decoder": measure_auc_by_decoder(measured),
        "psnr_median": compute_median_psnr(probes),
    }


def measure_auc_by_decoder(measured: Measurements) -> dict[str, float]:
    generators, real = measured.generators, measured.real
    return {
        generator: round(
            area_under_curve(measured.logits[real], measured.logits[generators == generator]), 4
        )
        for generator in DECODERS
    }


def pool(sets: Sequence[Measurements]) -> Measurements:
    return Measurements(
        photographs=np.concatenate([each.photographs for each in sets]),
        generators=np.concatenate([each.generators for each in sets]),
        vectors=np.concatenate([each.vectors for each in sets]),
        logits=np.concatenate([each.logits for each in sets]),
        jpeg_vectors=np.concatenate([each.jpeg_vectors for each in sets]),
        jpeg_logits=np.concatenate([each.jpeg_logits for each in sets]),
    )
