"""Inspecting a corpus: how long it takes, how much memory it needs, and how many planted
photographs it finds.

    python -m tests.benchmarks.inspection speed [--n 20000] [--reals 5000]
    python -m tests.benchmarks.inspection planted --data-dir DIR --fakes CORPUS --reals CORPUS
        [--share 0.01] [--seeds 20]

`speed` fills SQLite with clustered vectors of 384 dimensions and random hashes, of which one in a
hundred is near another. It prints the seconds of reading and comparing, and the peak memory.

`planted` needs two embedded corpora, one of known fakes and one of photographs. For each seed it
moves some photographs to the fakes, in memory; their number is `share` of the fakes. Then it looks
for them among the rest. It prints how many are named (recall), and how many of the true fakes are.
Nothing is changed.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from api.lineup import Lineup
from api.settings import Settings
from index.calibration.others import compare_both_ways
from index.proof.hubs import find_fakes_that_look_real
from index.proof.images import ImageReader, Images
from index.proof.inspection import inspect_corpus
from index.truth.corpora import find_corpus_ids
from index.truth.databases.database import Database
from index.truth.schema import entries
from tests.benchmarks.filling import fill, make_space
from tests.benchmarks.vectors import DIMENSION, clustered

HASHED = 100  # one image in 100 has the hash of another, with some bits flipped
out = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "planted"))
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--reals", default="5000")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--fakes")
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    if options.what == "speed":
        measure_speed(options.n, int(options.reals))
    else:
        measure_planted(
            options.data_dir, options.fakes, options.reals, options.share, options.seeds
        )


def measure_speed(n: int, reals: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lineup.db"
        # A process of its own, so that its memory is not counted.
        filling = get_context("spawn").Process(target=fill_corpora, args=(path, n, reals))
        filling.start()
        filling.join()
        space, before = make_space(DIMENSION), peak_mib()
        with Database.open(f"sqlite:///{path}") as database:
            started = time.perf_counter()
            found = inspect_corpus(database, space, "corpus-0", 0.0)
            seconds = time.perf_counter() - started
    out.print(
        f"{found.embedded:,} x {DIMENSION} beside {found.known_reals:,} known reals: "
        f"{seconds:.1f} s, "
        f"{peak_mib():,.0f} MiB at most ({before:,.0f} before); {len(found.clusters):,} clusters, "
        f"{len(found.within.hubs):,} hubs within (skewness {found.within.skewness:.1f}), "
        f"{len(found.photographs.hubs if found.photographs else ()):,} for photographs"
    )


def fill_corpora(path: Path, n: int, reals: int) -> None:
    fill(path, clustered(n + reals).blocks(), DIMENSION)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE corpora SET kind = 'known_real' WHERE id = 2")
        connection.execute(
            "UPDATE entries SET corpus_id = CASE WHEN id <= ? THEN 1 ELSE 2 END", (n,)
        )
        hashes = ((bits, i) for i, bits in enumerate(draw_hashes(n + reals), 1))
        connection.executemany(
            "UPDATE images SET pdq_hash = ?, pdq_quality = 90 WHERE id = ?", hashes
        )


def draw_hashes(count: int) -> Iterator[bytes]:
    random = np.random.default_rng(5)
    last = random.bytes(32)
    for number in range(count):
        if number % HASHED == 1:
            turned = bytearray(last)
            turned[0] ^= 0xFF
            yield bytes(turned)
        else:
            last = random.bytes(32)
            yield last


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_planted(data_dir: Path, fakes: str, reals: str, share: float, seeds: int) -> None:
    with (
        Lineup.open(Settings(data_dir=data_dir, offline=True)) as lineup,
        TemporaryFile() as spool,
    ):
        policy = lineup.classifier_policy
        assert policy is not None, "the model has no limits of the logit"
        with lineup.database.read() as conn:
            reader = ImageReader(conn, lineup.space, spool)
            own, photographs = (
                reader.read(entries.c.corpus_id.in_(find_corpus_ids(conn, frozenset([name]))))
                for name in (fakes, reals)
            )
    count = max(1, round(share * len(own)))
    table = Table("rule", "planted named", "of", "recall", "true fakes named", "share of them")
    named = {rule: np.zeros(2, int) for rule in ("logit alone", "similarity alone", "both")}
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).permutation(len(photographs))[:count]
        rest = np.setdiff1d(np.arange(len(photographs)), chosen)
        mixed, others = join_images(own, photographs, chosen), take_rows(photographs, rest)
        to_fake, to_real = (
            compare_both_ways(mixed, mixed).similarities,
            compare_both_ways(mixed, others).similarities,
        )
        always = np.full(len(mixed), -np.inf)
        rules = {
            "logit alone": np.flatnonzero(mixed.logits <= policy.no_traces_logit),
            "similarity alone": find_fakes_that_look_real(always, 0.0, to_real, to_fake),
            "both": find_fakes_that_look_real(
                mixed.logits, policy.no_traces_logit, to_real, to_fake
            ),
        }
        for rule, rows in rules.items():
            named[rule] += [(rows >= len(own)).sum(), (rows < len(own)).sum()]
    for rule, (right, wrong) in named.items():
        planted, true = count * seeds, len(own) * seeds
        table.add_row(
            rule,
            f"{right:,}",
            f"{planted:,}",
            f"{right / planted:.3f}",
            f"{wrong:,}",
            f"{wrong / true:.3f}",
        )
    out.print(
        f"{len(own):,} known fakes, {len(photographs):,} photographs, {count} planted, {seeds} "
        f"times"
    )
    out.print(table)


def take_rows(images: Images, rows: NDArray[np.int64]) -> Images:
    return Images(**{each.name: getattr(images, each.name)[rows] for each in fields(Images)})


def join_images(images: Images, others: Images, rows: NDArray[np.int64]) -> Images:
    more = take_rows(others, rows)
    return Images(
        **{
            f.name: np.concatenate([getattr(images, f.name), getattr(more, f.name)])
            for f in fields(Images)
        }
    )


if __name__ == "__main__":
    main()
