"""The README held against the product: its links, settings, commands and tasks, and its quick start
run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from api.settings import Settings
from api.terminal import app
from api.terminal.application import EXIT_CODES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(([^)#]+)", README)
COMMANDS = re.findall(r"^\$ lineup (.+)$", README, re.MULTILINE)
SOURCES = re.findall(r"^\$ lineup (?:ingest|search) (\S+)", README, re.MULTILINE)
INGEST = (ROOT / "docs" / "ingest.md").read_text(encoding="utf-8")
MENTIONS = [
    each
    for text in (README, INGEST)
    for each in (
        *re.findall(r"`lineup ([^`]+)`", text),
        *re.findall(r"^\$ (?:.+\| )?lineup (.+)$", text, re.MULTILINE),
    )
    if not each.startswith("COMMAND")
]
TASKS = re.findall(r"(?:^\$ |`)make ([a-z]+)", README, re.MULTILINE)
SETTING_ROWS = re.findall(r"^\| (`LINEUP_.+?) \| (.+?) \|", README, re.MULTILINE)


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def setting_defaults() -> dict[str, str | None]:
    """The table's variables with their defaults;

    None where the table has words in place of a value.
    """
    told: dict[str, str | None] = {}
    for names, defaults in SETTING_ROWS:
        values = quoted(defaults) or [None] * len(quoted(names))
        told |= dict(zip(quoted(names), values, strict=True))
    return told


def assert_exists(words: str) -> None:
    """Follow a command line from command to subcommand; every option on the way must be one of its
    command.
    """
    command: Any = typer.main.get_command(app)
    tokens = iter(shlex.split(words, comments=True))
    for token in tokens:
        if token.startswith("-") and token != "-":
            options = {name: option for option in command.params for name in option.opts}
            assert token in {*options, "--help"}, f"{token} is no option of {command.name}"
            if token in options and not options[token].is_flag:
                next(tokens)
        elif hasattr(command, "commands"):
            assert token in command.commands, f"{token} is no command of {command.name}"
            command = command.commands[token]


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path)


@pytest.mark.parametrize("link", [link for link in LINKS if "://" not in link])
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_table_of_settings_names_every_setting() -> None:
    assert set(setting_defaults()) == {f"LINEUP_{name.upper()}" for name in Settings.model_fields}


def test_the_defaults_in_the_table_are_those_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    holding = {name: field.default for name, field in Settings.model_fields.items()}

    for name, default in setting_defaults().items():
        monkeypatch.delenv(name, raising=False)
        if default is not None:
            monkeypatch.setenv(name, default)

    assert Settings().model_dump() == holding
    assert {name for name, default in setting_defaults().items() if default is None} == {
        f"LINEUP_{name.upper()}" for name, default in holding.items() if default is None
    }


@pytest.mark.parametrize("words", [*COMMANDS, *MENTIONS])
def test_a_command_that_is_shown_exists_with_its_options(words: str) -> None:
    assert_exists(words)


@pytest.mark.parametrize(
    "words", ["bogus", "corpora bogus", "search probe.png --bogus", "--bogus search"]
)
def test_a_command_that_does_not_exist_would_be_noticed(words: str) -> None:
    with pytest.raises(AssertionError, match="bogus"):
        assert_exists(words)


@pytest.mark.parametrize("task", sorted(set(TASKS)))
def test_a_task_that_is_named_is_in_the_makefile(task: str) -> None:
    assert re.search(rf"^{task}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_exit_codes_are_those_of_the_help() -> None:
    assert EXIT_CODES in " ".join(README.split())


def test_the_commands_of_the_quick_start_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, source in enumerate(SOURCES):
        write_image(Path(source) if Path(source).suffix else Path(source, "image.png"), seed)

    printed = {}
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, f"lineup {command}: {done.stderr}"
        printed[command] = done.stdout

    search = next(output for command, output in printed.items() if command.startswith("search"))
    assert printed["init"] in README
    assert "image.png" in search
