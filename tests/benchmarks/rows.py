"""What rows cost a search: `python -m tests.benchmarks.rows --work FOLDER`, a folder of
`tests.benchmarks.search`, or `--url URL` of an empty database, which gets 5,000 entries.

Prints the time of a search, one by one and in batches of 1,000: by the index alone, with rows that
are held in memory, and with rows that an amendment made SQL's again; and recall@10 against a search
over every vector. It fails if an answer shows anything else than SQL has.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from index.cache.live import LiveIndex
from index.cache.searching.questions import Question, SearchResult
from index.truth.adding import NewEntry, add_entries
from index.truth.changes import record_amendment
from index.truth.corpora import CorpusKind, create_corpus
from index.truth.databases.database import Database
from index.truth.entries import find_entries_ever
from index.truth.filters import EVERYTHING
from index.truth.images import ImageFacts
from tests.benchmarks.filling import make_space, sha256_of

K, PROBES, SMALL, DIMENSION = 10, 1_000, 5_000, 384
Probes = NDArray[np.float32]


def fill_small(database: Database) -> Probes:
    """Add entries to an empty database; return probes (p, d)."""
    rows = np.random.default_rng(20).standard_normal((SMALL + PROBES, DIMENSION), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    new = [
        NewEntry(ImageFacts(sha256_of(number), 100_000, 1024, 768, "png"), row, 0.5)
        for number, row in enumerate(rows[:SMALL])
    ]
    with database.write() as conn:
        create_corpus(conn, "corpus", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "corpus", make_space(DIMENSION), new)
    return rows[SMALL:]


def time_each(work: Callable[[int], object], forget: Callable[[], None] | None = None) -> float:
    """Return the median in microseconds over all probes, after a pass that is not timed.

    `forget` is called between the two. Few entries are near two probes, where there are many.
    """
    seconds = []
    for number in range(PROBES):
        work(number)
    if forget is not None:
        forget()
    for number in range(PROBES):
        began = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds) * 1e6)


def time_batch(work: Callable[[], object], forget: Callable[[], None] | None = None) -> float:
    """Return the quickest of five batches, in microseconds a question."""
    seconds = []
    for _ in range(5):
        if forget is not None:
            forget()
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds) / PROBES * 1e6


def measure(live: LiveIndex, database: Database, probes: Probes) -> Table:
    """Return the table of an index."""
    questions = [Question(probe, K, EVERYTHING) for probe in probes]

    def forget() -> None:
        with database.write() as conn:
            record_amendment(conn)

    answers = live.search_all(questions)
    require_rows(database, answers)
    exact = live.search_all([Question(probe, K, EVERYTHING, exact=True) for probe in probes[:100]])
    recall = np.mean([len(ids_of(a) & ids_of(b)) / K for a, b in zip(answers, exact, strict=False)])
    alone, batch = (
        time_each(lambda number: live.nearest(probes[number], K)),
        time_batch(lambda: live.nearest_many(probes, K)),
    )
    rows = {
        "the index alone": (alone, batch),
        "rows held": (
            time_each(lambda number: live.search(probes[number], K)),
            time_batch(lambda: live.search_all(questions)),
        ),
        "rows from SQL": (
            time_each(lambda number: live.search(probes[number], K), forget),
            time_batch(lambda: live.search_all(questions), forget),
        ),
    }
    table = Table("search", "recall@10", "p50 us", "of the index", "batch us", "of the index")
    for name, (one, many) in rows.items():
        table.add_row(
            name,
            f"{recall:.4f}",
            f"{one:.0f}",
            f"{one / alone:.2f}",
            f"{many:.1f}",
            f"{many / batch:.2f}",
        )
    return table


def require_rows(database: Database, answers: Sequence[SearchResult]) -> None:
    """Fail unless answers show what SQL has."""
    shown = {each.entry.id: each.entry for answer in answers for each in answer.neighbours}
    with database.read() as conn:
        if shown != find_entries_ever(conn, list(shown)):
            raise AssertionError("an answer shows something else than SQL has")


def ids_of(answer: SearchResult) -> set[int]:
    return {neighbour.entry.id for neighbour in answer.neighbours}


def time_round_trip(database: Database) -> float:
    """Return the median of a transaction with the smallest statement, in microseconds."""

    def ask(_: int) -> None:
        with database.read() as conn:
            conn.exec_driver_sql("SELECT 1").scalar_one()

    return time_each(ask)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--work", type=Path)
    chosen.add_argument("--url")
    options = parser.parse_args()
    url = options.url or f"sqlite:///{options.work / 'lineup.db'}"
    with (
        tempfile.TemporaryDirectory() as temporary,
        Database.open(url, migrate=True) as database,
    ):
        if options.work is None:
            probes, folder = fill_small(database), Path(temporary)
        else:
            probes = np.load(options.work / "probes.npy")[:PROBES]
            folder = options.work / "lineup-index"
        with LiveIndex.open(database, make_space(probes.shape[1]), folder) as live:
            live.settle()
            console = Console()
            console.print(measure(live, database, probes))
            console.print(f"{live.count:,} entries, plan {live.plan}, {database.dialect}")
            console.print(f"transaction with one statement {time_round_trip(database):.0f} us")


if __name__ == "__main__":
    main()
