"""The pages of the documentation held against the repository: links, columns, names, tables."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from api.http.app import create_app
from api.settings import Settings
from api.terminal import app
from api.terminal.application import EXIT_CODES

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
SETTINGS_TEXT = TEXTS["docs/settings.md"]
LAST_COLUMN = 120

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)*)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PACKAGES = ("api", "embedder", "index", "migrations", "tests")
MODULE = re.compile(rf"^(?:{'|'.join(PACKAGES)})(?:\.\w+)+$")
PATH = re.compile(rf"^(?:{'|'.join(PACKAGES)}|docs)/[\w./-]+$")
COMMAND = re.compile(r"^\$ (?:.+\| )?lineup ((?:.*\\\n)*.*)$", re.MULTILINE)
ROUTE = re.compile(r"`(GET|POST|DELETE) ([^`]+)`")
OLDER_PATH = "/v1/ingests"  # an alias of /v1/jobs


def in_pages(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    for name, text in TEXTS.items():
        for found in pattern.findall(text):
            yield name, found


def code_in_pages() -> Iterator[tuple[str, str]]:
    for name, text in TEXTS.items():
        for found in CODE.findall(FENCE.sub("", text)):
            yield name, " ".join(found.split())


def anchors(text: str) -> set[str]:
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    kept = string.ascii_lowercase + string.digits + " -_"
    return {
        "".join(c for c in heading.lower() if c in kept).replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize(
    ("page", "link"), [(page, link) for page, link in in_pages(LINK) if "://" not in link]
)
def test_a_link_leads_to_a_file_and_its_anchor_to_a_heading(page: str, link: str) -> None:
    place, _, anchor = link.partition("#")
    target = (ROOT / page).parent / place if place else ROOT / page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", TEXTS)
def test_lines_end_at_column_120_but_for_tables_and_single_links(page: str) -> None:
    long = [
        line
        for line in TEXTS[page].splitlines()
        if len(line) > LAST_COLUMN and not line.startswith(("|", "!["))
    ]
    assert long == []


def test_modules_and_files_that_are_named_exist() -> None:
    missing = [
        (page, name)
        for page, name in code_in_pages()
        if (MODULE.match(name) and not module_exists(name))
        or (PATH.match(name) and not (ROOT / name).exists())
    ]
    runs = re.compile(r"python -m ((?:tests|embedder|api)[.\w]+)")
    missing += [(page, name) for page, name in in_pages(runs) if not module_exists(name)]
    assert missing == []


def module_exists(name: str) -> bool:
    """Whether it is a module, or a name of one."""
    path = ROOT.joinpath(*name.split("."))
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module, _, attribute = name.rpartition(".")
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file.exists() and attribute in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["api.lookups.nowhere", "index.asking", "tests.benchmarks.hygiene"]
)
def test_a_module_that_does_not_exist_would_be_noticed(name: str) -> None:
    assert MODULE.match(name)
    assert not module_exists(name)


def commands() -> list[str]:
    """Every command line that a page shows or mentions."""
    shown = [re.sub(r"\\\n\s*", "", words) for _, words in in_pages(COMMAND)]
    mentioned = [
        words.removeprefix("lineup ")
        for _, words in code_in_pages()
        if words.startswith("lineup ") and " COMMAND" not in words and words[-1] != "|"
    ]
    return sorted({*shown, *mentioned})


@pytest.mark.parametrize("words", commands())
def test_a_command_that_is_named_exists_with_its_options(words: str) -> None:
    assert_exists(words)


@pytest.mark.parametrize(
    "words", ["bogus", "corpora bogus", "search probe.png --bogus", "--bogus search"]
)
def test_a_command_that_does_not_exist_would_be_noticed(words: str) -> None:
    with pytest.raises(AssertionError, match="bogus"):
        assert_exists(words)


def assert_exists(words: str) -> None:
    """Follow a command line from command to subcommand; every option must be one of a command on
    the way.
    """
    command: Any = typer.main.get_command(app)
    options: dict[str, Any] = {}
    tokens = iter(shlex.split(words, comments=True))
    for token in tokens:
        options |= {name: option for option in command.params for name in option.opts}
        if token.startswith("-") and token != "-":
            assert token in {*options, "--help", "-h"}, f"{token} is no option of {command.name}"
            if token in options and not options[token].is_flag:
                next(tokens)
        elif hasattr(command, "commands"):
            assert token in command.commands, f"{token} is no command of {command.name}"
            command = command.commands[token]


@pytest.mark.parametrize(
    "task", sorted({name for _, name in in_pages(re.compile(r"(?:^\$ |`)make ([a-z]+)", re.M))})
)
def test_a_task_that_is_named_is_in_the_makefile(task: str) -> None:
    assert re.search(rf"^{task}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def setting_defaults() -> dict[str, str | None]:
    """The table's variables with their defaults; None where the table has words for a value."""
    defaults: dict[str, str | None] = {}
    for names, cell in re.findall(r"^\| (`LINEUP_.+?) \| (.+?) \|", SETTINGS_TEXT, re.MULTILINE):
        variables = CODE.findall(names)
        defaults |= dict(zip(variables, CODE.findall(cell) or [None] * len(variables), strict=True))
    return defaults


def test_the_table_of_settings_names_every_setting() -> None:
    assert set(setting_defaults()) == {f"LINEUP_{name.upper()}" for name in Settings.model_fields}


def test_the_defaults_in_the_table_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}

    for name, default in setting_defaults().items():
        monkeypatch.delenv(name, raising=False)
        if default is not None:
            monkeypatch.setenv(name, default)

    assert Settings().model_dump() == defaults
    assert {name for name, default in setting_defaults().items() if default is None} == {
        f"LINEUP_{name.upper()}" for name, default in defaults.items() if default is None
    }


def test_the_exit_codes_are_those_of_the_help() -> None:
    assert EXIT_CODES in " ".join(SETTINGS_TEXT.split())


def test_the_table_of_routes_names_every_route(tmp_path: Path) -> None:
    document = create_app(Settings(data_dir=tmp_path)).openapi()
    described = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        if not path.startswith(OLDER_PATH)
        for method in methods
    }

    assert set(ROUTE.findall(TEXTS["docs/api.md"])) == described


def test_every_page_is_in_the_index() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(TEXTS["docs/README.md"])}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}

    assert pages <= linked


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150
