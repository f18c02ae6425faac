"""Progress for a person and for a program, and what to do after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from api.terminal import progress
from api.terminal.global_options import GlobalOptions
from api.terminal.progress import (
    describe,
    describe_failures,
    program,
    report_lines,
    reported,
    resumable,
    stop_on_sigterm,
    suggest,
)
from index.truth.databases.database import Database
from index.truth.jobs.chunks import ChunkResult
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import Job, JobCounts, JobKind, cancel_job
from tests.api.modelless import queue_job

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def job(database: Database) -> Job:
    return queue_job(database, JobKind.INGEST, {"sources": ["/in"]})


@pytest.fixture
def context() -> Any:
    """A context of a command line that names a data folder with a space in it."""
    options = GlobalOptions({"data_dir": Path("my data"), "offline": True})
    return SimpleNamespace(find_object=lambda _kind: options)


def ticking(*seconds: float) -> Callable[[], float]:
    times: Iterator[float] = iter(seconds)
    return lambda: next(times)


def failed(name: str, reason: str) -> JobItem:
    return JobItem(0, name, Outcome.FAILED, reason, "")


def test_while_sources_are_listed_the_bar_says_so_and_counts(job: Job) -> None:
    counted = replace(job, counts=replace(job.counts, found=12_800))

    assert describe(job) == f"job {job.id}: listing sources: 0 found"
    assert describe(counted) == f"job {job.id}: listing sources: 12,800 found"


def test_a_listed_job_says_what_it_does(job: Job) -> None:
    assert describe(replace(job, listed=True)) == f"job {job.id}: ingesting"
    assert describe(replace(job, listed=True, kind=JobKind.REEMBED)) == f"job {job.id}: embedding"
    calibrating = replace(job, listed=True, kind=JobKind.CALIBRATE, counts=JobCounts(found=2))
    assert describe(calibrating) == f"job {job.id}: embedding"
    embedded = replace(calibrating, counts=JobCounts(found=2, embedded=2))
    assert describe(embedded) == f"job {job.id}: measuring"
    ingested = replace(embedded, kind=JobKind.INGEST)
    assert describe(ingested) == f"job {job.id}: bringing the index up to date"
    assert set(progress.DOING) == {kind.value for kind in JobKind}


def test_the_most_frequent_reasons_of_failures_come_first(job: Job) -> None:
    reasons = Counter({"truncated": 2, "not_an_image": 7, "a": 1, "b": 1, "c": 1})

    assert describe_failures(job, reasons) == "7 not_an_image, 2 truncated, 1 a, 1 b"
    assert describe_failures(job, Counter()) == ""


def test_failures_of_other_workers_are_only_counted(job: Job) -> None:
    assert describe_failures(replace(job, counts=JobCounts(failed=3)), Counter()) == "3 failed"


def test_for_a_program_there_is_a_line_a_second_with_the_rate_here(
    job: Job, capsys: Capture
) -> None:
    report = report_lines(ticking(0.0, 0.5, 1.5, 2.0, 4.0))
    result = ChunkResult(JobCounts(added=3, skipped=1))
    for _ in range(4):
        report(job, result)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["images_per_second"] for line in lines] == [round(8 / 1.5, 2), 4.0]
    assert {line["id"] for line in lines} == {job.id}


def test_a_bar_is_drawn_only_in_a_terminal(job: Job, capsys: Capture) -> None:
    with reported(job, json=False) as report:
        report(replace(job, listed=True), ChunkResult(JobCounts(failed=1), [failed("a", "cut")]))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [True, False])
def test_without_a_bar_a_line_says_once_what_follows_the_last_item(
    job: Job, as_json: bool, capsys: Capture
) -> None:
    """The index of 100,000 entries takes seconds, and nothing else is said meanwhile."""
    half = replace(job, listed=True, counts=JobCounts(found=2, added=1))
    with reported(job, json=as_json) as report:
        report(half, ChunkResult(JobCounts(added=1)))
        assert capsys.readouterr().err == ""
        for _ in range(2):
            report(replace(half, counts=JobCounts(found=2, added=2)), ChunkResult(JobCounts()))

    assert capsys.readouterr().err == f"job {job.id}: bringing the index up to date\n"


def test_ctrl_c_names_the_job_and_the_command_that_resumes_it(
    job: Job, context: Any, database: Database, capsys: Capture
) -> None:
    with pytest.raises(typer.Exit) as ended, resumable(context, database, job.id):
        raise KeyboardInterrupt
    first, second = capsys.readouterr().err.splitlines()

    assert ended.value.exit_code == 130
    assert first.startswith(f"interrupted: job {job.id} is paused")
    assert second.strip().endswith(f"jobs resume {job.id} --data-dir 'my data'")


def test_ctrl_c_after_the_end_of_a_job_names_no_command(
    job: Job, context: Any, database: Database, capsys: Capture
) -> None:
    with database.write() as conn:
        cancel_job(conn, job.id)
    with pytest.raises(typer.Exit) as ended, resumable(context, database, job.id):
        raise KeyboardInterrupt

    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == f"interrupted: job {job.id} is cancelled\n"


def test_other_errors_and_success_pass_through(
    context: Any, database: Database, capsys: Capture
) -> None:
    with resumable(context, database, 1):
        pass
    with pytest.raises(ValueError, match="other"), resumable(context, database, 1):
        raise ValueError("other")
    assert capsys.readouterr().err == ""


def test_a_suggested_command_names_the_same_data(context: Any) -> None:
    assert suggest(context, "jobs", "show", 3).endswith("jobs show 3 --data-dir 'my data'")


@pytest.mark.parametrize(
    ("called", "on_path", "expected"),
    [
        ("/venv/bin/lineup", True, "lineup"),
        ("/venv/bin/lineup", False, "/venv/bin/lineup"),
        ("/x/api/terminal/__main__.py", False, "lineup"),
    ],
)
def test_the_program_is_called_by_its_path_where_it_is_not_on_the_path(
    called: str,
    on_path: bool,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if on_path:
        (tmp_path / "lineup").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [called])

    assert program() == expected


def test_sigterm_is_like_ctrl_c_within_the_block_only() -> None:
    def be_terminated() -> None:
        with stop_on_sigterm(60):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        be_terminated()
    assert signal.getsignal(signal.SIGTERM) is before
