"""The options of every command: before the command's name or after it.

`declare` gives the root group its options. `accept_after_commands` copies them to every command
below it, hidden there, since `lineup --help` explains them once. A command that has an option of
the same name keeps its own (`lineup reembed --model`). Both places fill one `GlobalOptions`, which
becomes the settings when the command asks for them.
"""

from __future__ import annotations

import copy
import inspect
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from api.settings import Settings, variable
from api.terminal.console import errors

NOTE = "Global options such as --data-dir are accepted here too: `lineup --help` lists them."
SETTINGS = ("data_dir", "database_url", "model", "device", "precision", "offline", "read_only")
SHARED = (*SETTINGS, "verbose")

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the database, the index and stored images (default: lineup-data).",
        show_default=False,
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="Use this database instead of SQLite in the data folder: postgresql://..."),
]
Model = Annotated[
    str | None,
    typer.Option(help="Name of a model (see `lineup models`) or a folder with a checkpoint."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or xla.")]
Precision = Annotated[str | None, typer.Option(help="auto, float32, float16 or bfloat16.")]
Offline = Annotated[bool | None, typer.Option("--offline", help="Never use the network.")]
ReadOnly = Annotated[
    bool | None,
    typer.Option("--read-only", help="Write nothing into the database, and store no look-up."),
]
Verbose = Annotated[
    bool | None, typer.Option("--verbose", "-v", help="Log more on standard error.")
]


@dataclass
class GlobalOptions:
    """The global options that a command line gives, by name."""

    given: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: object) -> None:
        """Remember a value. Raises `typer.BadParameter` if another one was given for this name."""
        if value is None:
            return
        if self.given.setdefault(name, value) != value:
            option = "--" + name.replace("_", "-")
            values = f": {self.given[name]} and {value}" if name != "database_url" else ""
            raise typer.BadParameter(
                f"{option} is given twice, before and after the command{values}"
            )
        if name == "verbose":
            logging.getLogger().setLevel(logging.INFO)

    @property
    def command_line(self) -> list[str]:
        """The options as words, to suggest a command that uses the same data.

        A password is left out: put it back, or better into LINEUP_DATABASE_URL.
        """
        words = []
        if "data_dir" in self.given:
            words += ["--data-dir", str(self.given["data_dir"])]
        if "database_url" in self.given:
            from index.truth.databases.database import hide_password  # SQLAlchemy loads in 0.2 s

            words += ["--database-url", hide_password(str(self.given["database_url"]))]
        return words


def options_of(ctx: typer.Context) -> GlobalOptions:
    """Return what this command line gives."""
    found = ctx.find_object(GlobalOptions)
    assert found is not None
    return found


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings of this command: the environment's, with the global options on top.

    A value that does not fit ends the command with exit code 2.
    """
    given = options_of(ctx).given
    try:
        settings = Settings(**{name: given[name] for name in SETTINGS if name in given})
    except ValidationError as err:
        for each in err.errors():
            name = variable("_".join(map(str, each["loc"])))
            errors.print(f"setting {name}: {each['msg']}", style="red")
        sys.exit(2)
    if "database_application_name" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"database_application_name": name_of(ctx)})


def name_of(ctx: typer.Context) -> str:
    """Return the words of a command without its options, for example `lineup jobs list`."""
    words = list[str]()
    context: Any = ctx
    while context.parent is not None:
        words.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["lineup", *words])


def accept_after_commands(root: Any) -> None:  # noqa: ANN401 -- typer brings its own click, older releases use the public one
    """Copy the global options of the root group to every command below it."""
    shared = [option for option in root.params if option.name in SHARED]
    root.help = reflow(root.help)
    for command in _below(root):
        command.help = reflow(command.help)
        taken = {word for option in command.params for word in option.opts}
        command.params += [
            _remembering(option) for option in shared if not taken.intersection(option.opts)
        ]
        command.epilog = command.epilog or NOTE


def reflow(text: str | None) -> str:
    """Return a docstring with one line for each paragraph, so that the terminal wraps it."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _remembering(option: Any) -> Any:  # noqa: ANN401 -- as above
    """A hidden copy of an option that adds its value to the `GlobalOptions`.

    Its name is its own: a command may have an argument of the same name (`models activate MODEL`).
    """

    def remember(ctx: typer.Context, _param: object, value: object) -> None:
        options_of(ctx).add(option.name, value)

    copied = copy.copy(option)
    copied.name = f"global_{option.name}"
    copied.hidden, copied.expose_value, copied.callback = True, False, remember
    return copied


def _below(group: Any) -> list[Any]:  # noqa: ANN401 -- as above
    commands = list(group.commands.values())
    return commands + [
        each for some in commands if hasattr(some, "commands") for each in _below(some)
    ]
