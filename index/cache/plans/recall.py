"""Tuning: how many candidates compressed codes must propose, by recall@k measured on this corpus
against the exact answer.

Some probes are vectors drawn from the corpus, each searched without itself. Others come from
stored look-ups, which may be quite unlike the corpus. For a number of lists, the number of
candidates is raised until both kinds have the required recall. A neighbour counts as found if a
candidate is at least as similar, because equal vectors can replace each other.

`index.cache.snapshots.planning` measures what a reach costs, and chooses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from index.cache.plans.config import IndexConfig
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import CHUNK, SCATTERED, Rows

# Candidates beyond k, so that near-ties at the k-th place rarely need a second round
# (`ranking.rank_many`).
MARGIN = 16
FEWEST_CANDIDATES = 32
MOST_CANDIDATES = 16_384
MOST_SHARE = 4  # comparing more than one row in this many is no quicker than comparing all
FEWEST_LOOKUPS = 8  # fewer stored look-ups do not give a recall of their own
# The reach is raised until the measured recall has covered this share of the way from the target to
# 1. A measurement on some hundred probes is good to 0.15 %, and other probes must reach the target.
HEADROOM = 0.3
SAME = 1e-6  # float32 products of equal vectors, computed in another order, differ by less
# Candidates that are compared at first for each probe, at least eight for each neighbour, and by
# how much they grow if their recall does not suffice.
FIRST_STAGE = 256
STAGE_GROWTH = 8
PAIRS = 1024  # probes and their candidates compared at a time
SEED = 20261124


@dataclass(frozen=True, slots=True)
class Tuning:
    """The reach of codes, and the recall measured with it.

    `rows` is the size of the sealed segment, `lookups` the number of probes from stored look-ups,
    `measured_at` a time in ISO 8601, UTC.
    """

    nprobe: int
    candidates: int
    k: int
    recall: float
    probes: int
    lookups: int
    rows: int
    measured_at: str

    @property
    def m(self) -> int:
        """The number of neighbours requested from a segment when k are wanted."""
        return self.k + MARGIN


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Vectors (p, d) to measure with.

    `positions` (p,) is the row that each probe was drawn from, -1 for a stored look-up.
    """

    vectors: NDArray[np.float32]
    positions: NDArray[np.int64]

    @property
    def lookups(self) -> int:
        return int(np.count_nonzero(self.positions < 0))


def draw_probes(rows: Rows, live: Marks | None, count: int, lookups: NDArray[np.float32]) -> Probes:
    """Draw up to `count` live rows, the same ones each time, and add stored look-ups (l, d)."""
    living = np.arange(rows.size) if live is None else live.positions
    chosen = np.random.default_rng(SEED).choice(living, min(count, len(living)), replace=False)
    drawn = []
    for start in range(0, len(chosen), SCATTERED):
        drawn.append(rows.take(chosen[start : start + SCATTERED]))
        rows.release()
    vectors = np.concatenate([*drawn, lookups]).astype(np.float32)
    return Probes(vectors, np.concatenate([chosen, np.full(len(lookups), -1)]).astype(np.int64))


class RecallMeasurement:
    """Probes, and the exact answer for them, with which any reach of codes can be measured."""

    def __init__(self, rows: Rows, live: Marks | None, probes: Probes, config: IndexConfig) -> None:
        """Compare the probes with all rows."""
        self.rows = rows
        self.live = live
        self.probes = probes
        self.config = config
        self._truth = kth_similarities(rows, live, probes, config.recall_k)

    def tune(self, codes: Codes, nprobe: int) -> tuple[Tuning | None, float]:
        """Return the smallest reach with this many lists that has the required recall, None if none
        has, and the recall that was reached. More candidates are not tried where they cannot
        suffice.
        """
        config, probes = self.config, self.probes
        enough = config.recall_target + HEADROOM * (1 - config.recall_target)
        # A search for k neighbours takes the best k + MARGIN from a segment.
        fewest = max(FEWEST_CANDIDATES, config.recall_k + MARGIN)
        most = MOST_CANDIDATES if nprobe == codes.nlist else MOST_CANDIDATES // 16
        most = max(fewest, min(most, codes.size // MOST_SHARE))
        recall = 0.0
        for stage in _stages(max(FIRST_STAGE, 8 * config.recall_k), most):
            hits = _find_hits(codes, self.rows, self.live, probes, self._truth, stage, nprobe)
            for count in _candidate_counts(fewest, hits.shape[1]):
                recall = measure_recall(hits[:, :count], probes, config.recall_k)
                if recall >= enough:
                    tuning = Tuning(
                        nprobe=nprobe,
                        candidates=count,
                        k=config.recall_k,
                        recall=recall,
                        probes=len(probes.vectors),
                        lookups=probes.lookups,
                        rows=self.rows.size,
                        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
                    )
                    return tuning, recall
            # Each doubling of the candidates finds fewer neighbours than the one before.
            gain = recall - measure_recall(hits[:, : hits.shape[1] // 2], probes, config.recall_k)
            if recall + gain * math.log2(most / stage) < enough:
                break
        return None, recall


def kth_similarities(rows: Rows, live: Marks | None, probes: Probes, k: int) -> NDArray[np.float32]:
    """Compare all rows, and return the similarity (p,) of each probe to its k-th nearest live row
    other than itself.
    """
    p = len(probes.vectors)
    best = np.full((p, k), -np.inf, np.float32)
    for start in range(0, rows.size, CHUNK):
        stop = min(start + CHUNK, rows.size)
        similarities = probes.vectors @ rows.chunk(start, stop).T  # (p, d) @ (d, c) -> (p, c)
        if live is not None:
            similarities[:, ~live.marks[start:stop]] = -np.inf
        own = np.flatnonzero((probes.positions >= start) & (probes.positions < stop))
        similarities[own, probes.positions[own] - start] = -np.inf
        nearer = np.flatnonzero((similarities > best.min(axis=1)[:, np.newaxis]).any(axis=1))
        both = np.concatenate([best[nearer], similarities[nearer]], axis=1)
        best[nearer] = -np.partition(-both, k - 1, axis=1)[:, :k]
        rows.release()
    worst: NDArray[np.float32] = best.min(axis=1)
    return worst


def _find_hits(
    codes: Codes,
    rows: Rows,
    live: Marks | None,
    probes: Probes,
    truth: NDArray[np.float32],
    m: int,
    nprobe: int,
) -> NDArray[np.bool_]:
    """Return, for each of m candidates (p, m) in the order of the codes, whether it is a
    neighbour.
    """
    found = codes.search(probes.vectors, m, nprobe, threads=1)
    hits = np.zeros(found.shape, np.bool_)
    probe, place = np.nonzero(found >= 0)
    order = np.argsort(found[probe, place], kind="stable")  # file order, for bounded memory
    for start in range(0, len(order), PAIRS):
        i, j = probe[order[start : start + PAIRS]], place[order[start : start + PAIRS]]
        positions = found[i, j]  # (c,)
        similarities = np.vecdot(rows.take(positions), probes.vectors[i])  # (c, d), (c, d) -> (c,)
        hit = (similarities >= truth[i] - SAME) & (positions != probes.positions[i])
        hits[i, j] = hit if live is None else hit & live.marks[positions]
        rows.release()
    return hits


def measure_recall(hits: NDArray[np.bool_], probes: Probes, k: int) -> float:
    """Return recall@k of candidates (p, m): the lower one of probes from the corpus and probes
    from stored look-ups.
    """
    each = np.minimum(hits.sum(axis=1), k) / k  # (p,)
    from_lookups = probes.positions < 0
    kinds = (
        [each[~from_lookups], each[from_lookups]] if probes.lookups >= FEWEST_LOOKUPS else [each]
    )
    return float(min(recalls.mean() for recalls in kinds if len(recalls)))


def _stages(first: int, most: int) -> Iterator[int]:
    """Yield rising numbers of candidates up to `most`: few usually suffice, and many take long to
    compare.
    """
    m = first
    while m < most:
        yield m
        m *= STAGE_GROWTH
    yield most


def _candidate_counts(fewest: int, most: int) -> Iterator[int]:
    """Yield rising numbers of candidates up to `most`, four for each doubling."""
    count = fewest
    while count < most:
        for quarters in (4, 5, 6, 7):
            yield min(most, count * quarters // 4)
        count *= 2
    yield most
