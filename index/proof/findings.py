"""What `fsck` can find: one name for each way in which truth and cache can disagree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """A kind of inconsistency.

    Names starting with `thumbnail_` and `leftover_` are no faults, only untidy.
    """

    DATABASE_DAMAGED = "database_damaged"  # the database's own check of its pages or keys
    COUNTER_MISMATCH = "counter_mismatch"  # the counter is not the number of the last change
    CHANGE_GAP = "change_gap"  # a number is missing
    CHANGE_WITHOUT_ENTRY = "change_without_entry"
    CHANGE_UNKNOWN_SPACE = "change_unknown_space"
    CHANGE_DIGEST = "change_digest"  # the digest stated is not that of the members at that change
    REMOVE_WITHOUT_ADD = "remove_without_add"
    LIVE_NOT_LOGGED = "live_not_logged"  # a live entry whose embedding never came into the log
    LIVE_BUT_LOGGED_REMOVED = "live_but_logged_removed"
    REMOVED_NOT_LOGGED = "removed_not_logged"
    LIVE_DIGEST = "live_digest"  # the live rows are not the members that the log states
    ENTRY_NOT_EMBEDDED = "entry_not_embedded"
    ENTRY_WITHOUT_IMAGE = "entry_without_image"
    ENTRY_WITHOUT_CORPUS = "entry_without_corpus"
    EMBEDDING_WITHOUT_IMAGE = "embedding_without_image"
    EMBEDDING_UNKNOWN_SPACE = "embedding_unknown_space"
    VECTOR_LENGTH = "vector_length"
    VECTOR_NOT_FINITE = "vector_not_finite"
    VECTOR_NORM = "vector_norm"
    LOGIT_NOT_FINITE = "logit_not_finite"
    CALIBRATION_DIGEST = "calibration_digest"  # its document is not the one that was stored
    IMAGE_ORPHAN = "image_orphan"  # in no entry, live or removed, and without an embedding
    SNAPSHOT_UNREADABLE = "snapshot_unreadable"
    SNAPSHOT_FOREIGN = "snapshot_foreign"
    SNAPSHOT_AHEAD = "snapshot_ahead"
    SNAPSHOT_DIGEST = "snapshot_digest"
    SNAPSHOT_FILE = "snapshot_file"
    SNAPSHOT_FACTS = "snapshot_facts"  # what filters go by is not what the rows say
    THUMBNAIL_MISSING = "thumbnail_missing"
    THUMBNAIL_ORPHAN = "thumbnail_orphan"
    ORIGINAL_MISSING = "original_missing"
    ORIGINAL_ORPHAN = "original_orphan"
    LEFTOVER_FILE = "leftover_file"

    @property
    def is_fault(self) -> bool:
        """Whether it shows damage or a defect, rather than what an interrupted run or a ready
        embedding may leave.
        """
        return self not in _NO_FAULTS


_NO_FAULTS = (
    FindingKind.THUMBNAIL_MISSING,
    FindingKind.THUMBNAIL_ORPHAN,
    FindingKind.ORIGINAL_MISSING,
    FindingKind.ORIGINAL_ORPHAN,
    FindingKind.LEFTOVER_FILE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One inconsistency: what kind, in which row or file, in words, and whether this run repaired
    it.
    """

    kind: FindingKind
    item: str
    message: str
    repaired: bool = False
