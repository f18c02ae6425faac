"""`lineup models compare`: two models measured on the same labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from api.terminal.console import print_json, write
from api.terminal.evaluate import (
    ALL,
    ConditionImages,
    ImageColumn,
    PathColumn,
    Pattern,
    parse_conditions,
)
from api.terminal.global_options import settings_of
from api.terminal.models import models_app
from api.terminal.options import Json, check_request
from api.terminal.progress import let_waiting_threads_sleep, progress_bar
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.evaluation.comparing import Progress as OnProgress
    from api.evaluation.comparison_json import ComparedFigure, ComparedFigures, ComparisonAnswer

MOST_GENERATORS = 20  # rows of the table in the terminal; the JSON has all
Model = typer.Argument(metavar="MODEL", help="Name of a model, or a folder.", show_default=False)


@models_app.command("compare")
def compare_models(
    ctx: typer.Context,
    a: Annotated[str, Model],
    b: Annotated[str, Model],
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER_OR_MANIFEST",
            help="Labelled images, as `lineup evaluate` takes them.",
            show_default=False,
        ),
    ],
    pattern: Pattern = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare after this kind of delivery too: jpeg90, jpeg75, jpeg50, webp80, half, "
            "screenshot. Repeat it for several; as_is alone compares the files as they are. "
            "Without this option, after all of them.",
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(min=2, help="Compare on a random sample of this many images, half of each."),
    ] = None,
    condition_images: ConditionImages = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of samples and confidence intervals.")
    ] = 0,
    path_column: PathColumn = None,
    image_column: ImageColumn = None,
    json: Json = False,
) -> None:
    """Measure two models on the same labelled images, and their difference by delivery.

    The classifier's figures are those of `lineup evaluate`, on the images that both models could
    use. The interval of a difference is paired: each resample draws the same images for both. The
    exit code is 3 if an image cannot be used.
    """
    let_waiting_threads_sleep()
    from api.evaluation.extra import require_extra

    require_extra()
    from api.evaluation.comparing import compare_models as compare
    from api.evaluation.request import EvaluationRequest
    from api.problems import EXIT_PARTIAL
    from api.sources.locations import make_absolute

    request = check_request(
        EvaluationRequest,
        source=make_absolute(source),
        pattern=pattern,
        path_column=path_column,
        image_column=image_column,
        conditions=parse_conditions(condition or [ALL]),
        max_images=max_images,
        condition_images=condition_images,
        seed=seed,
    )
    with _reported() as progress:
        answer = compare(settings_of(ctx), request, (a, b), progress)
    if json:
        print_json(answer)
    else:
        print_comparison(answer)
    if answer.failures or answer.a.failures or answer.b.failures:
        raise typer.Exit(EXIT_PARTIAL)


@contextmanager
def _reported() -> Iterator[OnProgress]:
    """Give a function that moves a bar for each model on standard error, if it is a terminal."""
    with progress_bar() as bar:
        tasks = {}

        def on_progress(model: str, done: int, total: int) -> None:
            if model not in tasks:
                tasks[model] = bar.add_task(model, total=total)
            bar.update(tasks[model], completed=done, total=total)

        yield on_progress


def print_comparison(answer: ComparisonAnswer) -> None:
    """Print the figures of both models and their difference, a row for each delivery."""
    n = answer.by_delivery[0].n
    for letter, model in (("A", answer.a), ("B", answer.b)):
        write(
            f"{model.model} ({model.embedding_space[:16]}), {model.precision} on {model.device}",
            label=f"{letter}  ",
        )
        if model.caution is not None:
            write(model.caution, label="   ", style="yellow")
    write(
        f"on {n.real:,} real images of {n.real_sources:,} sources and {n.synthetic:,} synthetic "
        f"images of {n.synthetic_sources:,} sources that both could use"
    )
    _print_table("delivery", answer.by_delivery)
    measured = [
        group for group in answer.by_generator if group.roc_auc.difference.value is not None
    ]
    if measured:
        _print_table("generator", measured[:MOST_GENERATORS])
    for letter, model in (("A", answer.a), ("B", answer.b)):
        if model.failures:
            first = model.failures[0]
            write(
                f"{letter} could not use {len(model.failures):,} images, such as {first.name}: "
                f"{first.detail}"
            )
    write(
        "B - A with its 95 % interval, which draws the same images for both. * the interval does "
        f"not contain 0. Resampled: {answer.by_delivery[0].resampled}.",
        style="dim",
    )


def _print_table(what: str, groups: Sequence[ComparedFigures]) -> None:
    columns = (
        Column(what, shorten="end"),
        Column("synthetic", align="right", importance=1),
        *(
            Column(title, align="right", importance=importance)
            for title, importance in (
                ("AUC A", 6),
                ("AUC B", 6),
                ("B - A", 7),
                ("accuracy B - A", 4),
                ("TPR at 1 % FPR B - A", 3),
            )
        ),
    )
    rows = [
        (
            group.name,
            f"{group.n.synthetic:,}",
            _format_value(group.roc_auc.a.value),
            _format_value(group.roc_auc.b.value),
            *map(_format_difference, (group.roc_auc, group.balanced_accuracy, group.tpr_at_fpr)),
        )
        for group in groups
    ]
    print_table(columns, rows)


def _format_value(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _format_difference(figure: ComparedFigure) -> str:
    """Format a difference with its sign, its interval, and a star where it is told from 0."""
    of = figure.difference
    if of.value is None:
        return "—"
    text = _format_signed(of.value)
    if of.low is not None and of.high is not None:
        text += f" ({_format_signed(of.low)} to {_format_signed(of.high)})"
    return text + ("*" if figure.larger else "")


def _format_signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no negative zero
