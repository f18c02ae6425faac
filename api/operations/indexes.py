"""The indexes of a database: explained, written and compacted. No model is needed."""

from __future__ import annotations

from collections.abc import Callable

from api.lineup import make_index_config, open_database
from api.operations.indexes_json import (
    IndexAnswer,
    IndexesAnswer,
    PlanComparisonAnswer,
    PlanFiguresAnswer,
)
from api.settings import Settings
from index.cache.explain import explain
from index.cache.live import LiveIndex
from index.cache.plans.config import Plan
from index.truth.spaces import list_spaces


def plan_indexes(settings: Settings) -> IndexesAnswer:
    """Explain how each index searches now. Raises `DatabaseError`, `TruthDamaged`."""
    return _work_on_each(settings, lambda _live: None)


def build_indexes(settings: Settings) -> IndexesAnswer:
    """Write each index to disk, and train its codes if they are due.

    Raises `IndexDirectoryUnwritable`, `DatabaseError`, `TruthDamaged`.
    """

    def build(live: LiveIndex) -> None:
        live.snapshot()
        live.settle()

    return _work_on_each(settings, build)


def compact_indexes(settings: Settings) -> IndexesAnswer:
    """Write each index without the positions of removed entries. Raises like `build_indexes`."""

    def compact(live: LiveIndex) -> None:
        live.compact()

    return _work_on_each(settings, compact)


def plan_index(index: LiveIndex) -> IndexAnswer:
    """Explain how an open index searches now."""
    return IndexAnswer.of(explain(index))


def describe_comparison(comparison: PlanComparisonAnswer) -> str:
    """Return the measured plans in words, with the time and the recall of each."""
    return "; ".join(_describe_figures(each, comparison.k) for each in comparison.plans)


def _describe_figures(figures: PlanFiguresAnswer, k: int) -> str:
    recall = f"recall@{k} {figures.recall:.4f}"
    if figures.milliseconds is None:
        return f"{figures.plan} reaches only {recall}"
    exactness = "exact" if figures.plan is Plan.FLAT else recall
    return f"{figures.plan} {figures.milliseconds:.3g} ms, {exactness}"


def _work_on_each(settings: Settings, work: Callable[[LiveIndex], None]) -> IndexesAnswer:
    answers = []
    with open_database(settings) as database:
        with database.read() as connection:
            spaces = list_spaces(connection)
        for space in spaces:
            with LiveIndex.open(
                database, space, settings.index_dir, config=make_index_config(settings)
            ) as live:
                work(live)
                answers.append(IndexAnswer.of(explain(live)))
    return IndexesAnswer(indexes=answers)
