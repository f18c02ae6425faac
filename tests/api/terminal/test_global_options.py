"""Global options before and after a command, conflicts, and help on every level."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from api.terminal import app
from api.terminal.global_options import NOTE, SHARED, GlobalOptions, reflow
from tests.api.terminal.commands import assert_one_line


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group below `lineup`."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))


def find(words: tuple[str, ...]) -> Any:
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command


EVERY = list(commands())


def lineup(*words: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two data folders, the corpus of each named like it."""
    for name in ("one", "two"):
        done = lineup("corpora", "create", name, "--data-dir", tmp_path / name)
        assert done.exit_code == 0, done.output
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_accepts_every_global_option(words: tuple[str, ...]) -> None:
    command = find(words)
    by_word = {word: option for option in command.params for word in option.opts}

    for name in SHARED:
        assert "--" + name.replace("_", "-") in by_word
    hidden = [option for option in command.params if getattr(option, "hidden", False)]
    assert len(hidden) >= len(SHARED) - 1  # `reembed --model` is its own
    assert NOTE in command.epilog


@pytest.mark.parametrize("words", [(), *EVERY], ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_on_every_level(words: tuple[str, ...], flag: str) -> None:
    done = lineup(*words, flag)

    assert done.exit_code == 0
    assert f"Usage: lineup {' '.join(words)}".strip() in done.stdout.replace("root", "lineup")
    if words:
        assert "Global options" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_data_folder_may_stand_before_or_after_the_command(two: tuple[Path, Path]) -> None:
    one, _ = two
    before = lineup("--data-dir", one, "corpora")
    after = lineup("corpora", "--data-dir", one)
    between = lineup("corpora", "--data-dir", one, "create", "third")

    assert before.exit_code == after.exit_code == between.exit_code == 0
    assert before.stdout == after.stdout
    assert "one" in after.stdout
    assert "third" in lineup("corpora", "--data-dir", one).stdout


def test_an_option_wins_over_the_environment(two: tuple[Path, Path]) -> None:
    one, other = two
    assert "two" in lineup("corpora", "--data-dir", other, LINEUP_DATA_DIR=str(one)).stdout


def test_the_same_value_twice_is_no_conflict(two: tuple[Path, Path]) -> None:
    one, _ = two
    assert lineup("--data-dir", one, "corpora", "--data-dir", one).exit_code == 0


def test_two_values_are_wrong_usage_that_names_both(two: tuple[Path, Path]) -> None:
    one, other = two
    done = lineup("--data-dir", one, "corpora", "--data-dir", other)

    assert done.exit_code == 2
    text = "".join(done.stderr.replace("│", "").split())  # in a box, a long path has line breaks
    assert "--data-dirisgiventwice" in text
    assert one.name in text
    assert other.name in text


def test_a_command_keeps_its_own_option_of_the_same_name() -> None:
    (option,) = [each for each in find(("reembed",)).params if "--model" in each.opts]

    assert option.required
    assert not option.hidden


def test_a_global_option_after_a_command_reaches_the_settings(two: tuple[Path, Path]) -> None:
    assert_one_line(lineup("corpora", "--database-url", "mysql://host/x"), 4, "mysql")
    assert_one_line(
        lineup("search", "any.png", "--data-dir", two[0], "--model", "nobody"), 6, "'nobody'"
    )


def test_an_argument_of_the_same_name_is_not_the_option(two: tuple[Path, Path]) -> None:
    words = ("models", "activate", "nobody", "--data-dir", two[0])
    assert_one_line(lineup(*words), 6, "unknown model 'nobody'")
    assert_one_line(lineup(*words, "--model", "other"), 6, "unknown model 'nobody'")


def test_options_remember_what_is_given_and_refuse_another_value() -> None:
    options = GlobalOptions()
    options.add("data_dir", None)
    options.add("data_dir", Path("a b"))
    options.add("offline", True)
    options.add("data_dir", Path("a b"))

    assert options.given == {"data_dir": Path("a b"), "offline": True}
    assert options.command_line == ["--data-dir", "a b"]
    with pytest.raises(typer.BadParameter, match=r"--data-dir is given twice.*a b and c"):
        options.add("data_dir", Path("c"))


def test_verbose_logs_more() -> None:
    before = logging.getLogger().level
    try:
        logging.getLogger().setLevel(logging.WARNING)
        GlobalOptions().add("verbose", True)
        assert logging.getLogger().level == logging.INFO
    finally:
        logging.getLogger().setLevel(before)


def test_a_docstring_becomes_one_line_a_paragraph() -> None:
    text = """First line
    goes on.

    Second
    paragraph.
    """

    assert reflow(text) == "First line goes on.\n\nSecond paragraph."
    assert reflow(None) == ""
