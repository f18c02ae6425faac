"""An explanation of how the index of a space answers now: the plan in words, with its figures."""

from __future__ import annotations

from dataclasses import dataclass

from index.cache.live import LiveIndex
from index.cache.plans.comparison import Comparison
from index.cache.plans.config import IndexConfig, Plan
from index.cache.plans.recall import Tuning
from index.cache.segments.sealed import TunedCodes, plan_of
from index.cache.snapshots.manifest import Manifest
from index.truth.spaces import Space


@dataclass(frozen=True, slots=True)
class IndexState:
    """An opened index, explained.

    `rows` are positions in the sealed segment; `dead` those of removed entries; `growing` the
    entries added since the sealed segment was written. `nlist`, `code_bytes` and `tuning` are None
    without codes. `comparison` has the figures of every plan, None if they were not measured.
    """

    space: Space
    plan: Plan
    reason: str
    entries: int
    rows: int
    dead: int
    growing: int
    generation: int
    snapshot_generation: int | None
    nlist: int | None
    code_bytes: int | None
    tuning: Tuning | None
    comparison: Comparison | None


def explain(live: LiveIndex) -> IndexState:
    """Return what an index answers searches from now."""
    current = live.current
    view, tuned = current.view, current.view.sealed.tuned
    plan = plan_of(tuned)
    manifest = current.manifest
    return IndexState(
        space=live.space,
        plan=plan,
        reason=_reason(plan, view.sealed.size, tuned, manifest, live.config),
        entries=view.count,
        rows=view.sealed.size,
        dead=view.dead,
        growing=view.growing.size,
        generation=view.generation,
        snapshot_generation=manifest.generation if manifest else None,
        nlist=tuned.codes.nlist if tuned else None,
        code_bytes=tuned.codes.code_bytes if tuned else None,
        tuning=tuned.tuning if tuned else None,
        comparison=manifest.comparison if manifest else None,
    )


def _reason(
    plan: Plan,
    rows: int,
    tuned: TunedCodes | None,
    manifest: Manifest | None,
    config: IndexConfig,
) -> str:
    if tuned is not None:
        return _describe_reach(plan, tuned)
    if rows <= config.flat_limit:
        return f"up to {config.flat_limit:,} entries every vector is compared, exactly"
    if manifest is None or not manifest.trained_rows:
        return (
            "codes are not trained yet, so every vector is compared; `lineup index build` or a "
            "running server trains them"
        )
    compared = manifest.comparison
    if compared and any(each.milliseconds for each in compared.plans if each.plan != Plan.FLAT):
        return "every vector is compared, exactly, because codes are not quicker enough"
    return (
        "codes are not used: at every reach that was tried, recall stayed below "
        f"{config.recall_target}"
    )


def _describe_reach(plan: Plan, tuned: TunedCodes) -> str:
    tuning = tuned.tuning
    measured = (
        f"{tuning.candidates:,} candidates are compared exactly: recall@{tuning.k} is "
        f"{tuning.recall:.4f} on {tuning.probes} probes"
    )
    if plan is Plan.CODES:
        return (
            f"all codes are read, because fewer lists were not quicker at that recall; {measured}"
        )
    verb = "is" if tuning.nprobe == 1 else "are"
    return f"{tuning.nprobe:,} of {tuned.codes.nlist:,} lists {verb} read; {measured}"
