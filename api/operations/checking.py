"""`lineup fsck`: whether database, index and stored images agree, for every embedding space."""

from __future__ import annotations

from api.lineup import open_database, open_originals, open_thumbnails
from api.operations.json import FindingAnswer, FsckAnswer
from api.settings import Settings
from index.proof.fsck import fsck


def check_installation(settings: Settings, *, repair: bool) -> FsckAnswer:
    """Check everything that belongs to the settings; no model is needed. Raises `DatabaseError`."""
    with open_database(settings) as database:
        report = fsck(
            database,
            None,
            settings.index_dir,
            open_thumbnails(settings),
            open_originals(settings),
            repair=repair,
        )
    findings = [
        FindingAnswer(
            kind=found.kind, item=found.item, message=found.message, repaired=found.repaired
        )
        for found in report.findings
    ]
    clean = all(found.repaired for found in findings)
    return FsckAnswer(clean=clean, findings=findings, checked=dict(report.checked))
