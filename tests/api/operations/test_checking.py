"""Whether an installation is clean, without a model."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from api.ingest.request import IngestRequest
from api.ingest.spool import keep_upload
from api.lineup import open_database
from api.operations.checking import check_installation
from api.settings import Settings
from api.worker.starting import start_ingest
from index.errors import NoData
from index.truth.jobs.job import fail_job
from index.truth.spaces import list_spaces
from tests.api.small_lineup import fill, open_small


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with open_small(tmp_path) as lineup:
        fill(lineup)
    return Settings(data_dir=tmp_path)


def leave_file(settings: Settings) -> Path:
    path = settings.thumbnail_dir / "ab" / ".x.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (0, 0))  # a younger one may be an ingest's
    return path


def test_what_was_checked_is_counted(settings: Settings) -> None:
    (settings.data_dir / "thumbnails").mkdir(exist_ok=True)
    answer = check_installation(settings, repair=True)
    assert answer.checked["entries"] == 12


def test_a_finding_keeps_it_unclean_until_it_is_repaired(settings: Settings) -> None:
    check_installation(settings, repair=True)
    before = {finding.item for finding in check_installation(settings, repair=False).findings}
    path = leave_file(settings)
    found = check_installation(settings, repair=False)
    new = [finding for finding in found.findings if finding.item not in before]

    assert not found.clean
    assert [(each.kind, each.repaired) for each in new] == [("leftover_file", False)]
    assert path.exists()
    repaired = check_installation(settings, repair=True)
    assert {each.repaired for each in repaired.findings if each.kind == "leftover_file"} == {True}
    assert not path.exists()


def test_uploads_are_listed_and_those_of_no_job_are_removed(settings: Settings) -> None:
    uploads = settings.upload_dir
    left, waits = (keep_upload(io.BytesIO(b"bytes"), "a.tar", uploads) for _ in range(2))
    with open_database(settings) as database, database.read() as conn:
        (space, *_) = list_spaces(conn)
    with open_database(settings) as database:
        job = start_ingest(database, space, IngestRequest(sources=[str(waits)], corpus="a"))
        with database.write() as conn:
            fail_job(conn, job.id, "it is no archive")
    for path in (left, left.parent):
        os.utime(path, (0, 0))

    found = check_installation(settings, repair=False)
    orphans = [each for each in found.findings if each.kind == "upload_orphan"]
    assert [(each.item, each.repaired) for each in orphans] == [(left.parent.name, False)]
    assert "5 bytes" in orphans[0].message
    (upload,) = found.uploads
    assert (upload.name, upload.byte_size, upload.job_id, upload.job_state) == (
        waits.parent.name,
        5,
        job.id,
        "failed",
    )
    assert upload.kept_until is not None

    repaired = check_installation(settings, repair=True)
    assert [each.repaired for each in repaired.findings if each.kind == "upload_orphan"] == [True]
    assert (left.exists(), waits.exists()) == (False, True)


def test_nothing_is_made_where_there_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoData):
        check_installation(Settings(data_dir=tmp_path / "none"), repair=True)
    assert not (tmp_path / "none").exists()
