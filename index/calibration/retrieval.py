"""Figures of ranked neighbours: precision@1, recall@k and mean average precision by generator. Pure
functions.

A neighbour is relevant where its label is the probe's. Equal similarities rank irrelevant
neighbours first: ties never flatter, and the figures do not depend on the order of the entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bools = NDArray[np.bool_]

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Ranking:
    """One probe's neighbours, nearest first: which are relevant (k,), and how many relevant ones
    there are in all.
    """

    label: str
    relevant: Bools
    total: int


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """Means over `n` probes that have any relevant entry.

    `recall_at_k` is the share of probes with a relevant entry among their k nearest, as in metric
    learning (Song et al. 2016). `mean_average_precision` is over the neighbours given: all entries,
    or the list, divided by min(total, length of the list).
    """

    n: int
    precision_at_1: float
    recall_at_k: Mapping[int, float]
    mean_average_precision: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Over all probes, and of each label alone in alphabetical order;

    `mean` is None where nothing could be counted.
    """

    mean: RetrievalFigures | None
    by_label: Mapping[str, RetrievalFigures]


def rankings_of_matrix(
    similarities: ArrayLike,
    probe_labels: Sequence[str],
    entry_labels: Sequence[str | None],
    *,
    exclude: ArrayLike | None = None,
) -> list[Ranking]:
    """Rank all n entries for each of q probes: similarities (q, n), `exclude` (q, n) bool (itself,
    near duplicates).
    """
    matrix = np.asarray(similarities, np.float64)
    left_out = (
        np.zeros(matrix.shape, np.bool_) if exclude is None else np.asarray(exclude, np.bool_)
    )
    if matrix.shape != (len(probe_labels), len(entry_labels)) or left_out.shape != matrix.shape:
        raise ValueError("similarities and exclusions are one row a probe, one column an entry")
    labels = np.array(["" if label is None else label for label in entry_labels], np.str_)
    told = np.array([label is not None for label in entry_labels], np.bool_)
    found = []
    for row, label, out in zip(matrix, probe_labels, left_out, strict=True):
        relevant = ((labels == label) & told)[~out]
        order = np.lexsort((relevant, -row[~out]))
        found.append(Ranking(label, relevant[order], int(relevant.sum())))
    return found


def rankings_of_lists(
    neighbours: Sequence[Sequence[tuple[float, str | None]]],
    probe_labels: Sequence[str],
    entries_by_label: Mapping[str, int],
) -> list[Ranking]:
    """Rank lists of (similarity, label) as a search returns them; `entries_by_label` counts what
    could be found at all.

    Leave the probe itself out of both its list and its count.
    """
    found = []
    for listed, label in zip(neighbours, probe_labels, strict=True):
        ranked = sorted((-similarity, other == label) for similarity, other in listed)
        relevant = np.array([is_relevant for _, is_relevant in ranked], np.bool_)
        found.append(
            Ranking(label, relevant, max(entries_by_label.get(label, 0), int(relevant.sum())))
        )
    return found


def retrieval_figures(rankings: Sequence[Ranking], *, ks: Sequence[int] = KS) -> Retrieval:
    """Return the figures of probes; those without any relevant entry are not counted."""
    counted = [ranking for ranking in rankings if ranking.total]
    labels = sorted({ranking.label for ranking in counted})
    by_label = {label: _figures([r for r in counted if r.label == label], ks) for label in labels}
    return Retrieval(_figures(counted, ks) if counted else None, by_label)


def average_precision(ranking: Ranking) -> float:
    """Return the mean precision at the ranks of the relevant neighbours; what the list misses
    counts 0.
    """
    ranks = np.flatnonzero(ranking.relevant) + 1
    most = min(ranking.total, len(ranking.relevant))
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / most) if most else 0.0


def _figures(rankings: Sequence[Ranking], ks: Sequence[int]) -> RetrievalFigures:
    return RetrievalFigures(
        len(rankings),
        float(np.mean([r.relevant[:1].any() for r in rankings])),
        {k: float(np.mean([r.relevant[:k].any() for r in rankings])) for k in ks},
        float(np.mean([average_precision(r) for r in rankings])),
    )
