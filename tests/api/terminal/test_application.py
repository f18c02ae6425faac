"""Errors as one line and an exit code, the version, and help that loads no model."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from api import problems
from api.errors import InvalidRequest, Overloaded
from api.terminal import app
from api.terminal.application import (
    CARE,
    EXIT_CODES,
    EXIT_INTERRUPTED,
    LOOKUPS,
    MEASURES,
    ORDER,
    REFERENCES,
    SETUP,
    LineupGroup,
    says_title,
)

CODES = {name: value for name, value in vars(problems).items() if name.startswith("EXIT_")}


@pytest.fixture
def failing() -> typer.Typer:
    """A command line of the same class whose command fails as its argument says."""
    own = typer.Typer(cls=LineupGroup)

    @own.callback()
    def root() -> None:
        """The root."""

    @own.command()
    def fail(how: str) -> None:
        """Fail."""
        failures: dict[str, BaseException] = {
            "refused": InvalidRequest("k -1: too small [red]"),
            "busy": Overloaded(4, 2),
            "defect": RuntimeError("nobody expected it"),
            "interrupted": KeyboardInterrupt(),
            "usage": typer.BadParameter("no such thing"),
            "exit": typer.Exit(42),
            "abort": typer.Abort(),
        }
        raise failures[how]

    return own


@pytest.mark.parametrize(
    ("how", "exit_code", "words"),
    [
        (
            "refused",
            problems.EXIT_REFUSED,
            "k -1: too small [red]",
        ),
        ("busy", problems.EXIT_LATER, "try again in 2 s"),
        ("interrupted", EXIT_INTERRUPTED, "interrupted; everything finished so far is stored"),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(
    failing: typer.Typer, how: str, exit_code: int, words: str
) -> None:
    done = CliRunner().invoke(failing, ["fail", how])

    assert done.exit_code == exit_code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_defect_has_its_own_exit_code_and_is_logged(
    failing: typer.Typer, caplog: pytest.LogCaptureFixture
) -> None:
    done = CliRunner().invoke(failing, ["fail", "defect"])

    assert done.exit_code == problems.EXIT_DEFECT
    assert "report it" in caplog.text
    assert "nobody expected it" in caplog.text


@pytest.mark.parametrize(("how", "exit_code"), [("usage", 2), ("exit", 42), ("abort", 1)])
def test_what_ends_a_command_on_purpose_keeps_its_exit_code(
    failing: typer.Typer, how: str, exit_code: int
) -> None:
    assert CliRunner().invoke(failing, ["fail", how]).exit_code == exit_code


def test_help_explains_every_exit_code() -> None:
    explained = {int(code) for code in re.findall(r"(?:: |, )(\d+) ", EXIT_CODES)}

    assert explained == {0, 2, EXIT_INTERRUPTED, *CODES.values()}
    assert {problem.exit_code for problem in problems.PROBLEMS.values()} <= explained


def test_the_version_is_the_installed_one() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"lineup {version('lineup-forensics')}\n")


def test_every_command_has_its_place_in_the_help() -> None:
    root = typer.main.get_command(app)
    listed = root.list_commands(typer.Context(root))  # type: ignore[attr-defined]

    assert tuple(listed) == ORDER
    text = CliRunner().invoke(app, ["--help"]).stdout
    panels = [text.index(title) for title in (SETUP, LOOKUPS, REFERENCES, MEASURES, CARE)]
    assert panels == sorted(panels)


def test_no_command_is_help() -> None:
    done = CliRunner().invoke(app, [])
    assert "Usage:" in done.output
    assert "Look up images" in done.output


def test_help_loads_no_model_library_and_no_database() -> None:
    script = (
        "import sys; from api.terminal import app; app(['--help'], 'lineup', "
        "standalone_mode=False); print(*sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())

    assert "Usage: lineup" in done.stdout
    assert "api.terminal.application" in loaded
    heavy = {"torch", "transformers", "faiss", "numpy", "sqlalchemy", "fastapi", "PIL", "pyarrow"}
    assert not heavy & loaded


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.terminal", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.startswith("lineup ")


@pytest.mark.parametrize("words", ["bogus", "search", "search any.png -k 0", "corpora --bogus"])
def test_wrong_usage_ends_with_code_2(words: str) -> None:
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2
    assert "Usage: " in done.stderr


@pytest.mark.parametrize(
    ("detail", "title", "twice"),
    [
        ("unknown model 'x': neither a directory nor a name", "Unknown model", True),
        ("truncated png: the file ends within 'IDAT'", "Truncated image", True),
        ("the database is unavailable: no route", "Database unavailable", True),
        ("no corpus is called 'x'", "Unknown corpus", False),
        ("the bytes start like no known image format", "Not an image", False),
        ("", "Unknown model", False),
    ],
)
def test_a_title_is_not_said_twice(detail: str, title: str, *, twice: bool) -> None:
    assert says_title(detail, title) is twice
