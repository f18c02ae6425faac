"""Copies: how many edited versions of known pictures are found, and what else is called a copy.

    python -m tests.benchmarks.copies --corpus DIR [--work DIR] [--queries 40] [--per-source N]
        [--set apart] [--edits core] [--peers] [--product none ...] [--names]
        [--non-copies N] [--families]

DIR has a `manifest.csv` (`tests.benchmarks.copy_pictures`). The pictures are split by source into a
set to design on and one that is kept apart; the latter is measured by default. All pictures of the
set are references. Some are edited in each way (`tests.benchmarks.copy_edits`), and looked for.

`--peers` measures perceptual hashes, threatexchange and SSCD (`tests.benchmarks.copy_peers`).
`--product` fills a data folder by Lineup's own ingest and looks each copy up as the command does;
its values say which copy descriptor is used (`none`, `auto`, a name or a path). Files, descriptors,
data folders and answers are kept in the folder `--work`, so that a run that was stopped continues.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import tests.benchmarks.copy_edits
from api.lineup import Lineup
from api.lookups.request import LookupQuery
from tests.benchmarks.copy_edits import CORE, EDITS, Edit, get_edit
from tests.benchmarks.copy_figures import (
    Figures,
    list_reasons,
    make_details,
    make_summary,
    measure,
)
from tests.benchmarks.copy_peers import (
    Peer,
    Rows,
    compare_cosines,
    compare_pdq_eight,
    describe_all,
    hash_pdq_eight,
    make_peers,
    normalise,
)
from tests.benchmarks.copy_pictures import (
    APART,
    DESIGN,
    Alike,
    Picture,
    Query,
    choose_queries,
    find_alike,
    make_queries,
    read_pictures,
    split_by_source,
)
from tests.benchmarks.copy_product import (
    COUNTED,
    RULE,
    add_strangers,
    look_up,
    look_up_all,
    make_relations,
    make_timings,
    make_values,
    open_filled,
)
from tests.benchmarks.copy_strangers import MEMBERS, list_strangers, make_families

# Pairs of references up to these are alike: PDQ's own limit, the band of leads, and the cosine of
# SSCD from which three known pairs of twins were called copies (0.6), with a margin.
SAME_BITS, ALIKE_BITS, ALIKE_COSINE = 31, 60, 0.5
TIMED = 40  # pictures whose description is timed


@dataclass(frozen=True)
class Trial:
    """References, copies of some of them, and which references are alike."""

    references: Sequence[Picture]
    others: Sequence[Picture]  # of the other set: no copy of them is looked for
    queries: Sequence[Query]
    originals: NDArray[np.int_]  # (q,) places among the references
    work: Path
    name: str  # of the set

    @property
    def edits(self) -> list[Edit]:
        return [query.edit for query in self.queries]

    def describe(self, peer: Peer) -> tuple[Rows, Rows, Rows]:
        """Return the peer's rows of the copies, the references, and the pictures of the other set.

        Those of the other set are used by descriptors alone.
        """
        copies = self._describe(peer, [query.read for query in self.queries])
        references = self._describe(peer, [each.path.read_bytes for each in self.references])
        is_descriptor = peer.compare is compare_cosines
        others = [each.path.read_bytes for each in self.others] if is_descriptor else []
        return copies, references, self._describe(peer, others) if others else references[:0]

    def _describe(self, peer: Peer, files: Sequence[Callable[[], bytes]]) -> Rows:
        kept = self.work / "peers" / f"{peer.name}.npz"
        return describe_all(peer, files, kept)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--queries", type=int, default=40, help="pictures that are edited")
    parser.add_argument("--per-source", type=int, help="at most this many of a source")
    parser.add_argument("--set", choices=(APART, DESIGN), default=APART)
    parser.add_argument("--edits", default="all", help="all, core, or names with commas")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--product", nargs="*", default=[], metavar="DESCRIPTOR")
    parser.add_argument("--non-copies", type=int, default=0, help="look-ups of other pictures")
    parser.add_argument("--families", action="store_true", help="pictures of one template")
    parser.add_argument("--names", action="store_true", help="name the pairs that are alike")
    options = parser.parse_args()
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"one thread a method"
    )
    with tempfile.TemporaryDirectory() as folder:
        run(options, options.work or Path(folder))


def run(options: argparse.Namespace, work: Path) -> None:
    console = Console(width=200, highlight=False)
    trial = prepare(options, work)
    alike = pair_alike(trial)
    print(
        f"{len(trial.references):,} references of the set `{options.set}`; {len(trial.queries):,} "
        f"copies of {len(set(trial.originals.tolist()))} pictures; alike are "
        f"{int(np.triu(alike.copies, 1).sum())} pairs of the same picture and "
        f"{int(np.triu(alike.twins, 1).sum())} twins"
    )
    if options.names:
        print("\n".join(list_reasons(alike, [each.name for each in trial.references])))
    figures = list[Figures]()
    if options.peers:
        for peer in make_peers():
            figures += measure_peer(peer, trial, alike)
    for descriptor in options.product:
        figures.append(measure_product(descriptor, trial, alike, options, console))
    console.print(make_summary(figures, trial.edits))
    console.print(make_details(figures, trial.edits, EDITS))


def prepare(options: argparse.Namespace, work: Path) -> Trial:
    """Read, split, choose and edit the pictures."""
    sets = split_by_source(read_pictures(options.corpus))
    references = sets[options.set]
    others = sets[DESIGN if options.set == APART else APART]
    chosen = choose_queries(references, options.queries, options.per_source)
    edits = {"all": EDITS, "core": CORE}.get(options.edits)
    if edits is None:
        edits = tuple(get_edit(name) for name in options.edits.split(","))
    made = hashlib.sha256(Path(tests.benchmarks.copy_edits.__file__).read_bytes()).hexdigest()[:12]
    queries = make_queries(chosen, edits, others, work / "copies" / made)
    places = {picture.sha256: place for place, picture in enumerate(references)}
    originals = np.array([places[query.picture.sha256] for query in queries])
    return Trial(references, others, queries, originals, work, options.set)


def pair_alike(trial: Trial) -> Alike:
    """Find which references are alike: by PDQ in eight symmetries and, if it is there, by SSCD."""
    peers = {peer.name: peer for peer in make_peers()}
    eight = trial.describe(Peer("PDQ, 8 symmetries", hash_pdq_eight, compare_pdq_eight, 0, 0))[1]
    distances = -compare_pdq_eight(eight, eight).astype(int)
    similarities = None
    if "SSCD" in peers:
        rows = trial.describe(peers["SSCD"])[1]
        similarities = compare_cosines(rows, rows)
    distances = np.minimum(distances, distances.T)
    return find_alike(
        trial.references, distances, similarities, SAME_BITS, ALIKE_BITS, ALIKE_COSINE
    )


def measure_peer(peer: Peer, trial: Trial, alike: Alike) -> list[Figures]:
    """Measure a peer, and a descriptor also with score normalisation."""
    copies, references, others = trial.describe(peer)
    milliseconds = time_peer(peer, [query.read() for query in trial.queries[:TIMED]])
    peers = [peer, normalise(peer, others)] if len(others) else [peer]
    return [
        measure(
            each.name,
            each.compare(copies, references),
            trial.originals,
            alike,
            each.rule,
            milliseconds,
            each.bytes_an_image,
        )
        for each in peers
    ]


def measure_product(
    descriptor: str, trial: Trial, alike: Alike, options: argparse.Namespace, console: Console
) -> Figures:
    """Measure Lineup with a copy descriptor: its ingest, its look-ups, its own rule."""
    label = f"{trial.name}-{Path(descriptor).stem}"
    files = [each.path for each in trial.references]
    kept = trial.work / "answers" / f"{label}.jsonl"
    with open_filled(trial.work / "data" / label, files, descriptor) as lineup:
        answers = look_up_all(lineup, [query.path for query in trial.queries], kept)
        if options.non_copies:
            console.print(count_false(lineup, trial, alike, options.non_copies, label))
    if options.families:
        console.print(count_in_families(descriptor, trial))
    names = [each.sha256 for each in trial.references]
    same = [frozenset(names[place] for place in np.flatnonzero(row)) for row in alike.copies]
    console.print(make_relations(answers, [same[place] for place in trial.originals], trial.edits))
    console.print(make_timings(answers))
    totals = [looked.timings["total_ms"] for looked in answers if looked.error is None]
    return measure(
        f"Lineup, descriptor {descriptor}",
        make_values(answers, names),
        trial.originals,
        alike,
        RULE,
        float(np.median(totals)),
        None,
    )


def count_false(lineup: Lineup, trial: Trial, alike: Alike, count: int, label: str) -> Table:
    """Look up pictures that have no copy among the references, but for themselves: the references
    as they are, and edited pictures of the other set.
    """
    table = Table("look-ups of", "n", *COUNTED, "pairs that are called a copy")
    folder = trial.work / "strangers"
    queries = list_strangers(trial.others, count, folder)
    kept = trial.work / "answers" / f"{label}-strangers.jsonl"
    answers = look_up_all(lineup, [query.path for query in queries], kept)
    nothing = [(frozenset[str](), frozenset[str]())] * len(queries)
    names = [f"{query.edit.name} of {query.picture.name}" for query in queries]
    add_strangers(table, "pictures of the other set, edited", names, answers, nothing)
    own = trial.references[: len(trial.others)]
    kept = trial.work / "answers" / f"{label}-own.jsonl"
    answers = look_up_all(lineup, [each.path for each in own], kept)
    sha256 = [each.sha256 for each in trial.references]
    known = [
        (
            frozenset(sha256[place] for place in np.flatnonzero(alike.copies[row])),
            frozenset(sha256[place] for place in np.flatnonzero(alike.twins[row])),
        )
        for row in range(len(own))
    ]
    add_strangers(table, "references among the others", [each.name for each in own], answers, known)
    return table


def count_in_families(descriptor: str, trial: Trial) -> Table:
    """Look up pictures whose frame, text or template is that of known pictures."""
    table = Table("look-ups of", "n", *COUNTED, "pairs that are called a copy")
    families = make_families(choose_queries(trial.others, MEMBERS, 1), trial.work / "families")
    files = [path for family in families for path in family.known]
    folder = trial.work / "data" / f"families-{Path(descriptor).stem}"
    with open_filled(folder, files, descriptor) as lineup:
        for family in families:
            answers = [
                look_up(lineup, path.read_bytes(), LookupQuery()) for path in family.strangers
            ]
            nothing = [(frozenset[str](), frozenset[str]())] * len(answers)
            names = [path.name for path in family.strangers]
            add_strangers(table, f"one frame: {family.name}", names, answers, nothing)
    return table


def time_peer(peer: Peer, files: Sequence[bytes]) -> float:
    """Return the median milliseconds that a processor needs for one picture, with decoding."""
    seconds = []
    for data in files:
        started = time.process_time()
        peer.describe(data)
        seconds.append(time.process_time() - started)
    return float(1e3 * np.median(seconds))


if __name__ == "__main__":
    main()
