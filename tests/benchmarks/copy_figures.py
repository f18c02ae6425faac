"""The figures of the benchmark of copies: recall by edit, false matches, micro-average precision.

A method gives each pair of a copy and a reference a value: the larger, the more alike. A copy's
original and other files of the same picture are right; twins (alike, but other pictures) are
neither right nor false, and are counted on their own. A false match of a copy is its best value
among all other references: what a look-up finds if the original is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from tests.benchmarks.copy_edits import GROUPS, Edit
from tests.benchmarks.copy_pictures import Alike

FALSE_RATE = 0.001
NOTHING = -np.inf


@dataclass(frozen=True)
class Best:
    """The best values of each copy `(q,)`: of its original, of a twin, and of another picture;
    -inf where there is none.
    """

    original: NDArray[np.float64]
    twin: NDArray[np.float64]
    other: NDArray[np.float64]


def find_best(
    values: NDArray[np.float32], originals: NDArray[np.int_], alike: Alike
) -> tuple[Best, float]:
    """Reduce the values `(q, r)` to the best ones, and compute the micro-average precision.

    `originals` `(q,)` are the places of the originals among the references.
    """
    right, twin = alike.copies[originals], alike.twins[originals]
    best = [
        np.where(chosen, values, NOTHING).max(axis=1, initial=NOTHING)
        for chosen in (right, twin, ~(right | twin))
    ]
    counted = np.zeros_like(right)
    counted[np.arange(len(originals)), np.where(right, values, NOTHING).argmax(axis=1)] = True
    return Best(*best), compute_precision(values[counted], values[~(right | twin)])


def compute_precision(right: NDArray[np.float32], wrong: NDArray[np.float32]) -> float:
    """Compute the micro-average precision: all pairs of all copies in one list, best first."""
    falling = np.sort(right)[::-1]
    found = np.arange(1, len(falling) + 1)
    false = len(wrong) - np.searchsorted(np.sort(wrong), falling, side="left")
    return float(np.mean(np.where(np.isfinite(falling), found / (found + false), 0)))


def find_threshold(best: Best, rate: float = FALSE_RATE) -> float:
    """Return the least value at which at most this share of the copies has a false match."""
    allowed = int(rate * len(best.other))
    falling = np.sort(best.other)[::-1]
    return float(np.nextafter(falling[min(allowed, len(falling) - 1)], np.inf))


@dataclass(frozen=True)
class Figures:
    """What is said of a method: found copies `(q,)` at the false-match rate, and by its own rule,
    with false matches of both; milliseconds of one picture and bytes that are stored of it.
    """

    name: str
    at_rate: NDArray[np.bool_]
    by_rule: NDArray[np.bool_]
    false_at_rate: int
    false_by_rule: int
    twins_by_rule: int
    precision: float
    threshold: float
    rule: float
    milliseconds: float | None
    bytes_an_image: float | None

    @property
    def has_rule(self) -> bool:
        return bool(np.isfinite(self.rule))


def measure(
    name: str,
    values: NDArray[np.float32],
    originals: NDArray[np.int_],
    alike: Alike,
    rule: float,
    milliseconds: float | None,
    bytes_an_image: float | None,
) -> Figures:
    """Measure one method by its values `(q, r)` and the value from which it calls a copy."""
    best, precision = find_best(values, originals, alike)
    threshold = find_threshold(best)
    return Figures(
        name,
        best.original >= threshold,
        best.original >= rule,
        int(np.sum(best.other >= threshold)),
        int(np.sum(best.other >= rule)),
        int(np.sum(best.twin >= rule)),
        precision,
        threshold,
        rule,
        milliseconds,
        bytes_an_image,
    )


def make_summary(figures: Sequence[Figures], edits: Sequence[Edit]) -> Table:
    """One row a method: recall over the core edits and over all, false matches, cost."""
    core = np.array([edit.core for edit in edits])
    table = Table(
        "method",
        "recall, core edits, at 0.1 %",
        "all edits",
        "threshold",
        "recall, core, own rule",
        "all",
        "false",
        "twins",
        "micro-AP",
        "ms a picture",
        "bytes",
    )
    for each in figures:
        table.add_row(
            each.name,
            share(each.at_rate[core]),
            share(each.at_rate),
            f"{each.threshold:.2f}",
            *describe_rule(each, core),
            f"{each.precision:.3f}",
            "" if each.milliseconds is None else f"{each.milliseconds:.1f}",
            "" if each.bytes_an_image is None else f"{each.bytes_an_image:,.0f}",
        )
    return table


def describe_rule(figures: Figures, core: NDArray[np.bool_]) -> list[str]:
    """Recall over the core edits and over all by the method's own rule, false matches and twins."""
    if not figures.has_rule:
        return ["-"] * 4
    return [
        share(figures.by_rule[core]),
        share(figures.by_rule),
        f"{figures.false_by_rule} of {len(figures.by_rule):,}",
        str(figures.twins_by_rule),
    ]


def make_details(figures: Sequence[Figures], edits: Sequence[Edit], shown: Sequence[Edit]) -> Table:
    """One row an edit and a group: recall at the false-match rate and, behind it, by own rule."""
    table = Table("edit", "copies", *(each.name for each in figures))
    names = np.array([edit.name for edit in edits])
    groups = np.array([edit.group for edit in edits])
    for group in GROUPS:
        members = [edit for edit in shown if edit.group == group]
        for edit in members:
            add_line(table, f"{edit.name}{' *' if edit.core else ''}", names == edit.name, figures)
        if members:
            add_line(table, f"all {group}", groups == group, figures)
            table.add_section()
    add_line(table, "all core edits (*)", np.array([edit.core for edit in edits]), figures)
    add_line(table, "all edits", np.ones(len(edits), bool), figures)
    return table


def add_line(
    table: Table, name: str, chosen: NDArray[np.bool_], figures: Sequence[Figures]
) -> None:
    cells = [
        f"{share(each.at_rate[chosen])} / {share(each.by_rule[chosen]) if each.has_rule else '-'}"
        for each in figures
    ]
    table.add_row(name, str(int(chosen.sum())), *cells)


def share(found: NDArray[np.bool_]) -> str:
    return f"{found.mean():.2f}" if len(found) else "-"


def list_reasons(alike: Alike, names: Sequence[str]) -> list[str]:
    """Name the pairs that are alike, with the reason, one line a pair."""
    pairs: Mapping[tuple[int, int], str] = alike.reasons
    return [f"{names[one]}  {names[other]}  {reason}" for (one, other), reason in pairs.items()]
