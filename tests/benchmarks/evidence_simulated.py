"""Do stated intervals hold? `python -m tests.benchmarks.evidence_simulated [--repeats 20]
[--references 1000]`.

Simulates corpora of known fakes in clusters, of five kinds, ten times the size of a calibration,
and known-real images of the same subjects. Prints for each kind, at false-match rates of 10 %, 1 %
and 0.5 % and at 1, 2, 5 and 10 times the size, the rate realised on unused images and entries, and
how often it was inside the interval. Also prints the error of predicted growth where the rate at
the original size is known, and coverage and size of attribution sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.calibration.attribution_fit import fit_attribution
from index.calibration.false_matches import FalseMatches, Rate, fit_false_matches, fit_growth
from index.calibration.growth import Growth

DIMENSION = 24  # near the local dimension of photographs' embeddings; more only costs time
ENTRIES = 1000
SIZES = (1, 2, 5, 10)
RATES = (0.1, 0.01, 0.005)
# Shares of the reference images that reach a similarity; `calibrate` counts exceedances there.
GROWTH_SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)
KNOWN_RATES = (0.1, 0.03, 0.01, 0.003)

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """The subjects of a corpus.

    Their sizes fall as 1 / rank^zipf; `spread` is that of their images; each real image has
    `versions`.
    """

    name: str
    clusters: int
    spread: float
    zipf: float
    versions: int = 1


KINDS = (
    Kind("no clusters", 1, 1.0, 0.0),
    Kind("10 wide clusters", 10, 1.0, 0.5),
    Kind("300 tight clusters", 300, 0.5, 1.0),
    Kind("1000 very tight clusters", 1000, 0.3, 1.2),
    Kind("60 clusters, 3 versions", 60, 0.7, 1.0, 3),
)


@dataclass(frozen=True)
class Case:
    """One calibration, and the maxima (m, sizes) of other real images as the corpus grows."""

    maxima: NDArray[np.float64]  # (n,)
    sources: NDArray[np.int64]  # (n,)
    counts: NDArray[np.int64]  # (n, t)
    thresholds: NDArray[np.float64]  # (t,)
    later: NDArray[np.float64]  # (m, sizes)

    def growth(self) -> Growth:
        return fit_growth(self.counts, self.thresholds, self.sources, corpus_size=ENTRIES, seed=0)

    def fit(self) -> FalseMatches:
        return fit_false_matches(
            self.maxima, self.sources, corpus_size=ENTRIES, growth=self.growth(), seed=0
        )

    def realised(self, similarity: float, size: int) -> float:
        return float((self.later[:, SIZES.index(size)] >= similarity).mean())


def normalise(x: NDArray[np.float64]) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def draw(kind: Kind, seed: int, reals: int) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Return entries (10 * ENTRIES, d), real images (reals, d) and their sources.

    Some subjects are more common than others.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kind.clusters, DIMENSION))
    common = 1 / np.arange(1, kind.clusters + 1) ** kind.zipf
    common /= common.sum()

    def around(which: NDArray[np.int64], spread: float) -> NDArray[np.float64]:
        return centres[which] + spread * rng.normal(size=(len(which), DIMENSION))

    entries = around(rng.choice(kind.clusters, SIZES[-1] * ENTRIES, p=common), kind.spread)
    sources = reals // kind.versions
    photographs = around(
        rng.choice(kind.clusters, sources, p=rng.permutation(common)), 1.2 * kind.spread
    )
    photographs += 0.5 * rng.normal(size=photographs.shape)
    images = np.repeat(photographs, kind.versions, axis=0)
    images += 0.1 * rng.normal(size=images.shape)
    return normalise(entries), normalise(images), np.repeat(np.arange(sources), kind.versions)


def make_cases(
    kind: Kind, *, corpora: int, calibrations: int, references: int = 1000, reals: int = 12_000
) -> Iterator[Case]:
    """Yield calibrations on disjoint reference images of one corpus, for several corpora."""
    for seed in range(corpora):
        entries, images, sources = draw(kind, seed, reals)
        similarities = images @ entries[:ENTRIES].T
        later = np.zeros((len(images), len(SIZES)))
        for start in range(0, len(images), 2000):  # bounds memory: 2000 x 10,000 float32 are 80 MB
            block = images[start : start + 2000] @ entries.T
            for column, size in enumerate(SIZES):
                later[start : start + 2000, column] = block[:, : size * ENTRIES].max(axis=1)
        order = np.random.default_rng(seed).permutation(sources[-1] + 1)
        each = references // kind.versions
        for number in range(calibrations):
            chosen = np.isin(sources, order[number * each : (number + 1) * each])
            maxima = later[chosen, 0]
            thresholds = np.unique(
                np.quantile(maxima, [1 - share for share in GROWTH_SHARES], method="higher")
            )
            counts = np.stack([(similarities[chosen] >= t).sum(axis=1) for t in thresholds], axis=1)
            yield Case(maxima, sources[chosen], counts, thresholds, later[~chosen])


@dataclass(frozen=True)
class Outcome:
    """Medians over cases of the realised and stated rate, and how often it was inside."""

    realised: float
    low: float
    high: float
    inside: float


def check_intervals(some: list[Case]) -> dict[tuple[float, int], Outcome]:
    """Ask each calibration for the threshold of a rate at a size, and count what it gives."""
    found: dict[tuple[float, int], list[tuple[float, Rate]]] = {}
    for case in some:
        model = case.fit()
        for rate in RATES:
            for size in SIZES:
                t = model.similarity_at(rate, size * ENTRIES)
                stated = model.rate_at(t, size * ENTRIES)
                found.setdefault((rate, size), []).append((case.realised(t, size), stated))
    return {
        key: Outcome(
            float(np.median([real for real, _ in pairs])),
            float(np.median([stated.low for _, stated in pairs])),
            float(np.median([stated.high for _, stated in pairs])),
            float(np.mean([stated.low <= real <= stated.high for real, stated in pairs])),
        )
        for key, pairs in found.items()
    }


def check_growth(some: list[Case]) -> dict[tuple[float, int], tuple[float, float]]:
    """Return mean and deviation of log(predicted / realised hazard).

    The prediction starts from the known rate at the original size.
    """
    found: dict[tuple[float, int], list[float]] = {}
    for case in some:
        growth = case.growth()
        for rate in KNOWN_RATES:
            t = float(np.quantile(case.later[:, 0], 1 - rate))
            hazards = {size: -np.log1p(-case.realised(t, size)) for size in SIZES}
            for size in SIZES[1:]:
                error = np.log(growth.predict_hazard(hazards[1], size) / hazards[size])
                found.setdefault((rate, size), []).append(float(error))
    return {key: (float(np.mean(errors)), float(np.std(errors))) for key, errors in found.items()}


def draw_voters(
    rng: np.random.Generator, n: int, right: float, generators: int, k: int = 10
) -> tuple[list[list[tuple[float, str]]], list[str]]:
    """Return neighbours of n images.

    A neighbour has the image's own generator with probability `right`; nearer ones have it more
    often.
    """
    lists, truth = [], []
    for own in rng.integers(generators, size=n).tolist():
        similarities = np.sort(rng.uniform(0.5, 0.9, k))[::-1].tolist()
        is_own = rng.random(k) < right * np.linspace(1.2, 0.8, k)
        others = rng.integers(generators, size=k)
        names = [
            f"generator {own if own_one else other}"
            for own_one, other in zip(is_own, others, strict=True)
        ]
        lists.append(list(zip(similarities, names, strict=True)))
        truth.append(f"generator {own}")
    return lists, truth


def check_attribution(
    right: float, generators: int, *, n: int = 1000, seed: int = 0
) -> tuple[float, float, float, float]:
    """Return coverage on new images, mean set size, accuracy of the first, and predicted
    coverage.
    """
    rng = np.random.default_rng(seed)
    lists, truth = draw_voters(rng, n, right, generators)
    similarities, names = (
        [[s for s, _ in row] for row in lists],
        [[g for _, g in row] for row in lists],
    )
    model = fit_attribution(similarities, names, truth, np.arange(n), seed=0)
    lists, truth = draw_voters(rng, 2 * n, right, generators)
    held, sizes, first = [], [], []
    for row, true in zip(lists, truth, strict=True):
        shares = model.attribute(row).shares
        names_held = [name for name, share in shares if share >= model.least] or [shares[0][0]]
        held.append(true in names_held)
        sizes.append(len(names_held))
        first.append(shares[0][0] == true)
    return float(np.mean(held)), float(np.mean(sizes)), float(np.mean(first)), model.coverage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=20, help="corpora of each kind, with three calibrations each"
    )
    parser.add_argument("--references", type=int, default=1000)
    options = parser.parse_args()
    inside: dict[tuple[float, int], list[float]] = {}
    for kind in KINDS:
        some = list(
            make_cases(kind, corpora=options.repeats, calibrations=3, references=options.references)
        )
        print(
            f"\n{kind.name}: {len(some)} calibrations on {options.references} images, {ENTRIES} "
            f"entries"
        )
        print("    rate  size  realised  median interval     inside")
        for (rate, size), held in check_intervals(some).items():
            inside.setdefault((rate, size), []).append(held.inside)
            interval = f"[{held.low:.4f}, {held.high:.4f}]"
            print(
                f"  {rate:6.3f}  {size:3d}x  {held.realised:8.4f}  {interval}  {held.inside:8.2f}"
            )
        print("  growth predicted / realised, from the known rate at 1x (log, mean +- deviation):")
        for (rate, size), (mean, deviation) in check_growth(some).items():
            print(f"  {rate:6.3f}  {size:3d}x  {mean:+.2f} +- {deviation:.2f}")
    print("\ninside the 95 % interval, mean over all kinds:")
    for (rate, size), shares in inside.items():
        print(f"  {rate:6.3f}  {size:3d}x  {np.mean(shares):.3f}")
    print(
        "\nattribution, 90 % sets:  generators  neighbours right  coverage (predicted)  set size  "
        "first right"
    )
    for generators in (4, 12):
        for right in (0.1, 0.3, 0.6):
            coverage, mean_size, first, predicted = check_attribution(right, generators)
            print(
                f"{generators:35d}  {right:16.1f}  {coverage:8.3f} ({predicted:.3f})  "
                f"{mean_size:12.2f}  {first:11.3f}"
            )


if __name__ == "__main__":
    main()
