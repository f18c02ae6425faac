"""`lineup models` and `lineup reembed`: which model is used, and how to change to another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.interpreter import tuned_interpreter
from api.terminal.application import CARE, app
from api.terminal.console import errors, print_json, write
from api.terminal.global_options import settings_of
from api.terminal.jobs import finish
from api.terminal.options import Json, JsonLines
from api.terminal.progress import (
    let_waiting_threads_sleep,
    reported,
    resumable,
    stop_on_sigterm,
)
from api.terminal.tables import Column, print_table

if TYPE_CHECKING:
    from api.errors import EarlierWeights
    from api.operations.models_json import ActivatedModel, AddedModelAnswer, ModelsAnswer
    from embedder.errors import EmbedderError
    from embedder.network.embed import Embedder

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Name of a model, or a folder with a checkpoint.", show_default=False
    ),
]
models_app = typer.Typer(invoke_without_command=True)
app.add_typer(models_app, name="models", rich_help_panel=CARE)


@models_app.callback()
def models(ctx: typer.Context, json: Json = False) -> None:
    """List the models; add one, compare two, choose the active one.

    Without a command, the models are listed, the active one first. The active model is
    loaded; the exit code is 6 if that fails.
    """
    if ctx.invoked_subcommand is not None:
        return
    from api.decoding import find_confinement, open_decoders
    from api.errors import EarlierWeights
    from api.lineup import choose_settings
    from api.model import load_embedder
    from api.operations.activating import list_models
    from api.problems import EXIT_MODEL
    from embedder.errors import EmbedderError

    settings = settings_of(ctx)
    active: Embedder | None = None
    problem: EmbedderError | EarlierWeights | None = None
    try:
        settings = choose_settings(settings)
        active = load_embedder(settings)
    except (EmbedderError, EarlierWeights) as err:  # the other models are listed all the same
        problem = err
    with open_decoders(settings) as decoders:
        answer = list_models(settings, active, find_confinement(decoders))
    if json:
        print_json(answer)
    else:
        print_models(answer)
    if problem is not None:
        errors.print(f"{settings.model}: {problem}", style="red")
        raise typer.Exit(EXIT_MODEL)


@models_app.command("activate")
def activate_model(
    ctx: typer.Context,
    model: ModelArgument,
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete",
            help="Accept that entries without an embedding of this model are not found.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Use a model for all look-ups and ingests from now on.

    Run `lineup reembed` first, so that all entries have embeddings of this model. A running server
    changes within seconds. LINEUP_MODEL and --model, if set, take precedence over the active model.
    """
    from api.operations.activating import activate

    answer = activate(settings_of(ctx), model, incomplete=incomplete)
    if json:
        print_json(answer)
    else:
        print_activated(answer)


@models_app.command("add")
def add_model(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name to use the model by.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder with the checkpoint: safetensors weights, config.json and "
            "preprocessor_config.json.",
            show_default=False,
        ),
    ],
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="SHA-256 that the weights must have.", show_default=False),
    ] = None,
    synthetic_label: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="The label that means synthetic, if the names of the labels do not say it.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Copy a checkpoint into the data folder, to use it by a name.

    Every ViTForImageClassification of transformers with one or two labels that can be read exactly
    is accepted; nothing in the folder is run. The copy is loaded and tried. Every later use
    compares it with the SHA-256 that it has now.
    """
    from api.operations.adding import add_model as add

    answer = add(settings_of(ctx), name, folder, sha256=sha256, synthetic_label=synthetic_label)
    if json:
        print_json(answer)
    else:
        print_added(answer)


@models_app.command("remove")
def remove_model(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name that it was added under.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Delete the copy of a model that was added here.

    Embeddings that it computed stay in the database. The active model cannot be removed.
    """
    from api.operations.adding import remove_model as remove

    answer = remove(settings_of(ctx), name)
    if json:
        print_json(answer)
    else:
        write(f"{answer.model} is removed from this machine; its embeddings stay")


@app.command(rich_help_panel=CARE)
def reembed(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Option(help="Name of a model, or a folder with a checkpoint.", show_default=False),
    ],
    json: JsonLines = False,
) -> None:
    """Compute the embeddings of another model for all entries.

    The old embeddings stay, and look-ups keep using the active model until `lineup models
    activate`. Images are read from stored originals, or from where they were ingested if the bytes
    are unchanged. `lineup jobs failures` lists the entries whose image cannot be read.
    """
    let_waiting_threads_sleep()
    from api.lineup import Lineup
    from api.operations.activating import resolve_model
    from api.worker.running import work_watched
    from api.worker.starting import start_reembed

    settings = settings_of(ctx).model_copy(update={"model": model})
    with (
        stop_on_sigterm(settings.shutdown_grace_seconds),
        tuned_interpreter(),
        Lineup.open(settings, as_named=True) as lineup,
    ):
        job = start_reembed(lineup.database, lineup.space, resolve_model(settings, model))
        with resumable(ctx, lineup.database, job.id), reported(job, json=json) as report:
            job = work_watched(lineup, job, report)
        finish(ctx, lineup.database, job, json=json)


def print_models(answer: ModelsAnswer) -> None:
    """Print a row for each model, the active one first and marked."""
    columns = (
        Column(""),
        Column("model"),
        Column("fingerprint", importance=5),
        Column("device", importance=4),
        Column("precision", importance=2),
        Column("on this machine", importance=6),
        Column("revision", importance=1),
        Column("description", importance=3, shorten="end"),
    )
    rows = [
        (
            "*" if model.active else "",
            model.name,
            (model.embedding_space or "")[:16],
            model.device or "",
            model.precision or "",
            "yes" if model.available else "no",
            (model.revision or "")[:12],
            model.description,
        )
        for model in answer.models
    ]
    print_table(columns, rows)
    write(
        "* active. The fingerprint names the embedding space: weights and preprocessing.",
        style="dim",
    )
    for model in answer.models:
        if model.precision_reason is not None:
            write(f"Precision of {model.name}: {model.precision_reason}.", style="dim")
    if answer.confinement is not None:
        level, detail = answer.confinement.level, answer.confinement.detail
        write(f"Confinement of decoding: {level}: {detail}.", style="dim")


def print_added(answer: AddedModelAnswer) -> None:
    """Print how an added model is read, and what its answers still need."""
    write(
        f"{answer.model} is added: {answer.parameter_count:,} parameters, {answer.dimension} "
        f"dimensions, images of {answer.image_size} pixels"
    )
    for topic, text in (
        ("weights", f"sha256 {answer.weights_sha256} ({', '.join(answer.weights_files)})"),
        ("fingerprint", answer.embedding_space[:16]),
        ("logit", answer.logit),
        ("pixels", answer.pixels),
        ("not used", ", ".join(answer.unused_tensors)),
    ):
        if text:
            write(text, label=f"  {topic:<13}")
    if not answer.measured:
        write(
            "Nothing was measured on it. Its answers give no verdict until a calibration of your "
            "corpora has measured it."
        )
    write(
        f"To use it: lineup reembed --model {answer.model}, lineup models activate {answer.model}, "
        "lineup calibrate.",
        style="dim",
    )


def print_activated(answer: ActivatedModel) -> None:
    """Print which model is active, and whether this command line uses it."""
    write(
        f"{answer.model} is active; {answer.embedded:,} of {answer.entries:,} entries have its "
        "embedding"
    )
    if not answer.in_force:
        errors.print(
            "but LINEUP_MODEL or --model names a model here, which takes precedence over it",
            style="yellow",
        )
