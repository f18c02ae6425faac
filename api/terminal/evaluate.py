"""`lineup evaluate`: a model measured on labelled images of one's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.terminal.application import Json, app, checked, errors, settings_of
from api.terminal.ingest import let_waiting_threads_sleep

if TYPE_CHECKING:
    from api.evaluation.embedding import Progress as OnProgress
    from api.evaluation.json import EvaluationAnswer, GroupFigures

ALL = "all"
MOST_GENERATORS = 20  # rows of the table in the terminal; the page has all


@app.command()
def evaluate(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER_OR_MANIFEST",
            help="Labelled images: a manifest (CSV, TSV, JSONL) with a column label (real or "
            "synthetic) and, if it has "
            "them, generator and source; or a folder, archive or table with real/** and "
            "fake/<generator>/**.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for evaluation.json and evaluation.html.")
    ] = Path("evaluation"),
    pattern: Annotated[
        str | None,
        typer.Option(
            help="Label, generator and source in the names, such as '{label}/{generator}/*'."
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure the classifier also after a delivery: jpeg90, jpeg75, jpeg50, webp80, "
            "half, screenshot, or "
            "all of them; may be repeated.",
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(min=2, help="Measure a random sample of so many images, half of either kind."),
    ] = None,
    condition_images: Annotated[
        int | None, typer.Option(min=2, help="Of these, deliver a random sample of so many.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of sampling, halves and resampling.")
    ] = 0,
    path_column: Annotated[
        str | None, typer.Option(help="Of a manifest: the column with the paths.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Of a Parquet table: the column with the images.")
    ] = None,
    shareable: Annotated[
        bool,
        typer.Option(
            "--shareable", help="A page to pass on: names and figures, no pictures, links or paths."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an evaluation that is there.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure the model on labelled images: classifier, retrieval, attribution, false matches,
    likelihood ratios.

    Needs the extra `evaluate` and no database. Figures that too few images speak for are left out,
    with the reason. Images that cannot be used are listed with their reasons, and the exit code is
    then 3.
    """
    let_waiting_threads_sleep()
    from api.evaluation.extra import require_extra

    require_extra()
    from api.evaluation.report import require_free, write_report
    from api.evaluation.request import EvaluationRequest
    from api.evaluation.running import evaluate as run
    from api.problems import EXIT_PARTIAL
    from api.sources.locations import resolved
    from api.terminal.tables import print_json

    request = checked(
        EvaluationRequest,
        source=resolved(source),
        pattern=pattern,
        path_column=path_column,
        image_column=image_column,
        conditions=_conditions(condition or []),
        max_images=max_images,
        condition_images=condition_images,
        seed=seed,
    )
    require_free(out, replace=force)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with _reported() as progress:
        done = run(settings_of(ctx), request, command, progress)
    write_report(done.answer, done.thumbnails, out, shareable=shareable)
    if json:
        print_json(done.answer)
    else:
        _print(done.answer, out)
    if done.answer.failures:
        raise typer.Exit(EXIT_PARTIAL)


def _conditions(told: list[str]) -> list[str]:
    """The conditions by name, as the request takes them;

    `all` is every one that changes the picture.
    """
    from embedder.pictures.delivery import RE_ENCODINGS

    return [
        name
        for each in told
        for name in ([str(way) for way in RE_ENCODINGS] if each == ALL else [each])
    ]


@contextmanager
def _reported() -> Iterator[OnProgress]:
    """A bar on standard error, where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task("embedding", total=None)

        def on_progress(done: int, total: int) -> None:
            bar.update(
                task,
                completed=done,
                total=total,
                description="embedding" if done < total else "measuring",
            )

        yield on_progress


def _print(answer: EvaluationAnswer, out: Path) -> None:
    """The short version; the page has the rest."""
    from api.terminal.tables import out as console

    made, measured = answer.made, answer.measured
    n = measured.n
    console.print(
        f"{made.model} ({made.embedding_space[:16]}) on {n.real:,} real images of "
        f"{n.real_sources:,} sources and "
        f"{n.synthetic:,} synthetic ones of {n.synthetic_sources:,} sources, "
        f"{len(measured.generators)} generators",
        soft_wrap=True,
    )
    for line in _lines(answer):
        console.print(line, soft_wrap=True)
    if answer.classifier.by_condition:
        console.print(_groups("condition", answer.classifier.by_condition))
    if answer.classifier.by_generator:
        console.print(_groups("generator", answer.classifier.by_generator[:MOST_GENERATORS]))
    for reason, failures in groupby(
        sorted(answer.failures, key=attrgetter("reason")), attrgetter("reason")
    ):
        some = list(failures)
        console.print(
            f"{len(some):,} {reason}, such as {some[0].name}: {some[0].detail}", soft_wrap=True
        )
    console.print(
        f"{out / 'evaluation.html'} and evaluation.json, {made.seconds:,.1f} s",
        style="dim",
        soft_wrap=True,
    )


def _lines(answer: EvaluationAnswer) -> Iterator[str]:
    """One line a question."""
    from api.evaluation.report import format_measure, format_share

    pooled = answer.classifier.pooled
    yield (
        f"  classifier    ROC AUC {format_measure(pooled.roc_auc)}, balanced accuracy "
        f"{format_measure(pooled.balanced_accuracy)} at 0, "
        f"{format_measure(pooled.balanced_accuracy_at_limits)} at the "
        f"limits, TPR {format_measure(pooled.tpr_at_fpr)} at 1 % FPR"
    )
    stated = answer.classifier.uncalibrated
    yield (
        f"  probability   ECE {format_measure(stated.ece)}, Brier {format_measure(stated.brier)}, "
        f"uncalibrated"
    )
    mean = answer.retrieval.mean
    if mean is None:
        yield f"  retrieval     not measured: {answer.retrieval.reason}"
    else:
        recall = ", ".join(
            f"recall@{k} {value:.3f}" for k, value in mean.recall_at_k.items() if k > 1
        )
        yield (
            f"  retrieval     precision@1 {format_measure(mean.precision_at_1)} (by chance "
            f"{mean.by_chance:.3f}), "
            f"{recall}, mAP {mean.mean_average_precision:.3f}"
        )
    left = answer.attribution
    yield (
        f"  attribution   left-out generators: not measured: {left.reason}"
        if left.reason
        else f"  attribution   left-out generators: open-set AUROC {format_measure(left.auroc)}, "
        "coverage "
        f"{format_measure(left.coverage)} of {left.target_coverage:g}, mean set size "
        f"{format_measure(left.mean_set_size)}"
    )
    for table in answer.similarity.false_matches:
        told = [row for row in table.rows if row.inside is not None]
        largest = [row for row in told if row.times == max(each.times for each in told)]
        rates = ", ".join(
            f"{format_share(row.predicted.value)} foretold {format_share(row.realised.value)} found"
            for row in largest
        )
        yield (
            f"  false matches halved by {table.split}: {sum(row.inside is True for row in told)} "
            f"of {len(told)} rates "
            f"in their interval; at the full size {rates}"
            if told
            else f"  false matches halved by {table.split}: not measured: {table.reason}"
        )
    for ratio in answer.similarity.likelihood:
        yield (
            f"  likelihood    halved by {ratio.split}: not measured: {ratio.reason}"
            if ratio.reason
            else f"  likelihood    halved by {ratio.split}: Cllr {format_measure(ratio.cllr)}, "
            "Cllr-min "
            f"{format_measure(ratio.cllr_min)}"
        )


def _groups(what: str, groups: Sequence[GroupFigures]) -> Table:
    from api.evaluation.report import format_measure

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(what, overflow="fold")
    for column in ("synthetic", "ROC AUC", "balanced accuracy", "TPR at 1 % FPR"):
        table.add_column(column, justify="right")
    for group in groups:
        of = group.figures
        figures = [
            format_measure(each) for each in (of.roc_auc, of.balanced_accuracy, of.tpr_at_fpr)
        ]
        table.add_row(group.name, f"{of.n.synthetic:,}", *figures)
    return table
