"""`lineup evaluate`: a model measured on labelled images of your own."""

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

from api.terminal.application import MEASURES, app
from api.terminal.console import print_json, write
from api.terminal.global_options import settings_of
from api.terminal.options import Json, check_request
from api.terminal.progress import let_waiting_threads_sleep, progress_bar
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.evaluation.embedding import Progress as OnProgress
    from api.evaluation.json import EvaluationAnswer, GroupFigures

ALL = "all"
MOST_GENERATORS = 20  # rows of the table in the terminal; the page has all

# Options of a measurement on labelled images; `lineup models compare` has them too.
Pattern = Annotated[
    str | None,
    typer.Option(
        help="Read label, generator and source from file names, for example "
        "'{label}/{generator}/*'."
    ),
]
ConditionImages = Annotated[
    int | None,
    typer.Option(min=2, help="Deliver only a random sample of this many of the images."),
]
PathColumn = Annotated[
    str | None, typer.Option(help="The column of a manifest that holds the paths.")
]
ImageColumn = Annotated[
    str | None, typer.Option(help="The column of a Parquet table that holds the images.")
]


@app.command(rich_help_panel=MEASURES)
def evaluate(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER_OR_MANIFEST",
            help="Labelled images. Either a manifest (CSV, TSV, JSONL) with a column label (real "
            "or synthetic) and, if known, generator and source; or a folder, archive or table with "
            "real/** and fake/<generator>/**.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for evaluation.json and evaluation.html.")
    ] = Path("evaluation"),
    pattern: Pattern = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure the classifier also after this kind of delivery: jpeg90, jpeg75, "
            "jpeg50, webp80, half, screenshot, or all of them. Repeat it for several.",
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(min=2, help="Measure a random sample of this many images, half of each kind."),
    ] = None,
    condition_images: ConditionImages = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Seed of samples, halves and confidence intervals."
        ),
    ] = 0,
    path_column: PathColumn = None,
    image_column: ImageColumn = None,
    shareable: Annotated[
        bool,
        typer.Option(
            "--shareable", help="Make a page to pass on: without pictures, links and paths."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an evaluation that exists.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure how often the model is right on labelled images of your own.

    It measures the classifier, retrieval, attribution to a generator, false matches and likelihood
    ratios. It needs no data folder. A figure is left out, with the reason, if there are too few
    images for it. The exit code is 3 if an image cannot be used.
    """
    let_waiting_threads_sleep()
    from api.evaluation.extra import require_extra

    require_extra()
    from api.evaluation.report import require_free, write_report
    from api.evaluation.request import EvaluationRequest
    from api.evaluation.running import evaluate as run
    from api.problems import EXIT_PARTIAL
    from api.sources.locations import make_absolute

    request = check_request(
        EvaluationRequest,
        source=make_absolute(source),
        pattern=pattern,
        path_column=path_column,
        image_column=image_column,
        conditions=parse_conditions(condition or []),
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
        print_evaluation(done.answer, out)
    if done.answer.failures:
        raise typer.Exit(EXIT_PARTIAL)


def parse_conditions(names: Sequence[str]) -> list[str]:
    """Return the names of conditions; `all` stands for every re-encoding."""
    from embedder.pictures.delivery import RE_ENCODINGS

    return [
        each
        for name in names
        for each in ([str(way) for way in RE_ENCODINGS] if name == ALL else [name])
    ]


@contextmanager
def _reported() -> Iterator[OnProgress]:
    """Give a function that moves a bar on standard error, if that is a terminal."""
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=None)

        def on_progress(done: int, total: int) -> None:
            description = "embedding" if done < total else "measuring"
            bar.update(task, completed=done, total=total, description=description)

        yield on_progress


def print_evaluation(answer: EvaluationAnswer, out: Path) -> None:
    """Print the most important figures; the page has the others."""
    made, n = answer.made, answer.measured.n
    write(
        f"{made.model} ({made.embedding_space[:16]}) on {n.real:,} real images of "
        f"{n.real_sources:,} sources and {n.synthetic:,} synthetic images of "
        f"{n.synthetic_sources:,} sources, {len(answer.measured.generators)} generators"
    )
    for topic, text in _figures(answer):
        write(text, label=f"  {topic:<15}")
    if answer.classifier.by_condition:
        _print_groups("condition", answer.classifier.by_condition)
    if answer.classifier.by_generator:
        _print_groups("generator", answer.classifier.by_generator[:MOST_GENERATORS])
    by_reason = sorted(answer.failures, key=attrgetter("reason"))
    for reason, failures in groupby(by_reason, attrgetter("reason")):
        some = list(failures)
        write(f"{len(some):,} {reason}, such as {some[0].name}: {some[0].detail}")
    write(
        f"{out / 'evaluation.html'} and evaluation.json, {made.seconds:,.1f} s",
        style="dim",
    )


def _figures(answer: EvaluationAnswer) -> Iterator[tuple[str, str]]:
    """The figures, each with its topic."""
    from api.evaluation.report import format_measure, format_share

    pooled = answer.classifier.pooled
    yield (
        "classifier",
        f"ROC AUC {format_measure(pooled.roc_auc)}, balanced accuracy "
        f"{format_measure(pooled.balanced_accuracy)} at logit 0 and "
        f"{format_measure(pooled.balanced_accuracy_at_limits)} at the model's limits, TPR "
        f"{format_measure(pooled.tpr_at_fpr)} at 1 % FPR",
    )
    calibrated = answer.classifier.calibrated
    yield (
        "probability",
        "not measured: too few images to calibrate it"
        if calibrated is None
        else f"calibrated on one half, measured on the other: ECE "
        f"{format_measure(calibrated.ece)}, Brier {format_measure(calibrated.brier)}",
    )
    yield from _verdicts(answer)
    yield "retrieval", _retrieval(answer)
    left_out = answer.attribution
    yield (
        "attribution",
        f"not measured: {left_out.reason}"
        if left_out.reason
        else f"each generator left out in turn: open-set AUROC {format_measure(left_out.auroc)}, "
        f"coverage {format_measure(left_out.coverage)} of {left_out.target_coverage:g}, mean set "
        f"size {format_measure(left_out.mean_set_size)}, right one among those named "
        f"{format_measure(left_out.right_of_named)}",
    )
    for table in answer.similarity.false_matches:
        judged = [row for row in table.rows if row.inside is not None]
        times = max((row.times for row in judged), default=0)
        rates = ", ".join(
            f"{format_share(row.predicted.value)} predicted and {format_share(row.realised.value)} "
            "found"
            for row in judged
            if row.times == times
        )
        inside = sum(row.inside is True for row in judged)
        yield (
            "false matches",
            f"halved by {table.split}: {inside} of {len(judged)} rates in their interval; at full "
            f"size {rates}"
            if judged
            else f"halved by {table.split}: not measured: {table.reason}",
        )
    for ratio in answer.similarity.likelihood:
        yield (
            "likelihood",
            f"halved by {ratio.split}: not measured: {ratio.reason}"
            if ratio.reason
            else f"halved by {ratio.split}: Cllr {format_measure(ratio.cllr)}, Cllr-min "
            f"{format_measure(ratio.cllr_min)}",
        )


def _verdicts(answer: EvaluationAnswer) -> Iterator[tuple[str, str]]:
    """What a look-up says of each kind of image, with and without a calibration."""
    from api.evaluation.report import format_percent

    found = answer.verdicts
    if found.reason:
        yield "verdicts", f"not measured: {found.reason}"
        return
    for topic, groups in (("verdicts", found.groups), ("uncalibrated", found.uncalibrated)):
        yield (
            topic,
            "; ".join(
                f"{group.name} images: {format_percent(group.classifier.synthetic)} synthetic, "
                f"{format_percent(group.classifier.no_traces)} no traces, "
                f"{format_percent(group.similarity.similar)} similar"
                for group in groups
            ),
        )


def _retrieval(answer: EvaluationAnswer) -> str:
    from api.evaluation.report import format_measure

    mean = answer.retrieval.mean
    if mean is None:
        return f"not measured: {answer.retrieval.reason}"
    recall = ", ".join(f"recall@{k} {value:.3f}" for k, value in mean.recall_at_k.items() if k > 1)
    return (
        f"precision@1 {format_measure(mean.precision_at_1)} (by chance {mean.by_chance:.3f}), "
        f"{recall}, mAP {mean.mean_average_precision:.3f}"
    )


def _print_groups(what: str, groups: Sequence[GroupFigures]) -> None:
    """Print the classifier's figures, a row for each group."""
    from api.evaluation.report import format_measure

    titles = ("synthetic", "ROC AUC", "balanced accuracy", "TPR at 1 % FPR")
    columns = (
        Column(what, shorten="end"),
        *(Column(title, align="right") for title in titles),
    )
    rows = []
    for group in groups:
        of = group.figures
        figures = (of.roc_auc, of.balanced_accuracy, of.tpr_at_fpr)
        rows.append((group.name, f"{of.n.synthetic:,}", *map(format_measure, figures)))
    print_table(columns, rows)
