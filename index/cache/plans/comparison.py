"""The figures of the plans of one index: what each costs and finds, as measured when it was built.

Values only. `index.cache.snapshots.planning` measures them and chooses; the manifest keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from index.cache.plans.config import Plan


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """One plan, at its quickest reach that has the required recall.

    `milliseconds`: the median time of a search for k neighbours by one thread, rows from SQL not
    included. None if the plan cannot reach the required recall; `recall` is then the most that was
    seen of it. `nprobe` lists are read and `candidates` compared exactly; both are None for `flat`,
    which compares every vector.
    """

    plan: Plan
    recall: float
    milliseconds: float | None
    nprobe: int | None = None
    candidates: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The plans of an index side by side, in one measurement.

    `rows` is the size of the sealed segment, `recall_target` what a plan had to reach,
    `measured_at` a time in ISO 8601, UTC.
    """

    plans: tuple[PlanFigures, ...]
    rows: int
    k: int
    recall_target: float
    measured_at: str

    @classmethod
    def from_json(cls, stated: dict[str, Any]) -> Self:
        """Raise KeyError, TypeError or ValueError unless every field has a value."""
        plans = (figures | {"plan": Plan(figures["plan"])} for figures in stated["plans"])
        return cls(**(stated | {"plans": tuple(PlanFigures(**each) for each in plans)}))

    def of(self, plan: Plan) -> PlanFigures | None:
        """Return the figures of a plan, None if it was not measured."""
        return next((figures for figures in self.plans if figures.plan is plan), None)
