"""The choice of a plan: every plan is measured, the quickest that has the recall is taken."""

from dataclasses import replace

import numpy as np
import pytest

from index.cache.plans.config import IndexConfig, Plan
from index.cache.segments.sealed import plan_of
from index.cache.snapshots.planning import Choice, choose_plan
from index.cache.vectors.codes import Codes
from index.cache.vectors.marks import Marks
from tests.index.cache.samples import clustered_rows, sealed_of

CONFIG = IndexConfig(recall_probes=40)
NEVER_EXACT, ALWAYS_EXACT = replace(CONFIG, exact_allowance=0), replace(CONFIG, exact_allowance=1e9)
ROWS = clustered_rows(2000)
NONE = ROWS[:0]


def codes_of(nlist: int) -> Codes:
    codes = Codes.train(ROWS, nlist, threads=1)
    codes.add([ROWS], threads=1)
    return codes


def choose(config: IndexConfig, nlist: int = 8, live: Marks | None = None) -> Choice:
    return choose_plan(sealed_of(ROWS), live, codes_of(nlist), NONE, config)


def test_a_recall_that_codes_cannot_reach_leaves_the_exact_plan() -> None:
    config = replace(NEVER_EXACT, recall_target=1.0, recall_k=450)
    choice = choose(config)
    assert choice.tuned is None
    flat, codes, lists = choice.comparison.plans
    assert flat.milliseconds is not None
    assert (codes.milliseconds, lists.milliseconds) == (None, None)
    assert (codes.nprobe, codes.candidates) == (None, None)
    assert 0 < lists.recall <= codes.recall < 1.0


def test_every_plan_is_measured_and_has_the_recall() -> None:
    comparison = choose(CONFIG).comparison
    assert [each.plan for each in comparison.plans] == [Plan.FLAT, Plan.CODES, Plan.LISTS]
    assert (comparison.rows, comparison.k, comparison.recall_target) == (2000, 10, 0.99)
    assert all(each.recall >= 0.99 for each in comparison.plans)
    assert all(each.milliseconds is not None for each in comparison.plans)
    flat, codes, lists = comparison.plans
    assert (flat.recall, flat.nprobe, flat.candidates) == (1.0, None, None)
    assert codes.nprobe == 8
    assert lists.nprobe is not None
    assert 1 <= lists.nprobe < 8


def test_the_quickest_plan_is_taken() -> None:
    choice = choose(NEVER_EXACT)
    assert choice.tuned is not None
    taken = choice.comparison.of(plan_of(choice.tuned))
    assert taken is not None
    assert taken.milliseconds is not None
    others = [each for each in choice.comparison.plans if each.plan is not Plan.FLAT]
    assert all(each.milliseconds >= taken.milliseconds for each in others if each.milliseconds)
    tuning = choice.tuned.tuning
    assert (tuning.nprobe, tuning.candidates) == (taken.nprobe, taken.candidates)
    assert (tuning.recall, tuning.rows) == (taken.recall, 2000)


def test_the_exact_plan_is_taken_where_it_is_only_a_little_slower() -> None:
    assert choose(ALWAYS_EXACT).tuned is None


def test_one_list_has_no_nearest_lists() -> None:
    assert [each.plan for each in choose(CONFIG, nlist=1).comparison.plans] == [
        Plan.FLAT,
        Plan.CODES,
    ]


@pytest.mark.parametrize("config", [NEVER_EXACT, ALWAYS_EXACT])
def test_removed_positions_are_measured_around(config: IndexConfig) -> None:
    live = Marks(np.arange(2000) % 3 > 0)
    comparison = choose(config, live=live).comparison
    assert all(each.recall >= 0.99 for each in comparison.plans)
    assert comparison.rows == 2000
