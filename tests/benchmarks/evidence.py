"""Do statements of look-ups hold on pictures that no calibration has seen? The tables of
docs/evidence.md.

    python -m tests.benchmarks.evidence [all] --corpus DIR --work DIR
        [--model builtin] [--only FILE]
    python -m tests.benchmarks.evidence
        rates|strata|hits|installations|ratios|attribution|deliveries|stability
        --corpus DIR --work DIR

`--corpus` is a folder with a `manifest.csv` (relpath, label, generator, source, source_path,
sha256). Its pictures are embedded once, kept in `--work`, and halved several times by seed: one
half calibrates, and the other half tests. With `--unseen`, a file of relpaths, a further split
calibrates with pictures of the training and tests on others. With `--only`, no other pictures are
used.

- `rates`: false-match rates predicted for 1, 2, 5 and 10 times the calibrated corpus, and the
  realised ones.
- `strata`: the rates of each delivery, held to collections of photographs that were left out.
- `hits`: how often known fakes come as near, beside the false-match rates, held to collections of
  known fakes that were left out.
- `installations`: verdicts on similarity where known fakes alone were ingested, and where
  photographs were too.
- `limits`: the classifier's words, held to generators and collections that were left out.
- `ratios`: costs of likelihood ratios, one-sided and two-sided, and errors of the calibrated
  probability.
- `attribution`: sets and names by the number of entries, and generators that were left out.
- `deliveries`: the rate of delivered copies at the threshold of pictures as they are, and at their
  own.
- `stability`: verdicts that flip when a picture is delivered, with and without the stability rule.
"""

from __future__ import annotations

import argparse
import io
import platform
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from api.calibrations.shipped import ShippedPhotographs
from embedder.network.device import set_thread_count
from embedder.network.embed import Embedder
from embedder.pictures.delivery import Condition
from index.verdict import ClassifierOutcome, ClassifierPolicy, SimilarityOutcome, Verdict
from tests.benchmarks.evidence_figures import Calibrated, calibrate_half, measure_deliveries
from tests.benchmarks.evidence_limits_tables import show_limits
from tests.benchmarks.evidence_pictures import (
    Copies,
    Pictures,
    Row,
    choose_for_copies,
    embed_copies,
    embed_pictures,
    read_manifest,
)
from tests.benchmarks.evidence_rates_tables import (
    show_hits,
    show_installations,
    show_rates,
    show_strata,
)
from tests.benchmarks.evidence_ratios_tables import show_attribution, show_ratios
from tests.benchmarks.evidence_tables import (
    median_of,
    percent,
    show,
)
from tests.benchmarks.evidence_verdicts import Pair, check_reencodings, judge_pairs

SPLITS = {
    "picture": "photographs halved by picture",
    "collection": "photographs halved by whole collection",
    "training": "calibrated with pictures that the model was trained on, tested on others",
}
DELIVERED_RATES = (0.1, 0.05, 0.01)
JUDGED_RATES = (0.05, 0.01)
# Twenty splits once gave 55 % where two hundred gave 82 %: a share of splits needs many splits. One
# takes 0.3 s.
RATE_SPLITS = 20  # for each of `--seeds`


@dataclass(frozen=True)
class Run:
    """The options of one run, and what is computed when a table first needs it."""

    corpus: Path
    work: Path
    model: str
    only: Path | None
    unseen: Path | None
    seeds: int
    delivered: int
    looked_at: int
    precision: str

    @cached_property
    def embedder(self) -> Embedder:
        set_thread_count(1)
        return Embedder.load(self.model, precision=self.precision)

    @cached_property
    def manifest(self) -> list[Row]:
        return read_manifest(self.corpus, self.only, self.unseen)

    @property
    def splits(self) -> dict[str, str]:
        """The splits; that of the training exists only where `--unseen` is given."""
        trained_on = ~self.pictures.unseen & ~self.pictures.synthetic
        training_is_known = self.unseen is not None and trained_on.any()
        return {by: words for by, words in SPLITS.items() if training_is_known or by != "training"}

    @cached_property
    def pictures(self) -> Pictures:
        return embed_pictures(self.embedder, self.corpus, self.manifest, self.work)

    @cached_property
    def copies(self) -> Copies:
        return self._copies(self.delivered, with_reencodings=False)

    @cached_property
    def looked(self) -> Copies:
        return self._copies(self.looked_at, with_reencodings=True)

    @cached_property
    def calibrations(self) -> list[Calibrated]:
        """Calibrations by picture, with a stratum for each delivery."""
        return [
            calibrate_half(self.pictures, "picture", seed, self.copies)
            for seed in range(self.seeds)
        ]

    @cached_property
    def halved(self) -> dict[str, list[Calibrated]]:
        """Calibrations on pictures as they are, by the way of halving photographs."""
        return {
            by: [
                calibrate_half(self.pictures, by, seed)
                for seed in range(1 if by == "training" else self.seeds)
            ]
            for by in self.splits
        }

    @property
    def shipped(self) -> ShippedPhotographs | None:
        return ShippedPhotographs.of(self.embedder.references, self.model)

    @property
    def limits(self) -> ClassifierPolicy | None:
        info = self.embedder.info
        if info.synthetic_logit is None or info.no_traces_logit is None:
            return None
        return ClassifierPolicy(info.synthetic_logit, info.no_traces_logit, info.logit_source or "")

    def _copies(self, count: int, *, with_reencodings: bool) -> Copies:
        rows = choose_for_copies(self.pictures, count, seed=0)
        return embed_copies(
            self.embedder,
            self.corpus,
            self.pictures,
            self.work,
            rows,
            with_reencodings=with_reencodings,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="all", choices=("all", *TABLES))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--precision", default="auto", help="as in LINEUP_PRECISION")
    parser.add_argument(
        "--only", type=Path, help="file of relpaths, one a line: no other pictures are used"
    )
    parser.add_argument(
        "--unseen",
        type=Path,
        help="file of relpaths, one a line, that the model was not trained on",
    )
    parser.add_argument("--seeds", type=int, default=10, help="number of splits")
    parser.add_argument(
        "--delivered", type=int, default=300, help="pictures of each kind that are delivered"
    )
    parser.add_argument(
        "--looked-at",
        type=int,
        default=100,
        help="pictures of each kind whose re-encodings are looked at",
    )
    parser.add_argument(
        "--write", type=Path, help="document whose blocks, such as `<!-- rates -->`, are replaced"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = Run(
        options.corpus,
        options.work,
        options.model,
        options.only,
        options.unseen,
        options.seeds,
        options.delivered,
        options.looked_at,
        options.precision,
    )
    for name in ("made", *TABLES) if options.what == "all" else ("made", options.what):
        printed = io.StringIO()
        with redirect_stdout(printed):
            (show_made if name == "made" else TABLES[name])(run)
        print(printed.getvalue(), flush=True)
        if options.write is not None:
            options.write.write_text(
                with_block(options.write.read_text(), name, printed.getvalue())
            )


def with_block(text: str, name: str, block: str) -> str:
    """Return a document with a new text between the comments `<!-- NAME -->` and `<!-- /NAME
    -->`. Lines end at column 120, but for those of tables.
    """
    block = "\n".join(
        line if line.startswith("|") else textwrap.fill(line, 120, break_on_hyphens=False)
        for line in block.strip().splitlines()
    )
    before, rest = text.split(f"<!-- {name} -->\n")
    _, after = rest.split(f"<!-- /{name} -->")
    return f"{before}<!-- {name} -->\n{block}\n<!-- /{name} -->{after}"


def show_made(run: Run) -> None:
    pictures, info = run.pictures, run.embedder.info
    generators = {
        generator for generator in pictures.population.generators if generator is not None
    }
    units = [len(np.unique(pictures.units[pictures.synthetic == kind])) for kind in (False, True)]
    asked = (
        f"{run.seeds} seeds, {run.delivered} pictures of each kind delivered, {run.looked_at} "
        f"looked at in all re-encodings"
    )
    print(f"{datetime.now(UTC):%Y-%m-%d}, `python -m tests.benchmarks.evidence`, {asked};")
    print(
        f"model {info.name}, weights {info.weights_sha256[:12]}, {run.embedder.device} "
        f"{run.embedder.precision}; "
        f"Python {platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}, "
        f"torch {version('torch')}"
    )
    print(
        f"{int((~pictures.synthetic).sum())} photographs ({units[0]} pictures that are not near "
        f"duplicates, "
        f"{len(np.unique(pictures.collections[~pictures.synthetic]))} collections) and "
        f"{int(pictures.synthetic.sum())} "
        f"fakes ({units[1]}, {len(generators)} generators); not taken: {dict(pictures.unreadable)}"
    )


def show_deliveries(run: Run) -> None:
    found = [
        each
        for own in run.calibrations
        for each in measure_deliveries(run.pictures, own, run.copies, DELIVERED_RATES)
    ]
    rows = []
    for condition in dict.fromkeys(name for name, _ in found):
        for rate in DELIVERED_RATES:
            some = [each for name, each in found if name == condition and each.rate == rate]
            means = [
                percent(np.mean([getattr(each, name) for each in some]))
                for name in ("reals_as_is", "reals_own", "inside", "fakes_as_is", "fakes_own")
            ]
            rows.append([condition, percent(rate), *means])
    counted = median_of(each.n for _, each in found)
    head = ("delivered", "asked", "FMR, threshold of as_is", "FMR, its own", "splits inside")
    title = f"Deliveries, {run.seeds} splits, {counted} photographs counted in each"
    show(title, (*head, "fakes over it, as_is", "fakes over it, its own"), rows)


def show_stability(run: Run) -> None:
    for rate in JUDGED_RATES:
        compared = [
            each
            for own in run.calibrations
            for each in judge_pairs(run.pictures, own, run.copies, run.looked, rate, run.limits)
        ]
        groups: dict[str, list[Pair]] = {}
        for condition in Condition:
            groups[condition.value] = [
                each for each in compared if each.condition == condition.value
            ]
        groups |= {"all photographs": [each for each in compared if not each.synthetic]}
        groups |= {"all fakes": [each for each in compared if each.synthetic], "all": compared}
        rows = [flip_row(name, some, similarity_of) for name, some in groups.items() if some]
        head = (
            "delivered",
            "pairs",
            "flips",
            "with the rule",
            "inconclusive",
            "with the rule",
            "similar",
            "with it",
        )
        show(
            f"Similarity verdicts at a false-match rate of {percent(rate)}: picture against copy",
            head,
            rows,
        )
        show_staying(run, rate)
        if rate == JUDGED_RATES[0] and run.limits is not None:
            rows = [flip_row(name, some, class_of) for name, some in groups.items() if some]
            head = (*head[:-2], "synthetic", "with it")
            show("Classifier verdicts: picture against copy", head, rows)


def show_staying(run: Run, rate: float) -> None:
    found: dict[str, list[bool]] = {}
    for own in run.calibrations:
        for name, stays in check_reencodings(run.pictures, own, run.looked, rate):
            found.setdefault(name, []).append(stays)
    if found:
        count = len(next(iter(found.values())))
        title = (
            f"Fakes over the threshold of {percent(rate)} as they are ({count} in all "
            f"splits): those still over it"
        )
        show(title, list(found), [[percent(np.mean(some)) for some in found.values()]])


def similarity_of(verdict: Verdict) -> str | None:
    """Return the similarity verdict, None where it is inconclusive."""
    outcome = verdict.similarity.verdict
    return None if outcome is SimilarityOutcome.INCONCLUSIVE else outcome.value


def class_of(verdict: Verdict) -> str | None:
    """Return the classifier's verdict, None where it is inconclusive or missing."""
    judged = verdict.classifier
    return (
        None
        if judged is None or judged.verdict is ClassifierOutcome.INCONCLUSIVE
        else judged.verdict.value
    )


def flip_row(name: str, some: Sequence[Pair], of: Callable[[Verdict], str | None]) -> list[str]:
    """Write a row. A flip is one conclusive verdict against the opposite one.

    The shares of inconclusive and positive verdicts are those of the copies.
    """
    flips, inconclusive, positive = [], [], []
    for rule in (False, True):
        verdicts = [(of(each.original[rule]), of(each.copy[rule])) for each in some]
        flips.append(np.mean([None not in pair and pair[0] != pair[1] for pair in verdicts]))
        inconclusive.append(np.mean([copy is None for _, copy in verdicts]))
        positive.append(np.mean([copy in POSITIVE for _, copy in verdicts]))
    return [name, str(len(some)), *(percent(value) for value in (*flips, *inconclusive, *positive))]


POSITIVE = {SimilarityOutcome.SIMILAR_TO_KNOWN_FAKES.value, ClassifierOutcome.SYNTHETIC.value}
TABLES: dict[str, Callable[[Run], None]] = {
    "rates": lambda run: show_rates(run.pictures, run.splits, RATE_SPLITS * run.seeds),
    "strata": lambda run: show_strata(run.pictures, run.copies, run.shipped),
    "hits": lambda run: show_hits(run.pictures, run.copies),
    "installations": lambda run: show_installations(
        run.pictures,
        run.copies,
        run.shipped,
        run.embedder.info.similarity_threshold,
    ),
    "limits": lambda run: show_limits(
        run.pictures,
        run.copies,
        run.limits,
        2 * run.seeds,
        training_is_known="training" in run.splits,
    ),
    "ratios": lambda run: show_ratios(run.pictures, run.splits, run.halved),
    "attribution": lambda run: show_attribution(run.pictures, run.splits, run.halved),
    "deliveries": show_deliveries,
    "stability": show_stability,
}


if __name__ == "__main__":
    main()
