"""Known fakes looked up among the others: precision at 1, recall at k and mean average precision,
for each generator.

The image itself, its near duplicates by perceptual hash, and identical files are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from api.evaluation.classification import MIN_IMAGES
from api.evaluation.json import Measure, RetrievalEvaluation, RetrievalFigures
from index.calibration.others import SamePictures
from index.calibration.population import Population
from index.calibration.retrieval import Ranking, rankings_of_matrix, retrieval_figures
from index.calibration.retrieval import RetrievalFigures as Means

# A ranking takes a byte for each entry: 2,000 rankings of 100,000 entries take 200 MB.
MOST_PROBES = 2_000
BLOCK_PROBES = 256


def measure_retrieval(
    fakes: Population, seed: int, most_probes: int = MOST_PROBES
) -> RetrievalEvaluation:
    """Look up each fake that declares its generator among all the others that do."""
    declared = np.flatnonzero([generator is not None for generator in fakes.generators])
    entries = fakes.taking(declared)
    generators = [generator for generator in entries.generators if generator is not None]
    if len(set(generators)) < 2 or len(entries) < MIN_IMAGES:
        reason = (
            f"{len(entries)} fakes of {len(set(generators))} generators; {MIN_IMAGES} of 2 "
            f"are needed"
        )
        return RetrievalEvaluation(entries=len(entries), mean=None, by_generator=[], reason=reason)
    found = retrieval_figures(
        _rank_probes(entries, generators, draw_rows(len(entries), most_probes, seed))
    )
    if found.mean is None:
        reason = "no generator has two images"
        return RetrievalEvaluation(entries=len(entries), mean=None, by_generator=[], reason=reason)
    counts = Counter(generators)
    chance = {name: (count - 1) / (len(entries) - 1) for name, count in counts.items()}
    probes = sum(figures.n for figures in found.by_label.values())
    pooled = sum(chance[name] * figures.n for name, figures in found.by_label.items()) / probes
    return RetrievalEvaluation(
        entries=len(entries),
        mean=_build_figures("all", found.mean, pooled),
        by_generator=[
            _build_figures(name, figures, chance[name])
            for name, figures in sorted(
                found.by_label.items(), key=lambda pair: (-pair[1].n, pair[0])
            )
        ],
    )


def draw_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return at most `most` of n rows, increasing, drawn at random."""
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most]).astype(np.int64)


def _rank_probes(
    entries: Population, generators: Sequence[str], rows: NDArray[np.int64]
) -> list[Ranking]:
    same = SamePictures(entries)
    rankings = list[Ranking]()
    for start in range(0, len(rows), BLOCK_PROBES):
        some = rows[start : start + BLOCK_PROBES]
        probes = entries.taking(some)
        excluded = np.zeros((len(some), len(entries)), np.bool_)  # (b, n)
        excluded[same.excluded(probes, slice(0, len(some)))] = True
        similarities = probes.vectors @ entries.vectors.T  # (b, n)
        labels = [generators[row] for row in some]
        rankings += rankings_of_matrix(similarities, labels, generators, exclude=excluded)
    return rankings


def _build_figures(name: str, means: Means, chance: float) -> RetrievalFigures:
    few = means.n < MIN_IMAGES
    at_1 = (
        Measure.missing(f"{means.n} probes; {MIN_IMAGES} are needed")
        if few
        else Measure(value=means.precision_at_1)
    )
    return RetrievalFigures(
        name=name,
        n=means.n,
        precision_at_1=at_1,
        recall_at_k={} if few else dict(means.recall_at_k),
        mean_average_precision=None if few else means.mean_average_precision,
        by_chance=chance,
    )
