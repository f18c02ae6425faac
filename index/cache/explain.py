"""What the index of a space does now and why: the plan in words, with the figures behind it."""

from __future__ import annotations

from dataclasses import dataclass

from index.cache.config import IndexConfig, Plan
from index.cache.live import LiveIndex
from index.cache.recall import Tuning
from index.cache.sealed import TunedCodes
from index.cache.snapshots import plan_of
from index.truth.spaces import Space


@dataclass(frozen=True, slots=True)
class IndexState:
    """An opened index, explained.

    `rows` are positions in the base, `dead` those of removed entries, `tail` entries added since
    the base was written; `nlist`, `code_bytes` and `tuning` are None without codes.
    """

    space: Space
    plan: Plan
    reason: str
    entries: int
    rows: int
    dead: int
    tail: int
    generation: int
    snapshot_generation: int | None
    nlist: int | None
    code_bytes: int | None
    tuning: Tuning | None


def explain(live: LiveIndex) -> IndexState:
    """Return what an index is answered from now."""
    held = live.held
    view, tuned = held.view, held.view.base.tuned
    plan = plan_of(tuned)
    return IndexState(
        space=live.space,
        plan=plan,
        reason=_reason(
            plan,
            view.base.size,
            held.manifest.trained_rows if held.manifest else 0,
            tuned,
            live.config,
        ),
        entries=view.count,
        rows=view.base.size,
        dead=view.dead,
        tail=view.tail.size,
        generation=view.generation,
        snapshot_generation=held.manifest.generation if held.manifest else None,
        nlist=tuned.codes.nlist if tuned else None,
        code_bytes=tuned.codes.code_bytes if tuned else None,
        tuning=tuned.tuning if tuned else None,
    )


def _reason(
    plan: Plan, rows: int, trained_rows: int, tuned: TunedCodes | None, config: IndexConfig
) -> str:
    if tuned is None:
        if rows <= config.flat_limit:
            return f"up to {config.flat_limit:,} entries every vector is compared, exactly"
        if trained_rows:
            return (
                f"codes were given up: however far they reached, recall stayed below "
                f"{config.recall_target}"
            )
        return (
            "codes are not trained yet, so every vector is compared; `lineup index build` or a "
            "running server does it"
        )
    tuning = tuned.tuning
    found = (
        f"{tuning.candidates:,} candidates are compared exactly: recall@{tuning.k} "
        f"{tuning.recall:.4f} on "
        f"{tuning.probes} probes"
    )
    if plan is Plan.CODES:
        return f"all codes are read, fewer lists were not quicker at that recall; {found}"
    return f"{tuning.nprobe:,} of {tuned.codes.nlist:,} lists are read; {found}"
