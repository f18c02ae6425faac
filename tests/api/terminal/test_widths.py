"""Every table at 80, 100 and 160 columns, over long generator names and paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.api.terminal.commands import run, write_image

WIDTHS = [80, 100, 160]
GENERATOR = "stable-diffusion-xl-base-1.0-refiner-with-lora-watercolour-v2"
FOLDER = "case-2026-0815-seized-phone-of-the-second-suspect/DCIM/Camera/original-files"
COMMANDS = [
    "corpora",
    "entries list known-fakes-of-the-second-suspect-2026",
    "jobs",
    "jobs show 1",
    "models",
    "search unseen.png -k 3",
    f"search {FOLDER}",
    "search unseen.png reals/0.png --details",
    "inspect known-fakes-of-the-second-suspect-2026",
    "inspect known-fakes-of-the-second-suspect-2026 --quarantined",
    "calibrations",
    "calibrations show 1",
    "index plan",
    "fsck",
]
# What differs from one run to the next, and digests that are wider than a column.
CHANGING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fakes in a deep folder, their pictures as reals, a quarantined entry, a calibration."""
    base = tmp_path_factory.mktemp("wide")
    for seed in range(4):
        write_image(base / FOLDER / f"IMG_20260101_12345{seed}_edited_and_exported.png", seed)
        write_image(base / "reals" / f"{seed}.png", seed + (10 if seed else 0))
    write_image(base / "unseen.png", 30)
    corpus = "known-fakes-of-the-second-suspect-2026"
    description = "everything that the laboratory found in March, before the second search"
    for words in (
        ("corpora", "create", corpus, "--description", description),
        ("ingest", base / FOLDER, "--corpus", corpus, "--generator", GENERATOR),
        ("ingest", base / "reals", "--corpus", "reals", "--kind", "known_real"),
        ("calibrate", "--condition", "as_is"),
        ("quarantine", "2", "--reason", "a photograph that was filed by mistake " * 3),
        ("index", "build"),
    ):
        done = run(base / "data", *words)
        assert done.exit_code == 0, done.output
    return base


@pytest.mark.parametrize("command", COMMANDS)
def test_lines_fit_and_words_are_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(folder)
    piped = run(folder / "data", *command.split())
    assert piped.exit_code == 0, piped.output
    assert "…" not in piped.stdout
    assert "not shown" not in piped.stdout
    whole = words_of(piped.stdout)

    for width in WIDTHS:
        narrow = run(folder / "data", *command.split(), COLUMNS=str(width))
        assert narrow.exit_code == 0, narrow.output
        lines = narrow.stdout.splitlines()
        assert max(map(len, lines)) <= width
        hidden = narrow.stdout.partition("not shown at this width: ")[2]
        cut = words_of(narrow.stdout.replace(hidden, "")) - whole
        assert {word for word in cut if "…" not in word} <= {"not", "shown", "at", "this", "width:"}


def words_of(text: str) -> set[str]:
    return {CHANGING.sub("#", word) for word in text.split()}


@pytest.mark.parametrize("width", WIDTHS)
def test_every_entry_is_one_line(folder: Path, width: int) -> None:
    done = run(folder / "data", "entries", "list", COMMANDS[1].split()[-1], COLUMNS=str(width))
    rows = [line for line in done.stdout.splitlines() if re.match(r" *\d+  ", line)]

    assert len(rows) == 3  # one is in quarantine
    assert all("…" in row or GENERATOR in row for row in rows)


def test_piped_tables_are_whole(folder: Path) -> None:
    done = run(folder / "data", "entries", "list", COMMANDS[1].split()[-1])
    assert done.stdout.count(GENERATOR) == 3
    assert done.stdout.count("IMG_20260101_12345") == 3
