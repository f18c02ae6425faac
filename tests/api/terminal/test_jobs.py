"""`lineup jobs`: what is listed, why jobs and items failed, and how jobs are steered."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.jobs.json import JobAnswer, JobItemAnswer
from api.server_paths import LIST_SUFFIX
from api.terminal.jobs import describe_sources, print_item, print_job, print_jobs
from tests.api.terminal.commands import answer, assert_one_line, run, write_image

Capture = pytest.CaptureFixture[str]
BEGAN = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def job(**changes: Any) -> JobAnswer:
    facts = {
        "id": 7,
        "kind": "ingest",
        "state": "completed",
        "corpus": "known",
        "model": "builtin",
        "embedding_space": "0" * 64,
        "listed": True,
        "found": 12,
        "done": 12,
        "added": 5,
        "linked": 3,
        "embedded": 0,
        "skipped": 2,
        "failed": 2,
        "duplicates": 1,
        "near_duplicates": 0,
        "error": None,
        "request": {"sources": ["/srv/fakes"]},
        "created_at": BEGAN,
        "updated_at": BEGAN + timedelta(seconds=4),
        "finished_at": BEGAN + timedelta(seconds=4),
    }
    return JobAnswer(**{**facts, **changes})


def item(name: str = "cut.png") -> JobItemAnswer:
    return JobItemAnswer(
        position=0,
        name=name,
        outcome="failed",
        reason="truncated",
        detail="it ends early",
        entry_id=None,
    )


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A data folder whose job 1 has a broken item, and whose job 2 never began."""
    base = tmp_path_factory.mktemp("broken")
    write_image(base / "in" / "whole.png", 1)
    (base / "in" / "=cut.png").write_bytes((images / "cut.png").read_bytes())
    done = run(base / "data", "ingest", base / "in", "--corpus", "known")
    assert done.exit_code == 3, done.output
    return base / "data"


def test_a_list_of_jobs_shows_what_succeeded_and_why_a_job_failed(capsys: Capture) -> None:
    print_jobs([job(), job(id=8, state="failed", error="the disk is full")])
    header, completed, failed, reason = capsys.readouterr().out.splitlines()

    assert header.split()[:8] == [
        "job",
        "kind",
        "state",
        "corpus",
        "found",
        "succeeded",
        "skipped",
        "failed",
    ]
    assert completed.split()[4:8] == ["12", "8", "2", "2"]  # linked images are new entries too
    assert failed.split()[2] == "failed"
    assert reason == "job 8 failed: the disk is full"


def test_there_may_be_no_job(capsys: Capture) -> None:
    print_jobs([])
    assert capsys.readouterr().out == "there is no job yet\n"


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], ""),
        (["/srv/fakes"], "fakes"),
        (["/srv/fakes", "/b", "/c"], "fakes and 2 more"),
        ([f"/data/uploads/x{LIST_SUFFIX}"], "standard input"),
    ],
)
def test_sources_are_told_by_the_first_and_a_number(sources: list[str], words: str) -> None:
    assert describe_sources(job(request={"sources": sources})) == words


def test_a_job_is_told_by_its_counts_reasons_and_speed(capsys: Capture) -> None:
    print_job(job(reasons={"failed": {"truncated": 2}}, near_duplicates=4), [item()])

    assert capsys.readouterr().out.splitlines() == [
        "cut.png  truncated: it ends early",
        "1 more failed: lineup jobs failures 7",
        "job 7 completed  known: 12 found = 5 added + 3 linked + 0 embedded again + 2 skipped + "
        "2 failed",
        "  failed: 2 truncated",
        "  4 look the same as another image of the corpus, by perceptual hash",
        "  4.0 s, 3.0 items/s",
    ]


def test_a_job_that_is_not_finished_says_what_is_left(capsys: Capture) -> None:
    paused = job(state="paused", done=9, failed=0, finished_at=None, corpus=None, error="no disk")
    print_job(paused, [])
    counts, error = capsys.readouterr().out.splitlines()

    assert counts.startswith("job 7 paused  12 found")
    assert counts.endswith("+ 3 to do")
    assert error == "  no disk"


def test_all_failures_are_named_where_none_was_shown(capsys: Capture) -> None:
    print_job(job(), [])
    assert capsys.readouterr().out.startswith("2 failed: lineup jobs failures 7\n")


def test_an_item_has_name_reason_and_detail(capsys: Capture) -> None:
    print_item(item("a [b].png"))
    assert capsys.readouterr().out == "a [b].png  truncated: it ends early\n"


def test_jobs_are_listed_and_shown(broken: Path) -> None:
    (listed,) = answer(broken, "jobs")["jobs"]
    shown = run(broken, "jobs", "show", 1)

    assert (listed["id"], listed["added"], listed["failed"]) == (1, 1, 1)
    assert "1 failed: lineup jobs failures 1" in shown.stdout
    assert "failed: 1 truncated" in shown.stdout
    assert answer(broken, "jobs", "show", 1)["reasons"]["failed"] == {"truncated": 1}
    assert run(broken, "jobs", "--limit", 1).stdout.count("\n") == 2
    assert_one_line(run(broken, "jobs", "show", 9), 5, "9")


def test_failures_are_listed_for_people_programs_and_spreadsheets(
    broken: Path, tmp_path: Path
) -> None:
    plain = run(broken, "jobs", "failures", 1)
    lines = run(broken, "jobs", "failures", 1, "--json").stdout.splitlines()
    to_output = run(broken, "jobs", "failures", 1, "--csv", "-")
    assert run(broken, "jobs", "failures", 1, "--csv", tmp_path / "f.csv").exit_code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "f.csv").read_text(encoding="utf-8"))))

    assert plain.stdout.startswith("=cut.png  truncated: ")
    assert [json.loads(line)["reason"] for line in lines] == ["truncated"]
    assert [(row["name"], row["reason"]) for row in rows] == [("'=cut.png", "truncated")]
    assert "truncated" in to_output.stdout
    assert run(broken, "jobs", "failures", 1, "--all").exit_code == 0


def test_a_job_is_paused_resumed_and_cancelled(images: Path, tmp_path: Path) -> None:
    data = tmp_path / "my data"
    assert run(data, "ingest", images / "known", "--corpus", "known").exit_code == 0
    assert_one_line(run(data, "jobs", "pause", 1), 5, "1")
    assert_one_line(run(data, "jobs", "resume", 1), 5, "1")
    assert_one_line(run(data, "jobs", "cancel", 1), 5, "1")

    from api.lineup import open_database  # noqa: PLC0415 -- only for this test
    from api.settings import Settings  # noqa: PLC0415
    from index.truth.jobs.job import create_job, get_job  # noqa: PLC0415

    with open_database(Settings(data_dir=data)) as database:
        with database.read() as conn:
            first = get_job(conn, 1)
        with database.write() as conn:
            words = {"sources": [str(images / "known")], "corpus": "known"}
            create_job(conn, first.kind, 1, first.space, words)
            create_job(conn, first.kind, 1, first.space, {**words, "label": "other"})

    paused = run(data, "jobs", "pause", 2)
    assert paused.stdout.startswith("job 2 is paused; resume it with: ")
    assert paused.stdout.rstrip().endswith(f"jobs resume 2 --data-dir '{data}'")
    resumed = run(data, "jobs", "resume", 2)
    assert resumed.exit_code == 0, resumed.output
    assert "job 2 completed  known: 3 found = 0 added" in resumed.stdout
    cancelled = run(data, "jobs", "cancel", 3)
    assert cancelled.stdout == "job 3 is cancelled; what it has added stays\n"
    assert [each["state"] for each in answer(data, "jobs")["jobs"]] == [
        "cancelled",
        "completed",
        "completed",
    ]
