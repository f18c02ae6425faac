"""All errors of `index`, as one tree.

    CorpusError
      NotFound
        UnknownCorpus         no live corpus has this name
        UnknownEntry          no live entry has this id
        UnknownImage          no image has this sha256
        UnknownLookup         no look-up has this id
        UnknownCalibration    no calibration has this id
        UnknownBlob           no thumbnail is stored for this image
        UnknownJob            no job has this id
      CorpusExists            a corpus of this name exists
      CorpusKindConflict      the corpus of this name is of the other kind
      CorpusKeepConflict      the corpus has another setting for which image files it keeps
      InspectionTooLarge      the inspection needs more comparisons than its limit
      EntryQuarantined        the image of a new entry is in quarantine in this corpus
      NotQuarantined          the entry to release is not in quarantine
      JobStateConflict        the job cannot change to this state from its current one
      LeaseLost               another worker has taken over the chunk
      InvalidInput
        InvalidCorpusName     the name does not match the pattern
        InvalidFilter         a filter or a limit has an impossible value
        InvalidVector         an embedding or logit has a wrong shape, norm or value
        InvalidProvenance     the databases cannot store a text, or a date has no time zone
        InvalidReason         the reason for a quarantine is empty or too long
        InvalidImageFacts     a sha256 is malformed, or a size is below one
        InvalidComputation    the name of a device or of a precision is none
        InvalidDatabaseUrl    the URL is not one of a database that Lineup supports
      ForeignSpace            an embedding belongs to another embedding space
      StorageFull             a disk or a quota has no room for what is to be written
      DatabaseError
        DatabaseUnavailable   cannot connect, restarting: try again later
          DatabaseBusy        locked or in work for too long, no free connection: try again later
        DatabaseReadOnly      the database takes no writes: a replica, or `--read-only`
        DatabaseRefused       a wrong password, a missing right, a wrong encoding ...
        DatabaseDamaged       a page or a value of the database cannot be read: restore a backup
        NoData                there is no database yet, or none of Lineup's tables in it
        SchemaOutdated        the schema is that of an older or newer release
      TruthDamaged            the rows contradict the change log: `lineup fsck` names the rows
      SnapshotError
        SnapshotCorrupt       a snapshot contradicts its manifest or the database
        IndexDirectoryUnwritable   the folder of the snapshots is not writable
      BlobCorrupt             a thumbnail or original cannot be read
      BackupError
        BackupExists          the file exists
        BackupUnwritable      the archive cannot be written: disk full, no permission
        BackupUnreadable      the archive cannot be read: missing, no permission
        NotABackup            the file is not an archive of Lineup
        BackupCorrupt         the archive contradicts its manifest: truncated or changed
        BackupTooNew          the archive was made by a newer Lineup
        RestoreTargetNotEmpty the database to restore into has rows
        RestoreUnwritable     a restored file cannot be written: disk full, no permission

The classes carry facts and know no HTTP.
"""

from __future__ import annotations

from pathlib import Path


class CorpusError(Exception):
    """The root of the tree. `str()` gives one line that says what to do."""


class NotFound(CorpusError):
    """Nothing has the name or id that was asked for."""


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
        super().__init__(f"no look-up has the id {lookup_id!r}")
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
        super().__init__(f"the corpus {name!r} exists already")
        self.name = name


class CorpusKindConflict(CorpusError):
    def __init__(self, name: str, kind: str, wanted: str) -> None:
        super().__init__(f"the corpus {name!r} has the kind {kind}, not {wanted}: use another name")
        self.name = name
        self.kind = kind
        self.wanted = wanted


class CorpusKeepConflict(CorpusError):
    def __init__(self, name: str, keep: str, wanted: str) -> None:
        super().__init__(
            f"the corpus {name!r} keeps {keep}, not {wanted}: change it with `lineup corpora keep`"
        )
        self.name = name
        self.keep = keep
        self.wanted = wanted


class InspectionTooLarge(CorpusError):
    def __init__(self, corpus: str, comparisons: int, limit: int) -> None:
        super().__init__(
            f"inspecting the corpus {corpus!r} needs {comparisons:,} comparisons, over the limit "
            f"of {limit:,}: run `lineup inspect` instead"
        )
        self.corpus = corpus
        self.comparisons = comparisons
        self.limit = limit


class EntryQuarantined(CorpusError):
    def __init__(self, entry_id: int, corpus: str) -> None:
        super().__init__(
            f"this image is in quarantine in the corpus {corpus!r}: release entry {entry_id} first"
        )
        self.entry_id = entry_id
        self.corpus = corpus


class NotQuarantined(CorpusError):
    def __init__(self, entry_id: int) -> None:
        super().__init__(f"entry {entry_id} is not in quarantine")
        self.entry_id = entry_id


class JobStateConflict(CorpusError):
    def __init__(self, job_id: int, state: str, wanted: str) -> None:
        super().__init__(f"job {job_id} is {state}, so it cannot become {wanted}")
        self.job_id = job_id
        self.state = state
        self.wanted = wanted


class LeaseLost(CorpusError):
    """A worker was too slow, or its job was cancelled; its results must not be committed."""

    def __init__(self, job_id: int, number: int) -> None:
        super().__init__(f"another worker has taken over chunk {number} of job {job_id}")
        self.job_id = job_id
        self.number = number


class InvalidInput(CorpusError):
    """A value that is never accepted; `reason` says why, without repeating the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidCorpusName(InvalidInput):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not a corpus name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', and begin "
            f"with a letter or a digit"
        )
        self.name = name


class InvalidFilter(InvalidInput):
    """A filter has an impossible value, or a number of results is below one."""


class InvalidVector(InvalidInput):
    """An embedding or a logit is not usable: wrong shape, not finite, or a norm other than 1."""


class InvalidProvenance(InvalidInput):
    """Provenance that one of the databases cannot store and return unchanged."""


class InvalidReason(InvalidInput):
    """The reason for a quarantine is empty or too long."""


class InvalidComputation(InvalidInput):
    """The name of a device or of a precision is none."""


class InvalidImageFacts(InvalidInput):
    """Facts about an image are impossible."""


class InvalidDatabaseUrl(InvalidInput):
    """The URL is not one of a database that Lineup supports."""


class ForeignSpace(CorpusError):
    """An embedding belongs to another space; vectors of two spaces are never compared."""

    def __init__(self, expected: str, given: str) -> None:
        super().__init__(
            f"the embedding is of the embedding space {given[:16]}, but {expected[:16]} is needed: "
            f"embed with the same model"
        )
        self.expected = expected
        self.given = given


class StorageFull(CorpusError):
    """A disk or a quota has no room; what was to be written is not there, not even a part of it."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"there is no room to store {what}: {reason}; free some space, then retry")
        self.what = what
        self.reason = reason


class DatabaseError(CorpusError):
    """The database cannot be used."""


class DatabaseUnavailable(DatabaseError):
    """It may answer again after `retry_after_seconds`."""

    retry_after_seconds = 5  # a fast restart of PostgreSQL takes some seconds

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is unavailable: {reason}")
        self.reason = reason


class DatabaseDamaged(DatabaseError):
    """A page of the database, or a value in it, is not what Lineup wrote.

    `place` names the file, or a table and its row.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"{place} is damaged: {reason}; `lineup fsck` finds what else is, and `lineup restore` "
            f"writes a backup back"
        )
        self.place = place
        self.reason = reason


class DatabaseBusy(DatabaseUnavailable):
    """A lock, a statement or a free connection took longer than the settings allow."""

    retry_after_seconds = 2  # what holds a lock or a connection mostly ends within a second


class DatabaseReadOnly(DatabaseError):
    """The database takes no writes: it is a replica, or Lineup was told not to write."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database takes no writes: {reason}")
        self.reason = reason


class DatabaseRefused(DatabaseError):
    """The server refuses what Lineup needs; an operator has to change something first."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database refuses: {reason}")
        self.reason = reason


class NoData(DatabaseError):
    """There is no SQLite file, or the database has none of Lineup's tables."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; run `lineup init` to create it")
        self.reason = reason


class SchemaOutdated(DatabaseError):
    """The database has the schema of an older or newer release."""

    def __init__(self, current: str, expected: str, *, newer: bool = False) -> None:
        super().__init__(
            f"the database has schema {current}, which is of a newer Lineup: upgrade Lineup"
            if newer
            else f"the database has schema {current}, this Lineup needs {expected}: "
            f"run `lineup init` to upgrade the database"
        )
        self.current = current
        self.expected = expected
        self.newer = newer


class TruthDamaged(CorpusError):
    """The rows contradict the change log, so no answer can be trusted."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database contradicts its own change log: {reason}; run `lineup fsck` to find the "
            f"rows"
        )
        self.reason = reason


class SnapshotError(CorpusError):
    """An error of the index files, which are only a cache of the database."""


class SnapshotCorrupt(SnapshotError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the snapshot {path} cannot be used: {reason}")
        self.path = path
        self.reason = reason


class IndexDirectoryUnwritable(SnapshotError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the folder {path} cannot take a snapshot: {reason}")
        self.path = path
        self.reason = reason


class BlobCorrupt(CorpusError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the thumbnail {path} cannot be used: {reason}")
        self.path = path
        self.reason = reason


class BackupError(CorpusError):
    """An error of a backup archive or of restoring one."""


class BackupExists(BackupError):
    def __init__(self, archive: Path) -> None:
        super().__init__(f"the file {archive} exists already: use --force to replace it")
        self.archive = archive


class BackupUnwritable(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"the backup {archive} cannot be written: {reason}")
        self.archive = archive
        self.reason = reason


class BackupUnreadable(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"the backup {archive} cannot be read: {reason}")
        self.archive = archive
        self.reason = reason


class NotABackup(BackupError):
    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(f"{archive} is not a backup of Lineup: {reason}")
        self.archive = archive
        self.reason = reason


class BackupCorrupt(BackupError):
    """The archive is damaged: `member` names the damaged part, `reason` says what is wrong."""

    def __init__(self, archive: Path, member: str, reason: str) -> None:
        super().__init__(f"the backup {archive} is damaged at {member!r}: {reason}")
        self.archive = archive
        self.member = member
        self.reason = reason


class BackupTooNew(BackupError):
    def __init__(self, archive: Path, what: str) -> None:
        super().__init__(
            f"the backup {archive} has {what}, which is of a newer Lineup: upgrade Lineup"
        )
        self.archive = archive
        self.what = what


class RestoreTargetNotEmpty(BackupError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: restore into an empty database; nothing was changed")
        self.what = what


class RestoreUnwritable(BackupError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}; nothing was restored")
        self.path = path
        self.reason = reason
