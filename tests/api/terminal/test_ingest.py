"""`lineup ingest` and `lineup worker`: what reaches the job, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.ingest.dry_run import DryRunAnswer
from api.terminal import app
from api.terminal.ingest import print_dry_run
from tests.api.terminal.commands import answer, assert_one_line, run

Capture = pytest.CaptureFixture[str]


def test_a_folder_goes_in_once_and_is_found(tmp_path: Path, images: Path) -> None:
    data = tmp_path / "data"
    ingest = ("ingest", images / "known", "--corpus", "known")

    first, second = answer(data, *ingest), answer(data, *ingest)
    found = answer(data, "search", images / "known" / "2.png")["lookups"][0]["lookup"]

    assert (first["added"], first["skipped"]) == (3, 0)
    assert (second["added"], second["skipped"]) == (0, 3)
    assert second["id"] == first["id"] + 1
    assert found["similarity"]["neighbours"][0]["entry"]["provenance"]["path"] == "2.png"


def test_the_options_are_the_provenance_of_the_entries(tmp_path: Path, images: Path) -> None:
    words = ("--generator", "gan", "--label", "face", "--licence", "MIT", "--origin", "lab")
    more = ("--acquired-at", "2026-01-02T03:04:05", "--keep", "none", "--kind", "known_real")
    done = run(tmp_path, "ingest", images / "known", "--corpus", "reals", *words, *more)
    entry = answer(tmp_path, "entries", "list", "reals", "--limit", 1)["entries"][0]
    (corpus,) = answer(tmp_path, "corpora")["corpora"]

    assert done.exit_code == 0, done.output
    assert (entry["generator"], entry["label"], entry["licence"]) == ("gan", "face", "MIT")
    assert entry["source"] == "lab"
    assert entry["acquired_at"].startswith("2026-01-02T03:04:05")
    assert (corpus["kind"], corpus["keep"]) == ("known_real", "none")


def test_a_list_of_paths_is_read_from_standard_input(tmp_path: Path, images: Path) -> None:
    paths = "".join(f"{images / 'known' / name}\n" for name in ("0.png", "2.png"))
    command = ["--data-dir", str(tmp_path), "ingest", "-", "--corpus", "listed", "--json"]
    done = CliRunner().invoke(app, command, input=paths)

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["added"] == 2
    assert "standard input" in run(tmp_path, "jobs").stdout


def test_a_dry_run_writes_nothing(tmp_path: Path, images: Path) -> None:
    words = ("ingest", images, "--corpus", "known", "--dry-run")
    shown, as_json = run(tmp_path / "data", *words), run(tmp_path / "data", *words, "--json")

    assert shown.exit_code == as_json.exit_code == 3
    assert "cut.png  truncated: " in shown.stdout
    assert "5 found = 4 to add + 0 to link + 0 to skip + 1 failed; nothing was written" in (
        shown.stdout
    )
    assert json.loads(as_json.stdout)["new"] == 4
    assert not (tmp_path / "data").exists()


def test_a_dry_run_is_told_in_two_lines(capsys: Capture) -> None:
    counts = {"found": 1234, "new": 3, "linked": 2, "skipped": 1228, "failed": 1}
    print_dry_run(
        DryRunAnswer(corpus="known", **counts, duplicates=7, near_duplicates=2, failures=[])
    )
    assert capsys.readouterr().out.splitlines() == [
        "dry run  known: 1,234 found = 3 to add + 2 to link + 1,228 to skip + 1 failed; nothing "
        "was written",
        "  7 duplicates and 2 near duplicates within the sources",
    ]


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("missing", "--corpus", "known"), 4, "missing: no such file or folder"),
        (("known", "--corpus", "UPPER"), 4, "corpus 'UPPER'"),
        (("known", "--corpus", "known", "--kind", "known_real"), 5, "known_fake, not known_real"),
        (("known", "--corpus", "known", "--dedup", "far"), 4, "dedup 'far'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    data: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(images)
    assert_one_line(run(data, "ingest", *words), exit_code, message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "fake"), "neither known_fake nor known_real"),
        (("--keep", "all"), "'all' is none of original, thumbnail, none"),
        (("--workers", "0"), "workers"),
    ],
)
def test_a_wrong_word_is_wrong_usage(
    data: Path, images: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(data, "ingest", images / "known", "--corpus", "known", *words, COLUMNS="200")
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.prove  # tests/functional/test_jobs.py has two processes in every run
def test_several_processes_work_on_one_ingest(tmp_path: Path, images: Path) -> None:
    done = run(tmp_path, "ingest", images / "known", "--corpus", "known", "--workers", 2)
    assert done.exit_code == 0, done.output
    assert "3 found = 3 added" in done.stdout


def test_a_worker_ends_when_there_is_nothing_to_do(data: Path) -> None:
    done = run(data, "worker", "--once", "--threads", 1)
    assert (done.exit_code, done.stdout) == (0, "")
    assert_one_line(run(data, "worker", "--job", 99), 5, "99")
