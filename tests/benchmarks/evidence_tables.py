"""How the tables of docs/evidence.md are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n**{title}**\n")
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


def percent(value: float | np.floating) -> str:
    return f"{100 * float(value):.3g} %"


def share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Write mean and range over splits."""
    some = list(values)
    return f"{np.mean(some):.{digits}f} ({min(some):.{digits}f} to {max(some):.{digits}f})"


def median_of(values: Iterable[int]) -> int:
    return int(np.median(list(values)))
