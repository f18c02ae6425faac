"""One table: error class -> HTTP status, type, title, exit code. HTTP and the terminal both use it.

A class without a row uses the row of its nearest base. A test fails on a public error without any
row, and on an exit code that `lineup --help` does not explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api import errors
from api.sources.item import UnreadableItem, UnusableSource
from embedder import errors as embedder_errors
from index import errors as index_errors

EXIT_PARTIAL = 3  # some items failed, or findings stay open
EXIT_REFUSED = 4
EXIT_NOT_FOUND = 5  # or in conflict with what is there
EXIT_MODEL = 6
EXIT_STORAGE = 7
EXIT_LATER = 8  # the same call may succeed in a moment
EXIT_ADDRESS = 9  # the server cannot listen on its address
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h


@dataclass(frozen=True, slots=True)
class Problem:
    """How one class of error is answered."""

    status: int
    slug: str
    title: str
    exit_code: int

    @property
    def type(self) -> str:
        """The stable URI of the problem type."""
        return f"urn:lineup:problem:{self.slug}"


DEFECT = Problem(500, "defect", "Lineup has a defect", EXIT_DEFECT)

PROBLEMS: Mapping[type[Exception], Problem] = {
    embedder_errors.NotAnImage: Problem(415, "not-an-image", "Not an image", EXIT_REFUSED),
    embedder_errors.UnsupportedFormat: Problem(
        415, "unsupported-format", "Image format not supported", EXIT_REFUSED
    ),
    embedder_errors.TruncatedImage: Problem(
        422, "truncated-image", "Truncated image", EXIT_REFUSED
    ),
    embedder_errors.CorruptImage: Problem(422, "corrupt-image", "Corrupt image", EXIT_REFUSED),
    embedder_errors.ImageTooLarge: Problem(413, "image-too-large", "Image too large", EXIT_REFUSED),
    embedder_errors.ImageTooSmall: Problem(422, "image-too-small", "Image too small", EXIT_REFUSED),
    embedder_errors.UnknownModel: Problem(503, "unknown-model", "Unknown model", EXIT_MODEL),
    embedder_errors.ModelUnavailable: Problem(
        503, "model-unavailable", "Model not on this machine", EXIT_MODEL
    ),
    embedder_errors.UnsafeWeights: Problem(
        503, "unsafe-weights", "Weights that could run code", EXIT_MODEL
    ),
    embedder_errors.ModelError: Problem(503, "model-unusable", "Model cannot be used", EXIT_MODEL),
    embedder_errors.DeviceUnavailable: Problem(
        503, "device-unavailable", "Device or precision not available", EXIT_MODEL
    ),
    embedder_errors.PrecisionRefused: Problem(
        503, "precision-refused", "Precision moves the embedding too far", EXIT_MODEL
    ),
    index_errors.UnknownCorpus: Problem(404, "unknown-corpus", "Unknown corpus", EXIT_NOT_FOUND),
    index_errors.UnknownEntry: Problem(404, "unknown-entry", "Unknown entry", EXIT_NOT_FOUND),
    index_errors.UnknownImage: Problem(404, "unknown-image", "Unknown image", EXIT_NOT_FOUND),
    index_errors.UnknownCalibration: Problem(
        404, "unknown-calibration", "Unknown calibration", EXIT_NOT_FOUND
    ),
    index_errors.UnknownLookup: Problem(404, "unknown-lookup", "Unknown lookup", EXIT_NOT_FOUND),
    index_errors.UnknownBlob: Problem(404, "unknown-thumbnail", "No thumbnail", EXIT_NOT_FOUND),
    index_errors.UnknownJob: Problem(404, "unknown-job", "Unknown job", EXIT_NOT_FOUND),
    index_errors.CorpusExists: Problem(409, "corpus-exists", "Corpus exists", EXIT_NOT_FOUND),
    index_errors.CorpusKindConflict: Problem(
        409, "corpus-kind-conflict", "Corpus is of the other kind", EXIT_NOT_FOUND
    ),
    index_errors.CorpusKeepConflict: Problem(
        409, "corpus-keep-conflict", "Corpus keeps something else", EXIT_NOT_FOUND
    ),
    index_errors.InspectionTooLarge: Problem(
        422, "inspection-too-large", "Corpus too large for a request", EXIT_REFUSED
    ),
    index_errors.EntryQuarantined: Problem(
        409, "entry-quarantined", "Image is in quarantine", EXIT_NOT_FOUND
    ),
    index_errors.NotQuarantined: Problem(
        409, "not-quarantined", "Entry is not in quarantine", EXIT_NOT_FOUND
    ),
    index_errors.JobStateConflict: Problem(
        409, "job-state-conflict", "Job is in another state", EXIT_NOT_FOUND
    ),
    index_errors.LeaseLost: Problem(
        409, "lease-lost", "Another worker has taken it over", EXIT_LATER
    ),
    index_errors.InvalidFilter: Problem(
        422, "invalid-filter", "Filter that means nothing", EXIT_REFUSED
    ),
    index_errors.InvalidVector: Problem(422, "invalid-embedding", "Not an embedding", EXIT_REFUSED),
    index_errors.InvalidInput: Problem(
        422, "invalid-value", "Value that cannot be accepted", EXIT_REFUSED
    ),
    index_errors.ForeignSpace: Problem(
        409, "foreign-embedding-space", "Embedding of another embedding space", EXIT_REFUSED
    ),
    index_errors.DatabaseUnavailable: Problem(
        503, "database-unavailable", "Database unavailable", EXIT_STORAGE
    ),
    index_errors.NoData: Problem(503, "no-data", "No Lineup data here", EXIT_STORAGE),
    index_errors.SchemaOutdated: Problem(
        503, "schema-outdated", "Database schema of another release", EXIT_STORAGE
    ),
    index_errors.TruthDamaged: Problem(
        500, "truth-damaged", "Database contradicts itself", EXIT_STORAGE
    ),
    index_errors.SnapshotError: Problem(
        503, "snapshot-unusable", "Index snapshot cannot be used", EXIT_STORAGE
    ),
    index_errors.BlobCorrupt: Problem(
        500, "thumbnail-corrupt", "Thumbnail cannot be read", EXIT_STORAGE
    ),
    index_errors.BackupExists: Problem(409, "backup-exists", "Backup exists", EXIT_NOT_FOUND),
    index_errors.RestoreTargetNotEmpty: Problem(
        409, "restore-target-not-empty", "Database is not empty", EXIT_NOT_FOUND
    ),
    index_errors.BackupUnreadable: Problem(
        422, "backup-unreadable", "Backup cannot be read", EXIT_REFUSED
    ),
    index_errors.NotABackup: Problem(422, "not-a-backup", "Not a backup", EXIT_REFUSED),
    index_errors.BackupCorrupt: Problem(422, "backup-corrupt", "Backup is damaged", EXIT_REFUSED),
    index_errors.BackupTooNew: Problem(
        422, "backup-too-new", "Backup of a newer release", EXIT_REFUSED
    ),
    index_errors.BackupUnwritable: Problem(
        503, "backup-unwritable", "Backup cannot be written", EXIT_STORAGE
    ),
    index_errors.RestoreUnwritable: Problem(
        503, "restore-unwritable", "Restore cannot be written", EXIT_STORAGE
    ),
    errors.Overloaded: Problem(503, "overloaded", "Every place is taken", EXIT_LATER),
    errors.BodyTooLarge: Problem(413, "body-too-large", "Request body too large", EXIT_REFUSED),
    errors.InvalidRequest: Problem(
        422, "invalid-request", "Request does not fit its schema", EXIT_REFUSED
    ),
    errors.UnsupportedBody: Problem(
        415, "unsupported-body", "Media type not taken here", EXIT_REFUSED
    ),
    errors.CrossSiteRequest: Problem(
        403, "cross-site-request", "Request from another site's page", EXIT_REFUSED
    ),
    errors.UnlistedModel: Problem(404, "no-named-model", "No such model is listed", EXIT_MODEL),
    errors.NothingToCalibrate: Problem(
        409, "nothing-to-calibrate", "Nothing to calibrate with", EXIT_NOT_FOUND
    ),
    errors.EarlierWeights: Problem(
        503, "earlier-weights", "Embedded by weights that are no longer shipped", EXIT_MODEL
    ),
    errors.NotReplayable: Problem(
        409, "not-replayable", "The lookup cannot be replayed", EXIT_NOT_FOUND
    ),
    errors.InvalidVerbalScale: Problem(
        500, "invalid-verbal-scale", "The verbal scale cannot be used", EXIT_REFUSED
    ),
    errors.SpaceIncomplete: Problem(
        409, "space-incomplete", "Entries lack this model's embeddings", EXIT_NOT_FOUND
    ),
    errors.NothingToEvaluate: Problem(
        422, "nothing-to-evaluate", "Nothing to evaluate", EXIT_REFUSED
    ),
    errors.FileAlreadyExists: Problem(409, "file-exists", "File exists", EXIT_NOT_FOUND),
    errors.ExportUnwritable: Problem(
        503, "export-unwritable", "Export cannot be written", EXIT_STORAGE
    ),
    errors.ReportUnwritable: Problem(
        503, "report-unwritable", "Evaluation cannot be written", EXIT_STORAGE
    ),
    errors.SourceNotAllowed: Problem(
        403, "source-not-allowed", "Source outside of what may be read", EXIT_REFUSED
    ),
    errors.UnsafeListen: Problem(
        500, "unsafe-listen", "Listening beyond loopback without authentication", EXIT_REFUSED
    ),
    errors.AddressUnavailable: Problem(
        500, "address-unavailable", "Address cannot be used", EXIT_ADDRESS
    ),
    errors.MissingExtra: Problem(501, "missing-extra", "Optional part not installed", EXIT_MODEL),
    UnreadableItem: Problem(422, "unreadable-item", "File cannot be read", EXIT_REFUSED),
    UnusableSource: Problem(422, "unusable-source", "Source cannot be ingested", EXIT_REFUSED),
}

ROOTS = (
    embedder_errors.EmbedderError,
    index_errors.CorpusError,
    errors.ServiceError,
)


def problem_of(err: BaseException) -> Problem:
    """The row of an error's class or of its nearest base; `DEFECT` for what nobody expected."""
    return next((PROBLEMS[base] for base in type(err).__mro__ if base in PROBLEMS), DEFECT)
