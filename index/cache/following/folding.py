"""When maintenance is due: writing a view as a snapshot, reclaiming dead positions, training codes,
measuring recall.
"""

from __future__ import annotations

from dataclasses import dataclass

from index.cache.plans.config import IndexConfig
from index.cache.searching.pictures import ReadHashes
from index.cache.segments.view import View
from index.cache.snapshots.manifest import Manifest
from index.cache.vectors.codes import FEWEST_TRAINED


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """A snapshot is due when the last one lacks more than `minimum` positions, and more than
    `fraction` of the sealed segment.

    It lacks the growing segment, later tombstones, and a sealed segment that was built in memory.
    The growing segment is always compared exactly: 4,096 vectors of 384 dimensions take about half
    a millisecond, and replaying them takes a tenth of a second. Vectors are appended to their file,
    so a snapshot of one hundredth more writes little more than the codes and facts of all entries,
    80 bytes each.

    `growing_bytes`: when very many entries are added, the growing segment is written as a snapshot
    at this size. `quiet_seconds`: recall is measured again when nothing has changed for this long,
    because measuring takes a core from searches and writers.
    """

    minimum: int = 4096
    fraction: float = 0.01
    growing_bytes: int = 2**27
    quiet_seconds: float = 1.0

    def is_due(self, view: View, manifest: Manifest | None) -> bool:
        """Return whether to write a snapshot of a view; `manifest` is its last snapshot's."""
        saved, dead = (view.sealed.size, manifest.rows - manifest.count) if manifest else (0, 0)
        unwritten = view.sealed.size - saved + view.growing.size + view.dead - dead
        return unwritten > max(self.minimum, self.fraction * view.sealed.size)

    def are_hashes_due(self, hashes: ReadHashes) -> bool:
        """Return whether to write hashes beside the snapshot, since it lacks many of them."""
        lacking = len(hashes.held) - hashes.saved
        return lacking > max(self.minimum, self.fraction * hashes.saved)

    def is_compaction_due(self, view: View, config: IndexConfig) -> bool:
        """Return whether the dead positions are so numerous that a snapshot leaves them out."""
        return view.dead > max(self.minimum, config.compact_fraction * view.sealed.size)


DEFAULT_FOLDING = FoldPolicy()


def is_training_due(manifest: Manifest | None, config: IndexConfig) -> bool:
    """Return whether to train codes: for the first time, or because the corpus has outgrown
    them.
    """
    if manifest is None or manifest.count <= max(config.flat_limit, FEWEST_TRAINED - 1):
        return False
    return manifest.rows >= config.retrain_growth * manifest.trained_rows


def is_measuring_due(manifest: Manifest | None, config: IndexConfig) -> bool:
    """Return whether the corpus has outgrown the measurement of recall, or an earlier release
    measured it, which did not compare the plans.
    """
    if manifest is None or manifest.tuning is None:
        return False
    if manifest.comparison is None:
        return True
    return manifest.rows >= config.measure_growth * manifest.tuning.rows
