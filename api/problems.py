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
from index.failures import is_storage_full

EXIT_PARTIAL = 3  # some items failed, or findings stay open
EXIT_REFUSED = 4
EXIT_NOT_FOUND = 5  # or in conflict with what is there
EXIT_MODEL = 6
EXIT_STORAGE = 7
EXIT_LATER = 8  # the same call may succeed in a moment
EXIT_ADDRESS = 9  # the server cannot listen on its address
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h

URN = "urn:lineup:problem:"


@dataclass(frozen=True, slots=True)
class Problem:
    """How HTTP and the terminal answer one class of error."""

    status: int
    slug: str
    title: str
    exit_code: int

    @property
    def type(self) -> str:
        """The stable URI of the problem type."""
        return f"{URN}{self.slug}"


DEFECT = Problem(500, "defect", "Defect in Lineup", EXIT_DEFECT)

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
    embedder_errors.DecoderCrashed: Problem(
        422, "decoder-crashed", "Image that crashes its decoder", EXIT_REFUSED
    ),
    embedder_errors.DecodingTimedOut: Problem(
        422, "decoding-timed-out", "Image that takes too long to decode", EXIT_REFUSED
    ),
    embedder_errors.NeedsTooMuchMemory: Problem(
        413, "needs-too-much-memory", "Image that needs too much memory", EXIT_REFUSED
    ),
    embedder_errors.UnknownModel: Problem(503, "unknown-model", "Unknown model", EXIT_MODEL),
    embedder_errors.ModelUnavailable: Problem(
        503, "model-unavailable", "Model not on this machine", EXIT_MODEL
    ),
    embedder_errors.UnsafeWeights: Problem(
        503, "unsafe-weights", "Weights file that could run code", EXIT_MODEL
    ),
    embedder_errors.ModelError: Problem(503, "model-unusable", "Model cannot be used", EXIT_MODEL),
    embedder_errors.DecodersUnavailable: Problem(
        503, "decoders-unavailable", "No process to decode images", EXIT_LATER
    ),
    embedder_errors.DeviceUnavailable: Problem(
        503, "device-unavailable", "Device or precision not available", EXIT_MODEL
    ),
    embedder_errors.PrecisionRefused: Problem(
        503, "precision-refused", "Precision changes the embeddings too much", EXIT_MODEL
    ),
    index_errors.UnknownCorpus: Problem(404, "unknown-corpus", "Unknown corpus", EXIT_NOT_FOUND),
    index_errors.UnknownEntry: Problem(404, "unknown-entry", "Unknown entry", EXIT_NOT_FOUND),
    index_errors.UnknownImage: Problem(404, "unknown-image", "Unknown image", EXIT_NOT_FOUND),
    index_errors.UnknownCalibration: Problem(
        404, "unknown-calibration", "Unknown calibration", EXIT_NOT_FOUND
    ),
    index_errors.UnknownLookup: Problem(404, "unknown-lookup", "Unknown look-up", EXIT_NOT_FOUND),
    index_errors.UnknownBlob: Problem(
        404, "unknown-thumbnail", "Unknown thumbnail", EXIT_NOT_FOUND
    ),
    index_errors.UnknownJob: Problem(404, "unknown-job", "Unknown job", EXIT_NOT_FOUND),
    index_errors.CorpusExists: Problem(
        409, "corpus-exists", "Corpus already exists", EXIT_NOT_FOUND
    ),
    index_errors.CorpusKindConflict: Problem(
        409, "corpus-kind-conflict", "Corpus of the other kind", EXIT_NOT_FOUND
    ),
    index_errors.CorpusKeepConflict: Problem(
        409, "corpus-keep-conflict", "Corpus with another setting of what it keeps", EXIT_NOT_FOUND
    ),
    index_errors.InspectionTooLarge: Problem(
        422, "inspection-too-large", "Corpus too large for a request", EXIT_REFUSED
    ),
    index_errors.EntryQuarantined: Problem(
        409, "entry-quarantined", "Image in quarantine", EXIT_NOT_FOUND
    ),
    index_errors.NotQuarantined: Problem(
        409, "not-quarantined", "Entry not in quarantine", EXIT_NOT_FOUND
    ),
    index_errors.JobStateConflict: Problem(
        409, "job-state-conflict", "Job in another state", EXIT_NOT_FOUND
    ),
    index_errors.LeaseLost: Problem(
        409, "lease-lost", "Job taken over by another worker", EXIT_LATER
    ),
    index_errors.InvalidFilter: Problem(422, "invalid-filter", "Invalid filter", EXIT_REFUSED),
    index_errors.InvalidVector: Problem(
        422, "invalid-embedding", "Invalid embedding", EXIT_REFUSED
    ),
    index_errors.InvalidInput: Problem(422, "invalid-value", "Invalid value", EXIT_REFUSED),
    index_errors.ForeignSpace: Problem(
        409, "foreign-embedding-space", "Another embedding space", EXIT_REFUSED
    ),
    index_errors.DatabaseUnavailable: Problem(
        503, "database-unavailable", "Database unavailable", EXIT_STORAGE
    ),
    index_errors.StorageFull: Problem(507, "storage-full", "Storage full", EXIT_STORAGE),
    index_errors.DatabaseDamaged: Problem(
        503, "database-damaged", "Damaged database", EXIT_STORAGE
    ),
    index_errors.DatabaseReadOnly: Problem(
        503, "database-read-only", "Database takes no writes", EXIT_STORAGE
    ),
    index_errors.DatabaseRefused: Problem(
        503, "database-refused", "Database refuses", EXIT_STORAGE
    ),
    index_errors.NoData: Problem(503, "no-data", "No Lineup data here", EXIT_STORAGE),
    index_errors.SchemaOutdated: Problem(
        503, "schema-outdated", "Database of another release", EXIT_STORAGE
    ),
    index_errors.TruthDamaged: Problem(500, "truth-damaged", "Damaged database", EXIT_STORAGE),
    index_errors.SnapshotError: Problem(
        503, "snapshot-unusable", "Unusable index snapshot", EXIT_STORAGE
    ),
    index_errors.BlobCorrupt: Problem(500, "thumbnail-corrupt", "Damaged thumbnail", EXIT_STORAGE),
    index_errors.BackupExists: Problem(
        409, "backup-exists", "Backup already exists", EXIT_NOT_FOUND
    ),
    index_errors.RestoreTargetNotEmpty: Problem(
        409, "restore-target-not-empty", "Database not empty", EXIT_NOT_FOUND
    ),
    index_errors.BackupUnreadable: Problem(
        422, "backup-unreadable", "Unreadable backup", EXIT_REFUSED
    ),
    index_errors.NotABackup: Problem(422, "not-a-backup", "Not a backup", EXIT_REFUSED),
    index_errors.BackupCorrupt: Problem(422, "backup-corrupt", "Damaged backup", EXIT_REFUSED),
    index_errors.BackupTooNew: Problem(
        422, "backup-too-new", "Backup of a newer release", EXIT_REFUSED
    ),
    index_errors.BackupUnwritable: Problem(
        503, "backup-unwritable", "Cannot write the backup", EXIT_STORAGE
    ),
    index_errors.RestoreUnwritable: Problem(
        503, "restore-unwritable", "Cannot write the restored data", EXIT_STORAGE
    ),
    errors.Overloaded: Problem(503, "overloaded", "Too many requests at once", EXIT_LATER),
    errors.TooManyConnections: Problem(
        503, "too-many-connections", "Too many connections", EXIT_LATER
    ),
    errors.BodyTooLarge: Problem(413, "body-too-large", "Request body too large", EXIT_REFUSED),
    errors.UploadsFull: Problem(507, "uploads-full", "No room for uploads", EXIT_LATER),
    errors.InvalidRequest: Problem(422, "invalid-request", "Invalid request", EXIT_REFUSED),
    errors.UnsupportedBody: Problem(
        415, "unsupported-body", "Unsupported media type", EXIT_REFUSED
    ),
    errors.CrossSiteRequest: Problem(
        403, "cross-site-request", "Request from a page of another site", EXIT_REFUSED
    ),
    errors.ForeignHost: Problem(400, "foreign-host", "Host not allowed", EXIT_REFUSED),
    errors.MalformedRequest: Problem(400, "malformed-request", "Malformed request", EXIT_REFUSED),
    errors.HeaderTooLarge: Problem(431, "header-too-large", "Header too large", EXIT_REFUSED),
    errors.RequestTooSlow: Problem(408, "request-too-slow", "Request too slow", EXIT_LATER),
    errors.UnlistedModel: Problem(404, "no-named-model", "Model not listed", EXIT_MODEL),
    errors.ModelExists: Problem(409, "model-exists", "Model already exists", EXIT_NOT_FOUND),
    errors.ModelInUse: Problem(409, "model-in-use", "Model in use", EXIT_NOT_FOUND),
    errors.ModelsUnwritable: Problem(
        503, "models-unwritable", "Cannot write the model", EXIT_STORAGE
    ),
    errors.NothingToCalibrate: Problem(
        409, "nothing-to-calibrate", "Nothing to calibrate with", EXIT_NOT_FOUND
    ),
    errors.EarlierWeights: Problem(
        503, "earlier-weights", "Embedded by weights that are no longer shipped", EXIT_MODEL
    ),
    errors.NotReplayable: Problem(
        409, "not-replayable", "Look-up cannot be recomputed", EXIT_NOT_FOUND
    ),
    errors.InvalidVerbalScale: Problem(
        500, "invalid-verbal-scale", "Invalid verbal scale", EXIT_REFUSED
    ),
    errors.SpaceIncomplete: Problem(
        409, "space-incomplete", "Entries without embeddings of the model", EXIT_NOT_FOUND
    ),
    errors.NothingToEvaluate: Problem(
        422, "nothing-to-evaluate", "Nothing to evaluate", EXIT_REFUSED
    ),
    errors.FileAlreadyExists: Problem(409, "file-exists", "File already exists", EXIT_NOT_FOUND),
    errors.ExportUnwritable: Problem(
        503, "export-unwritable", "Cannot write the export", EXIT_STORAGE
    ),
    errors.ReportUnwritable: Problem(
        503, "report-unwritable", "Cannot write the evaluation", EXIT_STORAGE
    ),
    errors.SourceNotAllowed: Problem(403, "source-not-allowed", "Source not allowed", EXIT_REFUSED),
    errors.UnsafeListen: Problem(500, "unsafe-listen", "Unsafe address to listen on", EXIT_REFUSED),
    errors.AddressUnavailable: Problem(
        500, "address-unavailable", "Address not available", EXIT_ADDRESS
    ),
    errors.MissingExtra: Problem(
        501, "missing-extra", "Optional package not installed", EXIT_MODEL
    ),
    UnreadableItem: Problem(422, "unreadable-item", "Unreadable file", EXIT_REFUSED),
    UnusableSource: Problem(422, "unusable-source", "Unusable source", EXIT_REFUSED),
}

ROOTS = (
    embedder_errors.EmbedderError,
    index_errors.CorpusError,
    errors.ServiceError,
)


def name_failure(err: Exception) -> Exception:
    """Return the error with a class of Lineup, if it is the system's error about a full disk."""
    if is_storage_full(err) and not isinstance(err, ROOTS):
        reason = err.strerror if isinstance(err, OSError) else None
        named = index_errors.StorageFull("the result", reason or "the disk is full")
        named.__cause__ = err
        return named
    return err


def problem_of(err: BaseException) -> Problem:
    """Return the row of the error's class or nearest base; `DEFECT` for an unexpected error.

    An error whose cause is a full disk has the row of `StorageFull`, whatever was to be written.
    """
    if is_storage_full(err):
        return PROBLEMS[index_errors.StorageFull]
    return next((PROBLEMS[base] for base in type(err).__mro__ if base in PROBLEMS), DEFECT)
