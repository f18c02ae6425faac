"""The application object, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import logging
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer
from rich.logging import RichHandler
from typer.core import TyperGroup

from api.interpreter import exempt_loaded
from api.terminal.console import errors, write
from api.terminal.global_options import (
    SHARED,
    DatabaseUrl,
    DataDir,
    Device,
    GlobalOptions,
    Model,
    Offline,
    Precision,
    ReadOnly,
    Verbose,
    accept_after_commands,
    settings_of,
)
from api.visible import VisibleFormatter, show
from api.worker.expendable import exit_now, has_left_threads

EXIT_CODES = (
    "Exit codes: 0 success, 2 wrong usage, 3 some items failed or findings remain open, "
    "4 input refused, 5 not found or in conflict, 6 model cannot be used, "
    "7 database or index cannot be used, 8 busy, try again later, 9 address cannot be used, "
    "70 defect of Lineup, 130 interrupted."
)
EXIT_INTERRUPTED = 130
# ClickException, of the click inside typer or of the public one.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
log = logging.getLogger(__name__)

SETUP, LOOKUPS, REFERENCES, MEASURES, CARE = (
    "Start",
    "Look up images",
    "Manage reference images",
    "Measure how far to trust an answer",
    "Maintain an installation",
)


ORDER = (
    *("init", "serve", "demo"),
    *("search", "show", "replay"),
    *("ingest", "worker", "jobs", "corpora", "entries", "export"),
    *("inspect", "quarantine", "release"),
    *("calibrate", "calibrations", "evaluate"),
    *(
        "doctor",
        "models",
        "reembed",
        "copies",
        "index",
        "fsck",
        "backup",
        "restore",
        "verify-backup",
    ),
)


class LineupGroup(TyperGroup):
    """The root of all commands.

    Global options are accepted after a command too. An expected error ends a command with one line
    on standard error and its exit code from `api.problems`.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 -- typer's own
        super().__init__(**arguments)
        accept_after_commands(self)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 -- as in `invoke`
        """Return the commands in the order of `ORDER`, any other one at the end."""
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))

    def make_context(self, *arguments: Any, **extra: Any) -> Any:  # noqa: ANN401 -- as in `invoke`
        """Read the global options."""
        try:
            return super().make_context(*arguments, **extra)
        except USAGE_ERROR as err:
            raise _show_message(err) from None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- typer brings its own click, older releases use the public one
        """Run the command; wait for no thread that was left behind."""
        exempt_loaded()
        code = 0
        try:
            return self._invoke(ctx)
        except typer.Exit as err:
            code = err.exit_code
            raise
        finally:
            if has_left_threads():
                exit_now(code)

    def _invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- as in `invoke`
        try:
            return super().invoke(ctx)
        except USAGE_ERROR as err:
            raise _show_message(err) from None
        except (
            typer.Exit,
            typer.Abort,
            BrokenPipeError,
        ):
            raise
        except KeyboardInterrupt:
            errors.print("interrupted; everything finished so far is stored")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as err:
            from api.problems import DEFECT, name_failure, problem_of

            err = name_failure(err)
            problem = problem_of(err)
            if problem is DEFECT and (damage := _find_damage(ctx)) is not None:
                err, problem = damage, problem_of(damage)
            if problem is DEFECT:
                log.exception("this is a defect of Lineup; please report it with these lines")
                raise typer.Exit(problem.exit_code) from err
            detail = str(err)
            if not says_title(detail, problem.title):
                errors.print(f"{problem.title}: ", style="red", end="")
            errors.print(detail)
            raise typer.Exit(problem.exit_code) from err


def _show_message(err: Any) -> Any:  # noqa: ANN401 -- as in `LineupGroup.invoke`
    """Show what a usage error repeats of the command line: `lineup search *` names hostile files.

    typer prints it, not `api.terminal.console`.
    """
    err.message = show(err.message)
    return err


def _find_damage(ctx: Any) -> Exception | None:  # noqa: ANN401 -- as in `LineupGroup.invoke`
    """Return the damage of the database behind an error that nobody foresaw; None without any."""
    from api.lineup import open_database
    from index.errors import CorpusError, DatabaseDamaged

    if not isinstance(ctx.obj, GlobalOptions):  # they were not read yet
        return None
    try:
        with open_database(settings_of(ctx)) as database:
            return database.find_damage()
    except DatabaseDamaged as err:
        return err
    except (CorpusError, OSError, KeyError, TypeError):  # there is no database, or no settings yet
        return None


def says_title(detail: str, title: str) -> bool:
    """Whether an error says its title by itself, so that it needs not stand before it.

    "Unknown model: unknown model 'x'" says one thing twice, and so does "Truncated image: truncated
    png".
    """
    wanted = title.casefold().split()
    words = detail.partition(":")[0].casefold().split()
    return bool(words) and (words[0] == wanted[0] or set(wanted) <= set(words))


app = typer.Typer(
    name="lineup",
    cls=LineupGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold image bytes, which never belong into a log
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        write(f"lineup {installed_version('lineup-forensics')}")
        raise typer.Exit


@app.callback()
def declare(
    ctx: typer.Context,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    model: Model = None,
    device: Device = None,
    precision: Precision = None,
    offline: Offline = None,
    read_only: ReadOnly = None,
    verbose: Verbose = None,
    version: Annotated[  # noqa: ARG001 -- its callback prints it
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Compare a questioned image with known fakes and known-real images.

    The options below are accepted after a command too: `lineup search photo.jpg --data-dir case-7`.
    Each of them can be set in the environment instead, for example LINEUP_DATA_DIR or LINEUP_MODEL.
    """
    handler = RichHandler(console=errors, show_path=False, rich_tracebacks=False)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    ctx.obj = options = GlobalOptions()
    values = (data_dir, database_url, model, device, precision, offline, read_only, verbose)
    for name, value in zip(SHARED, values, strict=True):
        options.add(name, value)
