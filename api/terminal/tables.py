"""Answers as tables for a person. The JSON of an answer is in the `json` module of its room."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.corpora.json import CorpusAnswer, EntryAnswer
from api.fields import FailedItem
from api.ingest.spool import STANDARD_INPUT
from api.ingest.spool import SUFFIX as SPOOLED
from api.jobs.json import JobAnswer, JobItemAnswer
from api.lookups.json import DemoAnswer
from api.operations.json import BackupAnswer, FsckAnswer, IndexesAnswer, ModelsAnswer, RestoreAnswer
from index.truth.jobs import JobItem

if TYPE_CHECKING:
    from api.ingest.dry_run import DryRunAnswer  # which loads the model library

PIPED_WIDTH = (
    136  # columns where standard output is no terminal: a log or a file has no width of its own
)
# What an operator wrote is printed as it is: `[red]` in a description is no colour.
out = Console(
    highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPED_WIDTH
)

VERDICT_STYLES = {
    "synthetic": "bold red",
    "similar_to_known_fakes": "bold red",
    "authentic": "bold green",
    "not_similar": "bold green",
    "inconclusive": "bold yellow",
}


def print_json(answer: BaseModel) -> None:
    """One JSON document on standard output, uncoloured and unwrapped."""
    out.print(answer.model_dump_json(indent=2), markup=False, soft_wrap=True)


def verdict_text(verdict: str) -> Text:
    """A verdict, coloured; the word itself says everything."""
    return Text(verdict, style=VERDICT_STYLES.get(verdict, ""))


def print_corpora(corpora: Iterable[CorpusAnswer]) -> None:
    """One row a corpus."""
    table = table_of("corpus", "kind", "entries>", "keeps", "created", "description")
    for corpus in corpora:
        created = f"{corpus.created_at:%Y-%m-%d %H:%M}"
        table.add_row(
            corpus.name,
            corpus.kind,
            f"{corpus.entry_count:,}",
            corpus.keep,
            created,
            corpus.description,
        )
    out.print(table)


def print_entries(entries: Iterable[EntryAnswer]) -> None:
    """One row an entry."""
    table = table_of("entry>", "corpus", "generator", "size", "sha256", "path or source")
    for entry in entries:
        where = str(entry.provenance.get("path") or entry.source or "")
        size = f"{entry.width} x {entry.height}" if entry.width else ""
        table.add_row(
            str(entry.id), entry.corpus, entry.generator or "", size, entry.sha256[:12], where
        )
    out.print(table)


def print_models(answer: ModelsAnswer) -> None:
    """One row a model, the active one first and marked."""
    table = table_of(
        "",
        "model",
        "fingerprint",
        "device",
        "precision",
        "on this machine",
        "revision",
        "description",
    )
    for model in answer.models:
        table.add_row(
            "*" if model.active else "",
            model.name,
            (model.embedding_space or "")[:16],
            model.device or "",
            model.precision or "",
            "yes" if model.available else "no",
            (model.revision or "")[:12],
            model.description,
        )
    out.print(table)
    out.print(
        "* active. The fingerprint names the embedding space: weights and preprocessing.",
        style="dim",
    )


def print_failure(failure: FailedItem) -> None:
    """An item that was not taken, and why."""
    out.print(
        Text.assemble((failure.name, "bold"), f"  {failure.reason}: {failure.detail}"),
        soft_wrap=True,
    )


def print_json_line(answer: BaseModel) -> None:
    """One JSON document on one line, written at once: somebody follows."""
    out.print(answer.model_dump_json(), soft_wrap=True)
    sys.stdout.flush()


def print_item(item: JobItem | JobItemAnswer) -> None:
    """An item of a job that did not simply succeed."""
    out.print(Text.assemble((item.name, "bold"), f"  {item.reason}: {item.detail}"), soft_wrap=True)


def print_job(answer: JobAnswer, failures: Sequence[JobItemAnswer]) -> None:
    """Some failures, the counts, and the reasons behind them."""
    for failure in failures:
        print_item(failure)
    if answer.failed > len(failures):
        more = "more " if failures else ""
        out.print(
            f"{answer.failed - len(failures):,} {more}failed: lineup jobs failures {answer.id}"
        )
    where = f"{answer.corpus}: " if answer.corpus else ""
    out.print(
        f"job {answer.id} {answer.state}  {where}{answer.found:,} found = {answer.added:,} added"
        f" + {answer.linked:,} linked + {answer.embedded:,} embedded again + {answer.skipped:,} "
        f"skipped"
        f" + {answer.failed:,} failed"
        + (f" + {answer.found - answer.done:,} to do" if answer.found > answer.done else ""),
        soft_wrap=True,
    )
    for outcome, reasons in (answer.reasons or {}).items():
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        out.print(f"  {outcome}: {told}", soft_wrap=True)
    if answer.near_duplicates:
        out.print(
            f"  {answer.near_duplicates:,} show a picture that the corpus had, by perceptual hash"
        )
    if answer.finished_at:
        seconds = (answer.finished_at - answer.created_at).total_seconds()
        out.print(
            f"  {seconds:,.1f} s, {answer.done / max(seconds, 0.001):,.1f} items/s", style="dim"
        )
    if answer.error:
        out.print(Text(f"  {answer.error}", style="red"), soft_wrap=True)


def print_jobs(jobs: Iterable[JobAnswer]) -> None:
    """One row a job."""
    table = table_of(
        "job>", "kind", "state", "corpus", "found>", "done>", "failed>", "last", "sources"
    )
    for job in jobs:
        sources = job.request.get("sources", [])
        first = Path(str(sources[0])).name if sources else ""
        first = STANDARD_INPUT if first.endswith(SPOOLED) else first
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        last = f"{job.updated_at:%Y-%m-%d %H:%M:%S}"
        counts = [f"{job.found:,}", f"{job.done:,}", f"{job.failed:,}"]
        table.add_row(
            str(job.id), job.kind, job.state, job.corpus or "", *counts, last, first + more
        )
    out.print(table)


def print_dry_run(answer: DryRunAnswer) -> None:
    """What an ingest would come to."""
    for failure in answer.failures:
        print_failure(failure)
    out.print(
        f"dry run  {answer.corpus}: {answer.found:,} found = {answer.new:,} to add + "
        f"{answer.linked:,} to link"
        f" + {answer.skipped:,} to skip + {answer.failed:,} failed; nothing was written",
        soft_wrap=True,
    )
    out.print(
        f"  {answer.duplicates:,} duplicates, {answer.near_duplicates:,} near duplicates within "
        f"the sources"
    )


def print_fsck(answer: FsckAnswer) -> None:
    """Each finding, then what was checked."""
    for finding in answer.findings:
        state = Text("repaired", "green") if finding.repaired else Text("open", "red")
        out.print(
            Text.assemble("  ", state, f"  {finding.kind}  {finding.item}  {finding.message}"),
            soft_wrap=True,
        )
    checked = ", ".join(f"{count:,} {what}" for what, count in answer.checked.items())
    out.print(
        Text("clean", "bold green") if answer.clean else Text("not clean", "bold red"),
        f": checked {checked}",
        sep="",
    )


def print_backup(answer: BackupAnswer, done: str) -> None:
    """What a backup holds, one row a kind of thing; `done` says what became of it."""
    table = table_of("", "")
    table.show_header = False
    table.add_row("archive", f"{answer.archive}, {answer.byte_size:,} bytes")
    table.add_row(
        "made", f"{answer.created_at:%Y-%m-%d %H:%M:%S} UTC by Lineup {answer.lineup_version}"
    )
    table.add_row(
        "of", f"{answer.database}, schema {answer.schema_revision}, generation {answer.generation}"
    )
    for space in answer.spaces:
        where = "with" if space.embedding_space[:16] in answer.snapshots else "without"
        table.add_row(
            f"space {space.embedding_space[:16]}",
            f"{space.model}, {where} snapshot, digest {space.digest}",
        )
    counts = {
        name: count for name, count in answer.row_counts.items() if name != "change_counter"
    }  # one row, always
    table.add_row("rows", ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    table.add_row(
        "thumbnails", "left out" if answer.thumbnails is None else f"{answer.thumbnails:,}"
    )
    out.print(table)
    for warning in answer.warnings:
        out.print(Text(warning, style="yellow"), soft_wrap=True)
    out.print(
        Text(done, "bold green"),
        f": every digest agrees; {answer.seconds:.1f} s",
        sep="",
        soft_wrap=True,
    )


def print_restore(answer: RestoreAnswer) -> None:
    """What was restored, and where it is now."""
    where = f"{answer.database}; index and {answer.thumbnails:,} thumbnails in {answer.data_dir}"
    print_backup(answer.backup, f"restored into {where}")


def print_indexes(answer: IndexesAnswer) -> None:
    """Each index: its plan and why, its size, its recall."""
    if not answer.indexes:
        out.print("no embedding is stored yet, so there is no index")
    for index in answer.indexes:
        out.print(Text(f"{index.model}  {index.embedding_space[:16]}", style="bold"))
        out.print(f"  plan      {index.plan}: {index.reason}", soft_wrap=True)
        out.print(
            f"  holds     {index.entries:,} entries at generation {index.generation:,}: "
            f"{index.rows:,} positions, "
            f"{index.tail:,} added since, {index.dead:,} of removed entries",
            soft_wrap=True,
        )
        if index.recall and index.code_bytes:
            measured = (
                f"{index.recall.measured_at:%Y-%m-%d %H:%M:%S} UTC on "
                f"{index.recall.rows:,} positions"
            )
            out.print(
                f"  codes     {index.code_bytes} bytes each; recall measured {measured}",
                soft_wrap=True,
            )
        saved = (
            "none"
            if index.snapshot_generation is None
            else f"generation {index.snapshot_generation:,}"
        )
        out.print(f"  snapshot  {saved}")


def table_of(*columns: str) -> Table:
    """Plain columns; a trailing ``>`` aligns right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(
            column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold"
        )
    return table


def print_demo(answer: DemoAnswer, command: str) -> None:
    """One row a probe, then how to go on."""
    table = table_of(
        "probe",
        "truth",
        "classifier",
        "logit>",
        "verdict",
        "first fake",
        "similarity>",
        "generator",
    )
    for row in answer.rows:
        lookup = row.lookup
        classifier = lookup.classifier
        first = lookup.similarity.neighbours[0]
        table.add_row(
            Path(row.probe).stem,
            row.truth,
            verdict_text(classifier.verdict) if classifier else "",
            f"{classifier.logit:+.2f}" if classifier else "",
            verdict_text(lookup.similarity.verdict),
            first.relation or "",
            f"{first.cosine_similarity:.3f}",
            first.entry.generator or "",
        )
    out.print(table)
    out.print(f"\nGo on: {command} --data-dir {answer.data_dir} serve", soft_wrap=True)
    out.print("then open http://127.0.0.1:8787 and drop an image on the page.", soft_wrap=True)
