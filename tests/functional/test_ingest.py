"""A folder as it comes from the field, ingested: each file is stored, or named with its reason;
nothing is lost.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from api.terminal import app

STORED = {"good.png", "nested/deep/other.png", "picture.txt"}
SKIPPED = {"inside.png", "same.png"}
FAILED = {
    "cut.png": "truncated",
    "dangling.png": "not_a_file",
    "empty.png": "not_an_image",
    "notes.jpg": "not_an_image",
}


def lineup(data: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, arguments)])


def answer(data: Path, *arguments: object) -> Any:
    done = lineup(data, *arguments, "--json")
    assert done.exit_code in {0, 3}, done.stderr
    return json.loads(done.stdout.splitlines()[-1] if arguments[0] == "ingest" else done.stdout)


def stored_paths(data: Path) -> set[str]:
    return {
        entry["provenance"]["path"] for entry in answer(data, "entries", "list", "known")["entries"]
    }


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path, "PNG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name of `STORED`, `SKIPPED` and `FAILED`, and hidden files and a link to a folder,
    which are no items.
    """
    folder = tmp_path_factory.mktemp("field")
    for seed, name in enumerate([*sorted(STORED), ".hidden.png", ".folder/hidden.png"]):
        write_image(folder / name, seed)
    good = (folder / "good.png").read_bytes()
    (folder / "same.png").write_bytes(good)
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.jpg").write_text("not an image")
    (folder / "inside.png").symlink_to("good.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def first(folder: Path, data: Path) -> Result:
    """The first ingest of the folder, as JSON."""
    return lineup(data, "ingest", folder, "--corpus", "known", "--json")


def failures(data: Path, job: int = 1) -> list[Any]:
    return [
        json.loads(line)
        for line in lineup(data, "jobs", "failures", job, "--json").stdout.splitlines()
    ]


def test_every_file_that_fails_is_named_with_its_reason(first: Result, data: Path) -> None:
    named = failures(data)

    assert first.exit_code == 3
    assert {each["name"]: each["reason"] for each in named} == FAILED
    assert all(each["detail"] for each in named)


def test_no_item_is_lost(first: Result) -> None:
    report = json.loads(first.stdout.splitlines()[-1])

    assert report["state"] == "completed"
    assert report["found"] == len(STORED | SKIPPED | FAILED.keys())
    assert report["added"] == len(STORED)
    assert report["skipped"] == len(SKIPPED)
    assert report["failed"] == len(FAILED)
    assert report["linked"] == report["embedded"] == 0
    assert report["duplicates"] == report["reasons"]["skipped"]["duplicate"] == len(SKIPPED)


@pytest.mark.usefixtures("first")
def test_the_good_files_are_stored_by_content_and_hidden_ones_are_not(data: Path) -> None:
    assert stored_paths(data) == STORED


@pytest.mark.usefixtures("first")
def test_the_database_is_in_order_after_failures(data: Path) -> None:
    report = answer(data, "fsck")

    assert report["clean"]
    assert report["findings"] == []
    assert report["checked"]["entries"] == report["checked"]["thumbnails"] == len(STORED)


@pytest.mark.usefixtures("first")
def test_a_second_ingest_names_the_same_failures_to_a_person_and_adds_nothing(
    folder: Path, data: Path
) -> None:
    done = lineup(data, "ingest", folder, "--corpus", "known")

    assert done.exit_code == 3
    for name, reason in FAILED.items():
        assert f"{name}  {reason}" in done.stdout
    assert "9 found = 0 added + 0 linked + 0 embedded again + 5 skipped + 4 failed" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named_and_the_others_are_stored(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "good.png", 0)
    write_image(tmp_path / "in" / "secret.png", 1)
    (tmp_path / "in" / "secret.png").chmod(0)

    answer(tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "known")

    assert [(each["name"], each["reason"]) for each in failures(tmp_path / "data")] == [
        ("secret.png", "unreadable")
    ]
    assert stored_paths(tmp_path / "data") == {"good.png"}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no file names that are not Unicode")
def test_a_name_that_is_not_unicode_does_not_stop_the_others(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "good.png", 0)
    write_image(tmp_path / "in" / os.fsdecode(b"latin-\xe9.png"), 1)

    report = answer(tmp_path / "data", "ingest", tmp_path / "in", "--corpus", "known")

    assert (report["found"], report["added"]) == (2, 2)
    assert stored_paths(tmp_path / "data") == {"good.png", "latin-\\xe9.png"}
