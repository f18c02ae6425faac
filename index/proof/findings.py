"""The findings of `fsck`: one kind for each way in which truth and cache can disagree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """A kind of inconsistency. Missing or superfluous files are not faults; see `is_fault`."""

    DATABASE_DAMAGED = "database_damaged"  # the database's own check of its pages or keys
    COUNTER_MISMATCH = "counter_mismatch"  # the counter differs from the last change's number
    CHANGE_GAP = "change_gap"  # a number is missing
    CHANGE_WITHOUT_ENTRY = "change_without_entry"
    CHANGE_UNKNOWN_SPACE = "change_unknown_space"
    CHANGE_DIGEST = "change_digest"  # it states another digest than its members have
    REMOVE_WITHOUT_ADD = "remove_without_add"
    LIVE_NOT_LOGGED = "live_not_logged"  # the log never adds a live entry that has an embedding
    LIVE_BUT_LOGGED_REMOVED = "live_but_logged_removed"
    REMOVED_NOT_LOGGED = "removed_not_logged"
    LIVE_DIGEST = "live_digest"  # the live rows have another digest than the log states
    ENTRY_NOT_EMBEDDED = "entry_not_embedded"
    ENTRY_WITHOUT_IMAGE = "entry_without_image"
    ENTRY_WITHOUT_CORPUS = "entry_without_corpus"
    EMBEDDING_WITHOUT_IMAGE = "embedding_without_image"
    EMBEDDING_UNKNOWN_SPACE = "embedding_unknown_space"
    VECTOR_LENGTH = "vector_length"
    VECTOR_NOT_FINITE = "vector_not_finite"
    VECTOR_NORM = "vector_norm"
    LOGIT_NOT_FINITE = "logit_not_finite"
    LOGIT_UNEXPECTED = "logit_unexpected"  # a copy descriptor has none
    COPY_VECTOR_MISSING = "copy_vector_missing"  # of live entries, in the active copy space
    CALIBRATION_DIGEST = "calibration_digest"  # its document was changed after it was stored
    LOOKUP_ANSWER = "lookup_answer"  # it is not the answer of which it states the digest
    EMBEDDING_UNKNOWN_COMPUTATION = "embedding_unknown_computation"
    # a corpus does not list what computed one of its embeddings, so look-ups do not state it
    COMPUTATION_NOT_LISTED = "computation_not_listed"
    IMAGE_ORPHAN = "image_orphan"  # it has no entry, live or removed, and no embedding
    SNAPSHOT_UNREADABLE = "snapshot_unreadable"
    SNAPSHOT_FOREIGN = "snapshot_foreign"
    SNAPSHOT_AHEAD = "snapshot_ahead"
    SNAPSHOT_DIGEST = "snapshot_digest"
    SNAPSHOT_FILE = "snapshot_file"
    SNAPSHOT_FACTS = "snapshot_facts"  # facts or hashes beside the vectors differ from the rows
    THUMBNAIL_MISSING = "thumbnail_missing"
    THUMBNAIL_ORPHAN = "thumbnail_orphan"
    ORIGINAL_MISSING = "original_missing"
    ORIGINAL_ORPHAN = "original_orphan"
    FEATURES_MISSING = "features_missing"
    FEATURES_ORPHAN = "features_orphan"
    UPLOAD_ORPHAN = "upload_orphan"  # no job needs it any more
    LEFTOVER_FILE = "leftover_file"

    @property
    def is_remark(self) -> bool:
        """Whether it only says what could be added; nothing is missing that was ever there."""
        return self in (FindingKind.COPY_VECTOR_MISSING, FindingKind.FEATURES_MISSING)

    @property
    def is_fault(self) -> bool:
        """Whether it shows damage or a defect. Interrupted runs and imports of ready embeddings
        leave only findings that are not faults.
        """
        return self not in _NO_FAULTS


_NO_FAULTS = (
    FindingKind.THUMBNAIL_MISSING,
    FindingKind.THUMBNAIL_ORPHAN,
    FindingKind.ORIGINAL_MISSING,
    FindingKind.ORIGINAL_ORPHAN,
    FindingKind.FEATURES_MISSING,
    FindingKind.FEATURES_ORPHAN,
    FindingKind.UPLOAD_ORPHAN,
    FindingKind.LEFTOVER_FILE,
    FindingKind.COPY_VECTOR_MISSING,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One inconsistency: its kind, the row or file, a message, and whether this run repaired it."""

    kind: FindingKind
    item: str
    message: str
    repaired: bool = False
