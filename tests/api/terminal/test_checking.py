"""`lineup fsck`: clean, findings that stay open, and repairs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.operations.checks_json import FindingAnswer, FsckAnswer
from api.terminal.checking import print_fsck
from tests.api.terminal.commands import answer, run

Capture = pytest.CaptureFixture[str]


def test_a_healthy_folder_is_clean(data: Path) -> None:
    done = run(data, "fsck")
    assert done.exit_code == 0
    assert done.stdout.startswith("clean: checked ")
    assert "3 entries" in done.stdout
    assert answer(data, "fsck")["checked"]["entries"] == 3


def test_a_leftover_is_open_until_it_is_repaired(tmp_path: Path) -> None:
    assert run(tmp_path, "init").exit_code == 0
    leftover = tmp_path / "thumbnails" / "ab" / ".x.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    os.utime(leftover, (0, 0))  # a younger one may belong to an ingest

    found = run(tmp_path, "fsck")
    repaired = run(tmp_path, "fsck", "--repair")

    assert found.exit_code == 3
    assert "  open  leftover_file  " in found.stdout
    assert "not clean: checked" in found.stdout
    assert repaired.exit_code == 0
    assert "  repaired  leftover_file  " in repaired.stdout
    assert not leftover.exists()
    assert run(tmp_path, "fsck").exit_code == 0


def test_each_finding_is_one_line_before_the_result(capsys: Capture) -> None:
    findings = [
        FindingAnswer(kind="orphan", item="entry 3", message="has no vector", repaired=False),
        FindingAnswer(kind="leftover_file", item="x.tmp", message="was deleted", repaired=True),
    ]
    print_fsck(FsckAnswer(clean=False, findings=findings, checked={"entries": 1200, "jobs": 2}))

    assert capsys.readouterr().out.splitlines() == [
        "  open  orphan  entry 3  has no vector",
        "  repaired  leftover_file  x.tmp  was deleted",
        "not clean: checked 1,200 entries, 2 jobs",
    ]
