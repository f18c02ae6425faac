"""`lineup backup`, `restore` and `verify-backup`: what they print and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from api.terminal import app


def run(data: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, arguments)])


def answer(data: Path, *arguments: object) -> Any:
    done = run(data, *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def assert_one_line(done: Result, exit_code: int, words: str) -> None:
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (exit_code, "", 1), done.stderr
    assert words in done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three images; no test changes it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "in").mkdir()
    for seed in range(3):
        rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(
            folder / "in" / f"{seed}.png"
        )
    done = run(folder / "data", "ingest", folder / "in", "--corpus", "known")
    assert done.exit_code == 0, done.stderr
    return folder / "data"


@pytest.fixture(scope="module")
def archive(data: Path) -> Path:
    assert run(data, "backup", data.parent / "whole.tar").exit_code == 0
    return data.parent / "whole.tar"


def test_a_refusal_is_one_line_and_its_exit_code(data: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no archive")
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:50_000])
    new = tmp_path / "new"

    assert_one_line(run(data, "backup", archive), 5, "--force")
    assert_one_line(
        run(data, "backup", tmp_path / "no" / "folder.tar"), 7, "No such file or directory"
    )
    assert_one_line(run(new, "backup", tmp_path / "a.tar"), 7, "lineup init")
    assert_one_line(run(data, "restore", archive), 5, "has rows")
    assert_one_line(run(new, "restore", tmp_path / "missing.tar"), 4, "No such file or directory")
    assert_one_line(run(new, "restore", tmp_path / "text.tar"), 4, "not a backup of Lineup")
    assert_one_line(run(new, "restore", tmp_path / "cut.tar"), 4, "tables.sqlite3")
    assert_one_line(run(new, "verify-backup", tmp_path / "cut.tar"), 4, "tables.sqlite3")
    assert not new.exists()


def test_a_backup_is_one_table_for_a_person(data: Path, tmp_path: Path) -> None:
    made = run(data, "backup", tmp_path / "a.tar", "--no-thumbnails")
    checked = run(data, "verify-backup", tmp_path / "a.tar")
    restored = run(tmp_path / "new", "restore", tmp_path / "a.tar")

    assert [done.exit_code for done in (made, checked, restored)] == [0, 0, 0]
    for done, last in (
        (made, "backed up"),
        (checked, "verified"),
        (restored, "restored into sqlite; index and 0 thumbnails in"),
    ):
        assert done.stdout.splitlines()[-1].startswith(last)
        assert "all digests agree" in done.stdout
        assert "generation 3" in done.stdout
        assert "left out" in done.stdout
        assert "3 entries" in done.stdout


def test_an_archive_is_replaced_when_asked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("older")

    assert run(data, "backup", tmp_path / "a.tar", "--force").exit_code == 0
    assert run(data, "verify-backup", tmp_path / "a.tar").exit_code == 0


def test_backup_verification_and_restore_tell_the_same_as_json(
    data: Path, archive: Path, tmp_path: Path
) -> None:
    made = answer(data, "backup", tmp_path / "a.tar")
    checked = answer(data, "verify-backup", tmp_path / "a.tar")
    restored = answer(tmp_path / "new", "restore", tmp_path / "a.tar")
    files = answer(tmp_path / "new", "fsck")

    for each in (made, checked, restored["backup"]):
        each.pop("seconds")
    assert made == checked == restored["backup"]
    assert (made["generation"], made["thumbnails"], made["row_counts"]["entries"]) == (3, 3, 3)
    assert made["byte_size"] == (tmp_path / "a.tar").stat().st_size
    assert (restored["database"], restored["thumbnails"]) == ("sqlite", 3)
    assert files["findings"] == []
