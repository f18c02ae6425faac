"""The application object, its global options, and the one place where an error becomes a line and
an exit code.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.logging import RichHandler
from typer.core import TyperGroup

from api.errors import InvalidRequest
from api.settings import Settings

if TYPE_CHECKING:
    from index.truth.corpora import CorpusKind

EXIT_CODES = (
    "Exit codes: 0 done, 2 wrong usage, 3 some items failed or findings stay open, 4 refused "
    "input, 5 not found or in "
    "conflict, 6 the model cannot be used, 7 database or index cannot be used, 8 try again later, "
    "70 a defect, "
    "130 interrupted."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
KindOption = Annotated[str, typer.Option(help="known_fake or known_real.", metavar="KIND")]
Model = TypeVar("Model", bound=BaseModel)
# ClickException, of typer's own click or of the real one.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
log = logging.getLogger(__name__)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


class OneLineErrors(TyperGroup):
    """Every expected error ends a command in one line on standard error and with its exit code from
    `api.problems`.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- typer brings its own click, older ones the real one
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, USAGE_ERROR):
            raise
        except KeyboardInterrupt:
            errors.print(
                "interrupted; what was committed stays, the same command goes on; `lineup jobs` "
                "lists what is paused"
            )
            raise typer.Exit(130) from None
        except Exception as err:
            from api.problems import DEFECT, problem_of

            problem = problem_of(err)
            if problem is DEFECT:
                log.exception("a defect of Lineup; please report it with these lines")
                raise typer.Exit(problem.exit_code) from err
            errors.print(f"[red]{problem.title}:[/red] ", end="")
            errors.print(str(err), markup=False)
            raise typer.Exit(problem.exit_code) from err


app = typer.Typer(
    name="lineup",
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold image bytes, which never belong into a log
    help="Puts a questioned image into a line-up with known fakes.",
    epilog=EXIT_CODES,
)


@app.callback()
def options(
    ctx: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of database, index and thumbnails.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the truth, e.g. postgresql://...")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A named model (see `lineup models`) or a checkpoint directory."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or xla.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, float16 or bfloat16.")
    ] = None,
    offline: Annotated[
        bool | None, typer.Option("--offline", help="Never touch the network.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more on standard error.")
    ] = False,
) -> None:
    """Each option can also be given as LINEUP_DATA_DIR, LINEUP_MODEL and so on; the README lists
    all settings.
    """
    handler = RichHandler(console=errors, show_path=False, rich_tracebacks=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[handler]
    )
    told = {
        "data_dir": data_dir,
        "database_url": database_url,
        "model": model,
        "device": device,
        "precision": precision,
        "offline": offline,
    }
    ctx.obj = settings_with({name: value for name, value in told.items() if value is not None})


def settings_of(ctx: typer.Context) -> Settings:
    """What `options` put together for this command."""
    settings = ctx.find_object(Settings)
    assert settings is not None
    return settings


def settings_with(told: dict[str, Any]) -> Settings:
    """Settings from the environment, and on top what a command was told; a wrong value ends it with
    code 2.
    """
    try:
        return Settings(**told)
    except ValidationError as err:
        for each in err.errors():
            name = "LINEUP_" + "_".join(map(str, each["loc"])).upper()
            errors.print(f"setting {name}: {each['msg']}", markup=False, style="red")
        sys.exit(2)


def corpus_kind(text: str) -> CorpusKind:
    """The kind of a corpus; typer ends the command with code 2 on anything else."""
    from index.truth.corpora import CorpusKind

    try:
        return CorpusKind(text)
    except ValueError as err:
        raise typer.BadParameter(
            f"{text!r} is neither known_fake nor known_real", param_hint="--kind"
        ) from err


def checked(model: type[Model], **told: Any) -> Model:  # noqa: ANN401 -- whatever the model's fields take
    """A request in the words of the API. Raises `InvalidRequest`, which names what does not fit."""
    try:
        return model(**told)
    except ValidationError as err:
        details = [
            f"{'.'.join(map(str, each['loc']))} {each['input']!r}: {each['msg']}"
            for each in err.errors()
        ]
        raise InvalidRequest("; ".join(details)) from err
