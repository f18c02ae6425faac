"""`lineup fsck`: whether database, index, stored images and uploads agree, for every embedding
space.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from api.ingest.uploads import Upload, list_uploads, sweep
from api.lineup import open_database, open_features, open_originals, open_thumbnails
from api.operations.checks_json import FindingAnswer, FsckAnswer, UploadAnswer
from api.settings import Settings
from index.proof.findings import Finding, FindingKind
from index.proof.fsck import fsck
from index.truth.databases.database import Database


def check_installation(settings: Settings, *, repair: bool) -> FsckAnswer:
    """Check everything that belongs to the settings; no model is needed. Raises `DatabaseError`."""
    with open_database(settings) as database:
        report = fsck(
            database,
            None,
            settings.index_dir,
            open_thumbnails(settings),
            open_originals(settings),
            open_features(settings),
            repair=repair,
        )
        findings = list(report.findings)
        checked = dict(report.checked)
        uploads: Sequence[Upload] = ()
        if checked:  # otherwise the database is too damaged to say which jobs there are
            uploads, orphans = _check_uploads(settings, database, repair=repair)
            findings += orphans
            checked["uploads"] = len(uploads) + len(orphans)
    answers = [
        FindingAnswer(
            kind=found.kind, item=found.item, message=found.message, repaired=found.repaired
        )
        for found in findings
    ]
    clean = all(found.repaired or found.kind.is_remark for found in findings)
    return FsckAnswer(
        clean=clean, findings=answers, checked=checked, uploads=[*map(_describe, uploads)]
    )


def _check_uploads(
    settings: Settings, database: Database, *, repair: bool
) -> tuple[list[Upload], list[Finding]]:
    """Return the uploads that stay, and a finding for each that nobody needs."""
    folder, days = settings.upload_dir, settings.failed_upload_days
    uploads, now = list_uploads(database, folder, days), datetime.now(UTC)
    expired = [upload for upload in uploads if upload.has_expired(now)]
    removed = {upload.path for upload in sweep(database, folder, days)} if repair else set()
    return [upload for upload in uploads if upload not in expired], [
        Finding(
            FindingKind.UPLOAD_ORPHAN,
            upload.path.name,
            f"{upload.byte_size:,} bytes "
            + (
                "of no job, or of one that has ended"
                if upload.job is None
                else f"of job {upload.job.id}, which is {upload.job.state} and was not resumed"
            ),
            repaired=upload.path in removed,
        )
        for upload in expired
    ]


def _describe(upload: Upload) -> UploadAnswer:
    return UploadAnswer(
        name=upload.path.name,
        byte_size=upload.byte_size,
        job_id=None if upload.job is None else upload.job.id,
        job_state=None if upload.job is None else upload.job.state.value,
        kept_until=upload.kept_until,
    )
