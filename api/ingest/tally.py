"""The items of a chunk counted by outcome, with a row for each item that did not simply succeed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.jobs.task import Added, AlreadyThere, ItemResult, NotTaken
from index.truth.adding import AddStatus, NewEntry
from index.truth.jobs.chunks import ChunkResult
from index.truth.jobs.items import JobItem, Outcome
from index.truth.jobs.job import JobCounts


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of the items of a chunk once its entries are written.

    `entries` gives by sha256 the entry that holds the image, and the job that added it. `near` and
    `statuses` go by position; an item without a status was left out. `quarantined` gives by sha256
    the entry in quarantine.
    """

    job_id: int
    entries: Mapping[str, tuple[int, int | None]]
    near: Mapping[int, int | None]
    statuses: Mapping[int, AddStatus]
    quarantined: Mapping[str, int]

    def count(self, results: Sequence[ItemResult[NewEntry]]) -> ChunkResult:
        """Return the counts and rows of a chunk."""
        outcomes = [self._outcome(result) for result in results]
        counts = Counter(outcome for outcome, _ in outcomes)
        rows = [row for _, row in outcomes if row is not None]
        reasons = Counter(row.reason for row in rows)
        return ChunkResult(
            JobCounts(
                added=counts[Outcome.ADDED],
                linked=counts[Outcome.LINKED],
                embedded=counts[Outcome.EMBEDDED],
                skipped=counts[Outcome.SKIPPED],
                failed=counts[Outcome.FAILED],
                duplicates=reasons["duplicate"],
                near_duplicates=len(self.near),
            ),
            rows,
        )

    def _outcome(self, result: ItemResult[NewEntry]) -> tuple[Outcome, JobItem | None]:
        if isinstance(result, NotTaken):
            return result.item.outcome, result.item
        if isinstance(result, AlreadyThere):
            return self._skipped(result, result.sha256)
        sha256 = result.content.image.sha256
        if sha256 in self.quarantined:
            return self._quarantined(result)
        if result.position in self.near:
            return self._near(result)
        status = self.statuses[result.position]
        if status is AddStatus.SKIPPED:
            return self._skipped(result, sha256)
        return Outcome(status.value), None

    def _skipped(
        self, result: Added[NewEntry] | AlreadyThere, sha256: str
    ) -> tuple[Outcome, JobItem]:
        # There is no entry where somebody has just removed it.
        entry_id, job_id = self.entries.get(sha256, (None, None))
        if entry_id is not None and job_id == self.job_id:
            reason, detail = "duplicate", "the same bytes came earlier in this source"
        else:
            reason, detail = "already_there", "the corpus already held these bytes"
        return Outcome.SKIPPED, JobItem(
            result.position, result.name, Outcome.SKIPPED, reason, detail, entry_id
        )

    def _quarantined(self, result: Added[NewEntry]) -> tuple[Outcome, JobItem]:
        entry_id = self.quarantined[result.content.image.sha256]
        detail = (
            "the corpus holds these bytes in quarantine; "
            f"`lineup release {entry_id}` brings them back"
        )
        return Outcome.SKIPPED, JobItem(
            result.position, result.name, Outcome.SKIPPED, "quarantined", detail, entry_id
        )

    def _near(self, result: Added[NewEntry]) -> tuple[Outcome, JobItem]:
        """Report a near duplicate, whether it was added or left out."""
        entry_id = self.near[result.position]
        other = f"entry {entry_id}" if entry_id is not None else "an item shortly before it"
        status = self.statuses.get(result.position)
        outcome = Outcome.SKIPPED if status is None else Outcome(status.value)
        return outcome, JobItem(
            result.position,
            result.name,
            outcome,
            "near_duplicate",
            f"the same picture as {other}, by perceptual hash",
            entry_id,
        )
