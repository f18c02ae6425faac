"""Lookups for a person: the verdicts, what stands beside them, the neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from api.fields import FailedItem
from api.lookups.json import LookupAnswer, NeighbourAnswer, ProbeLookup
from api.terminal.tables import out, print_failure, table_of, verdict_text

if TYPE_CHECKING:
    from api.lookups.replay import ReplayAnswer  # which loads the model library


def print_lookup(name: str, answer: LookupAnswer) -> None:
    """The two verdicts, each with its reason, then the neighbours."""
    out.print(Text(name, style="bold"))
    if answer.classifier:
        judged = answer.classifier
        out.print(
            "  classifier  ",
            verdict_text(judged.verdict),
            f" logit {judged.logit:+.2f}: {judged.explanation}",
            sep="",
        )
    out.print(
        "  similarity  ",
        verdict_text(answer.similarity.verdict),
        f": {answer.similarity.explanation}",
        sep="",
    )
    print_evidence(answer)
    if answer.method.recall:
        found = answer.method.recall
        out.print(
            f"  candidates from codes: recall@{found.k} {found.recall:.4f} when last measured; "
            f"--exact compares all"
        )
    if answer.similarity.neighbours:
        out.print(_neighbours(answer.similarity.neighbours))
    out.print(
        f"  lookup {answer.id}, generation {answer.method.generation}, "
        f"{answer.timings.total_ms:.0f} ms",
        style="dim",
    )


def print_result(result: ProbeLookup | FailedItem) -> None:
    """What became of one probe."""
    if isinstance(result, FailedItem):
        print_failure(result)
    else:
        print_lookup(result.name, result.lookup)


def print_evidence(answer: LookupAnswer) -> None:
    """What stands beside the verdicts, a line each; nothing where nothing is known."""
    for each in answer.statements:
        out.print(Text(f"  {each.topic:<12}{each.words}"), soft_wrap=True)


def print_replay(answer: ReplayAnswer) -> None:
    """Whether it came out the same, and where not."""
    out.print(
        Text("equal", "bold green") if answer.equal else Text("not equal", "bold red"),
        f": lookup {answer.lookup_id} recomputed as of generation {answer.generation:,}",
        "" if answer.exact else "; its candidates came from codes, the replay compared every entry",
        sep="",
        soft_wrap=True,
    )
    for each in answer.differences:
        out.print(Text(f"  {each.place}: {each.then} then, {each.now} now"), soft_wrap=True)
    out.print(
        f"  evidence {answer.evidence_sha256 or 'without digest'}, replayed "
        f"{answer.replayed_sha256}",
        soft_wrap=True,
    )


def _neighbours(neighbours: Iterable[NeighbourAnswer]) -> Table:
    table = table_of(
        ">",
        "cosine similarity>",
        "hamming distance>",
        "relation",
        "generator",
        "corpus",
        "entry>",
        "path or source",
    )
    for neighbour in neighbours:
        entry = neighbour.entry
        table.add_row(
            str(neighbour.rank),
            f"{neighbour.cosine_similarity:.4f}",
            "" if neighbour.hamming_distance is None else str(neighbour.hamming_distance),
            neighbour.relation or "",
            entry.generator or "",
            entry.corpus,
            str(entry.id),
            str(entry.provenance.get("path") or entry.source or ""),
        )
    return table
