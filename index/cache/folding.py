"""When a view is written as a snapshot, when dead positions are reclaimed, when codes are
trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from index.cache.config import IndexConfig
from index.cache.snapshots import Manifest
from index.cache.view import View


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """A snapshot is due when more than `minimum` positions, and more than `fraction` of the base,
    are not in it.

    Positions not in it: the tail, new tombstones, and a base that was built in memory. A tail is
    compared exactly: 4,096 vectors of 384 take about half a millisecond, and are replayed in a
    tenth of a second. Vectors are appended, so folding a hundredth writes little more than the
    codes and facts of all, 80 bytes each.
    """

    minimum: int = 4096
    fraction: float = 0.01

    def due(self, view: View, manifest: Manifest | None) -> bool:
        """Whether to write a snapshot of a view that stands on this one."""
        saved, dead = (view.base.size, manifest.rows - manifest.count) if manifest else (0, 0)
        unwritten = view.base.size - saved + view.tail.size + view.dead - dead
        return unwritten > max(self.minimum, self.fraction * view.base.size)

    def compaction_due(self, view: View, config: IndexConfig) -> bool:
        """Whether so many positions are dead that the next snapshot is written without them."""
        return view.dead > max(self.minimum, config.compact_fraction * view.base.size)


DEFAULT_FOLDING = FoldPolicy()


def codes_due(manifest: Manifest | None, config: IndexConfig) -> bool:
    """Whether codes are to be trained, for the first time or for a corpus that has outgrown
    theirs.
    """
    if manifest is None or manifest.count <= config.flat_limit:
        return False
    return manifest.rows >= config.retrain_growth * manifest.trained_rows


def measuring_due(manifest: Manifest | None, config: IndexConfig) -> bool:
    """Whether the corpus has outgrown the recall that was measured on it."""
    if manifest is None or manifest.tuning is None:
        return False
    return manifest.rows >= config.measure_growth * manifest.tuning.rows
