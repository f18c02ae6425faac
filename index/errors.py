"""Everything that can go wrong in `index`, as one tree.

    CorpusError
      NotFound
        UnknownCorpus         no live corpus of this name
        UnknownEntry          no live entry with this id
        UnknownImage          no image with this sha256
        UnknownLookup         no lookup with this id
        UnknownCalibration    no calibration with this id
        UnknownBlob           no thumbnail of this image
        UnknownJob            no job with this id
      CorpusExists            the name is taken
      CorpusKindConflict      the name is taken by a corpus of the other kind
      CorpusKeepConflict      the corpus keeps something else of its images
      InspectionTooLarge      more comparisons than an inspection was allowed
      EntryQuarantined        the image of a new entry is in quarantine in that corpus
      NotQuarantined          an entry to release that is not in quarantine
      JobStateConflict        a job that cannot become what is asked for from where it stands
      LeaseLost               another worker has taken the chunk over
      InvalidInput
        InvalidCorpusName     the name breaks the pattern
        InvalidFilter         a filter (or k) that means nothing
        InvalidVector         shape, dtype, norm or finiteness of an embedding or a logit
        InvalidProvenance     text that cannot be stored, a date without a time zone
        InvalidReason         a quarantine without a reason, or with a very long one
        InvalidImageFacts     a malformed sha256, a size below one
        InvalidDatabaseUrl    a URL of a database that Lineup cannot use
      ForeignSpace            an embedding of another embedding space
      DatabaseError
        DatabaseUnavailable   cannot connect, locked for too long, disk full: try again later
        NoData                no database file, or none of Lineup's tables in it
        SchemaOutdated        the database has the schema of an older or newer Lineup
      TruthDamaged            SQL contradicts its own change log: `lineup fsck` names the rows
      SnapshotError
        SnapshotCorrupt       a snapshot that is not what its manifest or SQL says
        IndexDirectoryUnwritable   the snapshot directory cannot be written
      BlobCorrupt             a thumbnail that cannot be read
      BackupError
        BackupExists          a file of this name is there already
        BackupUnwritable      the archive cannot be written: no space, no permission
        BackupUnreadable      the archive cannot be read: not there, no permission
        NotABackup            a file that is no archive of Lineup
        BackupCorrupt         an archive differs from its manifest: truncated, changed, extra member
        BackupTooNew          an archive of a newer Lineup
        RestoreTargetNotEmpty the database to restore into holds rows
        RestoreUnwritable     what is restored cannot be written: no space, no permission

Leaves carry facts and know no HTTP.
"""

from __future__ import annotations

from pathlib import Path


class CorpusError(Exception):
    """Root of the tree. `str()` is one line that a person can act on."""


class NotFound(CorpusError):
    """A thing that was asked for by name or id is not there."""


class UnknownCorpus(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no corpus is called {name!r}")
        self.name = name


class UnknownEntry(NotFound):
    def __init__(self, entry_id: int) -> None:
        super().__init__(f"no entry has the id {entry_id}")
        self.entry_id = entry_id


class UnknownImage(NotFound):
    def __init__(self, sha256: str) -> None:
        super().__init__(f"no image has the sha256 {sha256!r}")
        self.sha256 = sha256


class UnknownLookup(NotFound):
    def __init__(self, lookup_id: str) -> None:
        super().__init__(f"no lookup has the id {lookup_id!r}")
        self.lookup_id = lookup_id


class UnknownBlob(NotFound):
    def __init__(self, sha256: str) -> None:
        super().__init__(f"no thumbnail is stored for the image {sha256!r}")
        self.sha256 = sha256


class UnknownCalibration(NotFound):
    def __init__(self, calibration_id: int) -> None:
        super().__init__(f"no calibration has the id {calibration_id}")
        self.calibration_id = calibration_id


class UnknownJob(NotFound):
    def __init__(self, job_id: int) -> None:
        super().__init__(f"no job has the id {job_id}")
        self.job_id = job_id


class CorpusExists(CorpusError):
    def __init__(self, name: str) -> None:
        super().__init__(f"a corpus called {name!r} exists already")
        self.name = name


class CorpusKindConflict(CorpusError):
    def __init__(self, name: str, kind: str, wanted: str) -> None:
        super().__init__(f"the corpus {name!r} is {kind}, not {wanted}")
        self.name = name
        self.kind = kind
        self.wanted = wanted


class CorpusKeepConflict(CorpusError):
    def __init__(self, name: str, keep: str, wanted: str) -> None:
        super().__init__(
            f"the corpus {name!r} keeps {keep}, not {wanted}; `lineup corpora keep` changes it"
        )
        self.name = name
        self.keep = keep
        self.wanted = wanted


class InspectionTooLarge(CorpusError):
    def __init__(self, corpus: str, comparisons: int, limit: int) -> None:
        super().__init__(
            f"inspecting {corpus!r} takes {comparisons:,} comparisons, over {limit:,}: `lineup "
            f"inspect` does it"
        )
        self.corpus = corpus
        self.comparisons = comparisons
        self.limit = limit


class EntryQuarantined(CorpusError):
    def __init__(self, entry_id: int, corpus: str) -> None:
        super().__init__(
            f"this image is in quarantine in {corpus!r}: entry {entry_id} must be released first"
        )
        self.entry_id = entry_id
        self.corpus = corpus


class NotQuarantined(CorpusError):
    def __init__(self, entry_id: int) -> None:
        super().__init__(f"entry {entry_id} is not in quarantine")
        self.entry_id = entry_id


class JobStateConflict(CorpusError):
    def __init__(self, job_id: int, state: str, wanted: str) -> None:
        super().__init__(f"job {job_id} is {state} and cannot become {wanted}")
        self.job_id = job_id
        self.state = state
        self.wanted = wanted


class LeaseLost(CorpusError):
    """A worker was too slow, or its job was cancelled: what it did to the chunk must not be
    written.
    """

    def __init__(self, job_id: int, number: int) -> None:
        super().__init__(f"chunk {number} of job {job_id} belongs to another worker now")
        self.job_id = job_id
        self.number = number


class InvalidInput(CorpusError):
    """A value that can never be accepted; `reason` says why, without repeating the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidCorpusName(InvalidInput):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not a corpus name: 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with "
            f"a letter or a digit"
        )
        self.name = name


class InvalidFilter(InvalidInput):
    """A filter that selects by something impossible, or a number of neighbours below one."""


class InvalidVector(InvalidInput):
    """An embedding or a logit that cannot be one: wrong shape, not finite, or not of norm 1."""


class InvalidProvenance(InvalidInput):
    """Provenance that neither database could store and give back unchanged."""


class InvalidReason(InvalidInput):
    """A reason for a quarantine that is empty or too long."""


class InvalidImageFacts(InvalidInput):
    """Facts about an image that cannot be true."""


class InvalidDatabaseUrl(InvalidInput):
    """A database URL that Lineup cannot use."""


class ForeignSpace(CorpusError):
    """Vectors of two embedding spaces are never compared."""

    def __init__(self, expected: str, given: str) -> None:
        super().__init__(
            f"the embedding space {given[:16]} is foreign here: expected {expected[:16]}"
        )
        self.expected = expected
        self.given = given


class DatabaseError(CorpusError):
    """The database cannot be used now or as it is."""


class DatabaseUnavailable(DatabaseError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is unavailable: {reason}")
        self.reason = reason


class NoData(DatabaseError):
    """There is no database yet: no SQLite file, or a database without Lineup's tables."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no Lineup data here: {reason}; run `lineup init` to create it")
        self.reason = reason


class SchemaOutdated(DatabaseError):
    """The database has the schema of another release than this one."""

    def __init__(self, current: str, expected: str, *, newer: bool = False) -> None:
        super().__init__(
            f"the database has schema {current}, which a newer Lineup made: upgrade Lineup"
            if newer
            else f"the database has schema {current}, this Lineup needs {expected}: "
            f"run `lineup init` to upgrade the database"
        )
        self.current = current
        self.expected = expected
        self.newer = newer


class TruthDamaged(CorpusError):
    """The rows contradict the change log, so that no answer from them could be trusted."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database contradicts its own change log: {reason}; run `lineup fsck`"
        )
        self.reason = reason


class SnapshotError(CorpusError):
    """About the files of the index, which are only a cache."""


class SnapshotCorrupt(SnapshotError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the snapshot {path} cannot be used: {reason}")
        self.path = path
        self.reason = reason


class IndexDirectoryUnwritable(SnapshotError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"no snapshot can be written to {path}: {reason}")
        self.path = path
        self.reason = reason


class BlobCorrupt(CorpusError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the thumbnail {path} cannot be used: {reason}")
        self.path = path
        self.reason = reason


class BackupError(CorpusError):
    """About archives: `index.backups.backup` writes them, `index.backups.restore` reads them."""


class BackupExists(BackupError):
    def __init__(self, archive: Path) -> None:
        super().__init__(f"{archive} exists already; --force replaces it")
        self.archive = archive


class BackupUnwritable(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"no backup can be written to {archive}: {reason}")
        self.archive = archive
        self.reason = reason


class BackupUnreadable(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"the backup {archive} cannot be read: {reason}")
        self.archive = archive
        self.reason = reason


class NotABackup(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{archive} is no backup of Lineup: {reason}")
        self.archive = archive
        self.reason = reason


class BackupCorrupt(BackupError):
    """`member` is the part of the archive that is wrong, `reason` what is wrong with it."""

    def __init__(self, archive: Path, member: str, reason: str) -> None:
        super().__init__(f"the backup {archive} is damaged at {member!r}: {reason}")
        self.archive = archive
        self.member = member
        self.reason = reason


class BackupTooNew(BackupError):
    def __init__(self, archive: Path, what: str) -> None:
        super().__init__(
            f"the backup {archive} has {what}, which a newer Lineup made: upgrade Lineup"
        )
        self.archive = archive
        self.what = what


class RestoreTargetNotEmpty(BackupError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}; a backup is restored into an empty database only, and nothing was changed"
        )
        self.what = what


class RestoreUnwritable(BackupError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"nothing was restored, for {path} cannot be written: {reason}")
        self.path = path
        self.reason = reason
