"""Figures of ranked neighbours: precision@1, recall@k and mean average precision by generator.

A neighbour is relevant if it has the probe's label. Of equal similarities, irrelevant neighbours
rank first, so that ties never improve a figure and the order of the entries does not matter.
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
    """A probe's neighbours, nearest first: which are relevant (k,), and the number of relevant
    entries in total.
    """

    label: str
    relevant: Bools
    total: int


@dataclass(frozen=True, slots=True)
class RetrievalFigures:
    """Means over the `n` probes that have a relevant entry.

    `recall_at_k` is the share of probes with a relevant entry among their k nearest, as in metric
    learning (Song et al. 2016). Average precision is computed over the ranked neighbours and
    divided by min(total, length of the list).
    """

    n: int
    precision_at_1: float
    recall_at_k: Mapping[int, float]
    mean_average_precision: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Figures over all probes, and for each label, sorted by label. `mean` is None if no probe has
    a relevant entry.
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
    """Rank all n entries for each of q probes by their similarities (q, n).

    `exclude` (q, n) marks entries to leave out: the probe itself, and near duplicates.
    """
    matrix = np.asarray(similarities, np.float64)
    left_out = (
        np.zeros(matrix.shape, np.bool_) if exclude is None else np.asarray(exclude, np.bool_)
    )
    if matrix.shape != (len(probe_labels), len(entry_labels)) or left_out.shape != matrix.shape:
        raise ValueError(
            "similarities and exclusions need a row for each probe and a column for each entry"
        )
    labels = np.array(["" if label is None else label for label in entry_labels], np.str_)
    has_label = np.array([label is not None for label in entry_labels], np.bool_)
    found = []
    for row, label, out in zip(matrix, probe_labels, left_out, strict=True):
        relevant = ((labels == label) & has_label)[~out]
        order = np.lexsort((relevant, -row[~out]))
        found.append(Ranking(label, relevant[order], int(relevant.sum())))
    return found


def rankings_of_lists(
    neighbours: Sequence[Sequence[tuple[float, str | None]]],
    probe_labels: Sequence[str],
    entries_by_label: Mapping[str, int],
) -> list[Ranking]:
    """Rank lists of (similarity, label), as a search returns them.

    `entries_by_label` counts all entries of each label. The caller leaves the probe itself out of
    both the list and the count.
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
    """Return the figures of all probes that have a relevant entry."""
    counted = [ranking for ranking in rankings if ranking.total]
    labels = sorted({ranking.label for ranking in counted})
    by_label = {label: _figures([r for r in counted if r.label == label], ks) for label in labels}
    return Retrieval(_figures(counted, ks) if counted else None, by_label)


def average_precision(ranking: Ranking) -> float:
    """Return the mean precision at the ranks of the relevant neighbours; a relevant entry that the
    list lacks counts as 0.
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
