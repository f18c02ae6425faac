"""The search figures of docs/benchmarks.md: `python -m tests.benchmarks.search_page FOLDER ...`.

Each folder is one that `tests.benchmarks.search` has measured. The tables and the picture come from
its `results.json`. Tables replace what stands in the page between the two comments that name the
folder's data, `--out` is the picture: p50 against recall, one line an engine, one panel a folder.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from tests.benchmarks.search import RECALL

PAGE = Path("docs/benchmarks.md")
PICTURE = Path("docs/images/search.svg")
NAMES = {
    "lineup-index": "**Lineup, index**",
    "lineup-search": "**Lineup, `search` with rows**",
    "faiss-flat": "FAISS Flat",
    "faiss-hnsw32": "FAISS HNSW32, efConstruction 40",
    "faiss-hnsw32-200": "FAISS HNSW32, efConstruction 200",
    "hnswlib": "hnswlib, M 16, ef_construction 200",
    "usearch": "usearch, f16",
    "svs-vamana": "Intel SVS, Vamana 64, float16",
    "lancedb": "LanceDB, IVF_PQ",
    "milvus-lite": "Milvus Lite, IVF_FLAT",
    "qdrant-edge": "Qdrant Edge, HNSW m 16",
}
# What a result names a column, which value is the best, and how a value is written.
COLUMNS: tuple[tuple[str, Callable[[Iterable[float]], float], str], ...] = (
    ("p50_ms", min, ".3f"),
    ("p99_ms", min, ".3f"),
    ("batch_per_second", max, ",.0f"),
    ("build_seconds", min, ",.1f"),
    ("open_seconds", min, ".2f"),
    ("disk_bytes", min, ",.0f"),
    ("anon_bytes", min, ",.0f"),
    ("file_bytes", min, ",.0f"),
)
HEAD = (
    "engine",
    "recall@10",
    "p50 ms",
    "p99 ms",
    "batch /s",
    "build s",
    "open s",
    "disk B",
    "own B",
    "mapped B",
)
# Colours that people with a colour weakness tell apart (Okabe and Ito, 2008); Lineup's is the
# strongest.
COLOURS = dict(
    zip(
        NAMES,
        (
            *("#d55e00", "#d55e00", "#999999", "#f0e442", "#e69f00", "#0072b2", "#56b4e9"),
            *("#000000", "#009e73", "#cc79a7", "#882255"),
        ),
        strict=True,
    )
)
LEAST_RECALL = 0.9


def write_table(results: dict[str, dict[str, Any]], facts: dict[str, Any]) -> str:
    """Return the Markdown of a table; bytes are per vector."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    shared = ("lineup-search", "build_seconds")  # one index, which was built once
    reached = {name for name, each in results.items() if each.get("recall", 0) >= RECALL}
    best = {
        key: pick(results[name][key] for name in reached if (name, key) != shared)
        for key, pick, _ in COLUMNS
    }
    for name, result in sort_engines(results).items():
        if "failed" in result:
            lines.append(f"| {NAMES[name]} | {result['failed']} |" + " |" * (len(HEAD) - 2))
            continue
        reach = "" if result["reach"] is None else f", reach {result['reach']}"
        cells = [NAMES[name] + reach, f"{result['recall']:.4f}"]
        for key, _, form in COLUMNS:
            value = result[key] / (facts["n"] if key.endswith("bytes") else 1)
            text = "the same" if (name, key) == shared else f"{value:{form}}"
            is_best = name in reached and result[key] == best[key]
            cells.append(f"**{text}**" if is_best else text)
        lines.append(f"| {' | '.join(cells)} |")
    note = "{measured_on}; {machine}; {versions}.".format(**facts)
    return "\n".join([*lines, "", *textwrap.wrap(note, 120)])


def sort_engines(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: results[name] for name in NAMES if name in results}


def replace_table(page: str, title: str, table: str) -> str:
    """Return the page with another table between the comments of a title."""
    begin, end = f"<!-- search: {title} -->\n", "\n<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE} has no comment {begin.strip()}")
    return pattern.sub(lambda _: begin + table + end, page)


def draw(folders: dict[str, dict[str, dict[str, Any]]], out: Path) -> None:
    """Draw p50 against recall, one panel for each measured folder."""
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "lineup", "font.size": 9}
    figure, panels = plt.subplots(
        1, len(folders), figsize=(5 * len(folders), 4.4), squeeze=False, layout="constrained"
    )
    for panel, (title, results) in zip(panels[0], folders.items(), strict=True):
        draw_panel(panel, title, results)
    names = {name for results in folders.values() for name in results}
    handles = {line.get_label(): line for panel in panels[0] for line in panel.get_lines()}
    shown = [plain(name) for name in NAMES if name in names and plain(name) in handles]
    figure.legend(
        [handles[name] for name in shown], shown, loc="outside lower center", ncols=3, frameon=False
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})


def draw_panel(panel: Axes, title: str, results: dict[str, dict[str, Any]]) -> None:
    for name, own in sort_engines(results).items():
        if "failed" in own:
            continue
        colour = COLOURS[name]
        points = find_front([*own.get("curve", []), own])
        recalls = np.array([recall for recall, _ in points])
        panel.plot(
            1 - recalls.clip(max=0.9999),
            [p50 for _, p50 in points],
            marker="." if name != "lineup-search" else "P",
            label=plain(name),
            color=colour,
            linestyle="-" if name != "lineup-search" else "None",
            linewidth=2.5 if name == "lineup-index" else 1.2,
        )
        if name.startswith("lineup"):  # what it chooses for itself
            star = "*" if name == "lineup-index" else "P"
            panel.plot(1 - min(own["recall"], 0.9999), own["p50_ms"], star, color=colour, ms=11)
    panel.axvline(0.01, color="#bbbbbb", linestyle=":", linewidth=1)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(1 - LEAST_RECALL, 0.8e-4)
    ticks = [0.1, 0.05, 0.01, 0.005, 0.001, 0.0001]
    panel.set_xticks(ticks, ["0.9", "0.95", "0.99", "0.995", "0.999", "1"])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel("recall@10")
    panel.set_ylabel("p50 of one search, ms")
    panel.set_title(title)
    panel.grid(which="major", color="#eeeeee")


def plain(name: str) -> str:
    return NAMES[name].replace("*", "").replace("`", "")


def find_front(curve: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return those points (recall, p50 in ms) that no quicker one has the recall of."""
    front: list[tuple[float, float]] = []
    points = sorted((point["p50_ms"], -point["recall"]) for point in curve)
    for p50, negative in points:
        if -negative >= LEAST_RECALL and (not front or -negative > front[-1][0]):
            front.append((-negative, p50))
    return front


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=PICTURE)
    parser.add_argument("--drawn", type=int, default=2, help="folders in the picture, the first")
    options = parser.parse_args()
    page, drawn = PAGE.read_text(), {}
    for folder in options.folders:
        facts = json.loads((folder / "data.json").read_text())
        title = f"{facts['n']:,} x {facts['dimension']}, {facts['data']}"
        results = json.loads((folder / "results.json").read_text())
        page = replace_table(page, title, write_table(results, facts))
        if len(drawn) < options.drawn:
            drawn[title] = results
    PAGE.write_text(page)
    draw(drawn, options.out)


if __name__ == "__main__":
    main()
