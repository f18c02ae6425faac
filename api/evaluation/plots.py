"""The plots of an evaluation, as SVG text. They show the figures of the JSON, and compute nothing.

Uses matplotlib without pyplot: no window, and no global state.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from api.evaluation.json import (
    ClassifierEvaluation,
    FalseMatchTable,
    GroupFigures,
    Measure,
    ReliabilityFigures,
    TippettCurves,
)
from api.visible import show

# Two hues that differ in lightness too, for readers who cannot distinguish red from green.
REAL, SYNTHETIC, INK, QUIET, LINE = "#22577a", "#c2571a", "#1a2329", "#56636b", "#d9dfe3"
SIZES = ("#8fb8cc", "#5690ad", "#22577a", "#0f2f44")  # corpora, growing
STYLE: dict[Any, Any] = {  # the keys are a literal type of hundreds of names
    "svg.fonttype": "path",  # the same on every machine, whatever its fonts
    "svg.hashsalt": "lineup",  # otherwise each run has other ids
    "font.size": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
WIDTH, HEIGHT = 5.2, 3.5  # inches; two beside one another on the page
MOST_ROWS = 40  # of a plot with one row per generator
LEAST_RATE = 1e-3  # where the axes of rates begin


def plot_logits(answer: ClassifierEvaluation, limits: tuple[float, float] | None) -> str:
    """Plot the logits of each kind, as shares of its images."""
    with _draw() as (axes, svg):
        edges = np.array(answer.histogram.edges)
        for counts, colour, name in (
            (answer.histogram.real, REAL, "real"),
            (answer.histogram.synthetic, SYNTHETIC, "synthetic"),
        ):
            shares = np.array(counts) / max(1, sum(counts))
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(
                shares, edges, color=colour, linewidth=1.4, label=f"{name} ({sum(counts):,})"
            )
        axes.axvline(0, color=INK, linewidth=0.8)
        for limit in limits or ():
            axes.axvline(limit, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel="logit (higher: synthetic)", ylabel="share of images")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend()
    return svg()


def plot_roc(answer: ClassifierEvaluation) -> str | None:
    """Plot the ROC, with the point at a false positive rate of 1 %."""
    if answer.roc is None:
        return None
    with _draw() as (axes, svg):
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(answer.roc.x, answer.roc.y, color=SYNTHETIC)
        if answer.pooled.tpr_at_fpr.value is not None:
            axes.plot([0.01], [answer.pooled.tpr_at_fpr.value], "o", color=INK, markersize=5)
        axes.set(
            xlabel="share of real images called synthetic",
            ylabel="share of synthetic images found",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        _format_percent(axes)
    return svg()


def plot_areas(groups: Sequence[GroupFigures], pooled: float | None) -> str | None:
    """Plot the ROC AUC of each group with its interval, in the given order."""
    known = [group for group in groups if group.figures.roc_auc.value is not None][:MOST_ROWS]
    if not known:
        return None
    with _draw(height=0.8 + 0.27 * len(known)) as (axes, svg):
        places = np.arange(len(known))
        _draw_bars(axes, [group.figures.roc_auc for group in known], places)
        axes.axvline(0.5, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        if pooled is not None:
            axes.axvline(pooled, color=SYNTHETIC, linewidth=1)
        axes.set_yticks(
            places, [f"{_shorten(group.name)}  ({group.figures.n.synthetic:,})" for group in known]
        )
        axes.set(xlabel="ROC AUC with 95 % interval", ylim=(len(known) - 0.5, -0.5))
        axes.grid(visible=False, axis="y")
    return svg()


def plot_false_matches(table: FalseMatchTable) -> str | None:
    """Plot counted against predicted rates, with a colour for each corpus size."""
    rows = [row for row in table.rows if row.realised.value is not None]
    if not rows:
        return None
    with _draw() as (axes, svg):
        axes.plot([LEAST_RATE, 1], [LEAST_RATE, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        sizes = sorted({(row.times, row.corpus_size) for row in rows})
        for place, (times, size) in enumerate(sizes):
            some = [row for row in rows if row.times == times]
            x, x_bars = _split_bars([row.predicted for row in some])
            y, y_bars = _split_bars([row.realised for row in some])
            y = np.maximum(y, LEAST_RATE)  # a rate of 0 is drawn at the bottom
            shift = 1.05 ** (
                place - (len(sizes) - 1) / 2
            )  # otherwise equal predictions cover each other
            axes.errorbar(
                x * shift, y, y_bars, x_bars,
                fmt="o", markersize=5, color=SIZES[place], elinewidth=1,
                label=f"{times} x ({size:,} fakes)",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(LEAST_RATE, 1), ylim=(LEAST_RATE, 1))
        axes.set(xlabel="predicted false-match rate", ylabel="rate counted in the other half")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g}%"))
        axes.legend(title="corpus", loc="upper left")
    return svg()


def plot_tippett(curves: TippettCurves | None) -> str | None:
    """Plot the shares of images with at least each likelihood ratio."""
    if curves is None:
        return None
    with _draw() as (axes, svg):
        axes.plot(curves.log10, curves.same, color=SYNTHETIC, label="known fakes (should be right)")
        axes.plot(curves.log10, curves.different, color=REAL, label="real images (should be left)")
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="log10 likelihood ratio of at least", ylabel="share", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend()
    return svg()


def plot_reliability(
    uncalibrated: ReliabilityFigures, calibrated: ReliabilityFigures | None
) -> str | None:
    """Plot the true share against the stated value. A dot's area grows with its images."""
    if not uncalibrated.bins:
        return None
    with _draw() as (axes, svg):
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        for figures, colour, name in (
            (uncalibrated, SYNTHETIC, "sigmoid of the logit, uncalibrated"),
            (calibrated, REAL, "probability, calibrated on the other half"),
        ):
            if figures is None or not figures.bins:
                continue
            stated = [each.mean_probability for each in figures.bins]
            so = [each.share_synthetic for each in figures.bins]
            sizes = [10 + 160 * each.n / figures.n for each in figures.bins]
            axes.plot(stated, so, color=colour, linewidth=1.2, alpha=0.8, label=name)
            axes.scatter(stated, so, sizes, color=colour, alpha=0.6, linewidths=0)
        axes.set(xlabel="stated value for synthetic", ylabel="share that is synthetic")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left")
    return svg()


@contextmanager
def _draw(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Yield axes to draw on, and a function that returns the SVG after the block has ended."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.add_subplot(), text.getvalue
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )


def _draw_bars(
    axes: Axes, measures: Sequence[Measure], places: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    values, bars = _split_bars(measures)
    axes.errorbar(values, places, xerr=bars, fmt="o", color=REAL, markersize=5, elinewidth=1.4)


def _split_bars(
    measures: Sequence[Measure],
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[list[float]]]:
    """Return the values (n,), and the lengths of their bars below and above (2, n)."""
    values = [measure.value or 0.0 for measure in measures]
    below = [
        value - (measure.low if measure.low is not None else value)
        for value, measure in zip(values, measures, strict=True)
    ]
    above = [
        (measure.high if measure.high is not None else value) - value
        for value, measure in zip(values, measures, strict=True)
    ]
    return np.array(values), [below, above]


def _format_percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _shorten(name: str, most: int = 34) -> str:
    """A name as a label. matplotlib reads text between dollar signs as a formula."""
    name = show(name)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return name.replace("$", r"\$")
