"""Jobs as a corpus keeper uses them: paused and resumed, worked on by several, corpora handed
over.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.functional.shelves import jpeg, other_model, write_folder, write_tar
from tests.functional.terminal import answer, lineup

LINEUP = Path(sys.executable).with_name("lineup")


def started(data: Path, *arguments: object) -> subprocess.Popen[str]:
    """A command as at a terminal: behind a shell's `&` SIGINT is ignored, and that would be handed
    on.
    """
    command = [str(LINEUP), "--data-dir", str(data), *map(str, arguments)]
    ours = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, ours)


def wait_until_added(data: Path, at_least: int) -> None:
    """Read the database itself: a command would come when it is too late."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with (
            suppress(sqlite3.OperationalError),  # it is not there yet, or has no tables yet
            closing(sqlite3.connect(f"file:{data}/lineup.db?mode=ro", uri=True)) as database,
        ):
            if database.execute("SELECT count(*) FROM entries").fetchone()[0] >= at_least:
                return
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.prove)]
)
def test_an_interrupted_ingest_is_paused_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    expected = write_tar(tmp_path / "shelf.tar", 400)
    data = tmp_path / "data"
    ingest = ("ingest", tmp_path / "shelf.tar", "--corpus", "known")

    running = started(data, *ingest)
    wait_until_added(data, 32)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    paused = answer(data, "jobs", "show", 1)
    done = answer(data, *ingest, code=3)

    assert running.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert paused["state"] == "paused"
    assert paused["workers"] == 0
    assert 0 < paused["done"] < expected.found
    assert (done["id"], done["state"]) == (1, "completed")
    assert (done["added"], done["failed"]) == (expected.added, expected.failed.total())
    assert answer(data, "fsck")["clean"]


def test_a_job_worked_on_by_two_processes_counts_as_one(tmp_path: Path) -> None:
    expected = write_folder(tmp_path / "shelf", 200)

    done = answer(
        tmp_path / "data", "ingest", tmp_path / "shelf", "--corpus", "known", "--workers", 2, code=3
    )

    assert (done["state"], done["found"], done["added"]) == (
        "completed",
        expected.found,
        expected.added,
    )
    assert (done["failed"], done["duplicates"]) == (expected.failed.total(), expected.duplicates)
    assert answer(tmp_path / "data", "fsck")["clean"]


def test_a_worker_does_what_is_queued_and_ends(tmp_path: Path) -> None:
    write_folder(tmp_path / "shelf", 20)
    data = tmp_path / "data"
    assert lineup(data, "init").exit_code == 0
    assert lineup(data, "worker", "--once").exit_code == 0
    assert lineup(data, "worker", "--job", 7).exit_code == 5
    assert lineup(data, "ingest", tmp_path / "later", "--corpus", "known").exit_code == 4
    (tmp_path / "shelf").rename(tmp_path / "later")

    done = answer(data, "jobs", "resume", 1, code=3)

    assert (done["state"], done["added"], done["failed"]) == ("completed", 19, 1)


def test_failures_as_csv_quote_what_a_spreadsheet_would_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "=cmd.jpg").write_text("no image")
    (tmp_path / "in" / 'a,"b".jpg').write_text("no image")
    lineup(tmp_path, "ingest", tmp_path / "in", "--corpus", "known")

    assert lineup(tmp_path, "jobs", "failures", 1, "--csv", tmp_path / "out.csv").exit_code == 0

    lines = (tmp_path / "out.csv").read_bytes().decode().split("\r\n")
    assert lines[0] == "position,name,outcome,reason,detail,entry_id"
    assert any(line.startswith("0,'=cmd.jpg,failed,not_an_image,") for line in lines)
    assert any('"a,""b"".jpg"' in line for line in lines)
    assert lineup(tmp_path, "jobs", "failures", 1, "--csv", "-").stdout.splitlines()[0] == lines[0]
    assert lineup(tmp_path, "jobs", "failures", 9).exit_code == 5


def test_a_corpus_handed_over_as_parquet_gives_the_same_answers(tmp_path: Path) -> None:
    """Written, read in by another laboratory without the images, and written again: equal to the
    last byte.
    """
    here, there = tmp_path / "here", tmp_path / "there"
    write_folder(tmp_path / "in", 30)
    words = ("--pattern", "{generator}/*", "--licence", "CC0", "--acquired-at", "2026-01-02")
    answer(here, "ingest", tmp_path / "in", "--corpus", "known", *words, code=3)
    file = tmp_path / "known.parquet"

    exported = answer(here, "export", "known", "--output", file)
    again = lineup(here, "export", "known", "--output", file)
    imported = answer(there, "ingest", file, "--corpus", "known")
    back = answer(there, "export", "known", "--output", tmp_path / "back.parquet")

    assert (exported["entries"], imported["added"], back["entries"]) == (29, 29, 29)
    assert again.exit_code == 5
    one, other = (
        pq.read_table(file).to_pylist(),
        pq.read_table(tmp_path / "back.parquet").to_pylist(),
    )
    by_sha = {row["sha256"]: row for row in other}
    assert [by_sha[row["sha256"]] for row in one] == one
    probe = tmp_path / "in" / "gen0" / "000003.jpg"
    answers = [
        answer(data, "search", probe, "-k", 10)["lookups"][0]["lookup"] for data in (here, there)
    ]
    facts = (
        "sha256",
        "generator",
        "licence",
        "acquired_at",
        "provenance",
        "width",
        "pdq_hash",
        "pdq_quality",
    )
    seen = [
        [
            (each["cosine_similarity"], each["relation"], *(each["entry"][fact] for fact in facts))
            for each in found["similarity"]["neighbours"]
        ]
        for found in answers
    ]
    assert seen[0] == seen[1]
    assert answers[0]["classifier"] == answers[1]["classifier"]
    assert answer(there, "fsck")["clean"]


def test_vectors_of_another_space_are_refused(tmp_path: Path) -> None:
    model = other_model(tmp_path / "other")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(1))
    answer(tmp_path / "a", "ingest", tmp_path / "in", "--corpus", "known")
    answer(tmp_path / "a", "export", "known", "--output", tmp_path / "known.parquet")

    done = lineup(
        tmp_path / "b", "--model", model, "ingest", tmp_path / "known.parquet", "--corpus", "known"
    )

    assert done.exit_code == 4
    assert "Another embedding space" in done.stderr
