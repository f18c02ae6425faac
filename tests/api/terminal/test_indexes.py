"""`lineup index plan`, `build` and `compact`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.operations.indexes_json import IndexAnswer, IndexesAnswer
from api.terminal.indexes import print_indexes
from tests.api.terminal.commands import answer, run

Capture = pytest.CaptureFixture[str]


def index(**changes: Any) -> IndexAnswer:
    facts = {
        "model": "builtin",
        "embedding_space": "0123456789abcdef" * 4,
        "plan": "flat",
        "reason": "up to 4,096 entries every vector is compared, exactly",
        "entries": 1140,
        "rows": 1200,
        "dead": 60,
        "tail": 5,
        "generation": 1205,
        "snapshot_generation": None,
        "nlist": None,
        "code_bytes": None,
        "recall": None,
    }
    return IndexAnswer(**{**facts, **changes})


def figures(**known: Any) -> dict[str, Any]:
    return {"milliseconds": None, "nprobe": None, "candidates": None, **known}


def test_an_index_is_told_by_plan_size_and_snapshot(capsys: Capture) -> None:
    print_indexes(IndexesAnswer(indexes=[index()]))

    assert capsys.readouterr().out.splitlines() == [
        "builtin, embedding space 0123456789abcdef",
        "  plan      flat: up to 4,096 entries every vector is compared, exactly",
        "  holds     1,140 entries at generation 1,205: 1,200 positions (60 belong to removed "
        "entries) and 5 entries added since it was written",
        "  snapshot  none",
    ]


def test_codes_are_told_with_their_recall(capsys: Capture) -> None:
    recall = {
        "k": 10,
        "recall": 0.9941,
        "probes": 512,
        "lookups": 0,
        "nprobe": 1,
        "candidates": 96,
        "rows": 1_000_000,
        "measured_at": datetime(2026, 11, 25, 0, 22, 22, tzinfo=UTC),
    }
    codes = index(plan="lists", nlist=1024, code_bytes=48, recall=recall, snapshot_generation=1200)
    print_indexes(IndexesAnswer(indexes=[codes]))
    lines = capsys.readouterr().out.splitlines()

    assert lines[3:] == [
        "  codes     48 bytes each; recall measured 2026-11-25 00:22:22 UTC on 1,000,000 positions",
        "  snapshot  generation 1,200",
    ]


def test_the_measured_plans_are_told_with_time_and_recall(capsys: Capture) -> None:
    comparison = {
        "plans": [
            {
                "plan": "flat",
                "recall": 1,
                "milliseconds": 53.94,
                "nprobe": None,
                "candidates": None,
            },
            {
                "plan": "codes",
                "recall": 0.97,
                "milliseconds": None,
                "nprobe": None,
                "candidates": None,
            },
            {
                "plan": "lists",
                "recall": 0.9941,
                "milliseconds": 0.0951,
                "nprobe": 1,
                "candidates": 96,
            },
        ],
        "rows": 1_000_000,
        "k": 10,
        "recall_target": 0.99,
        "measured_at": datetime(2026, 11, 30, 0, 22, 22, tzinfo=UTC),
    }
    print_indexes(IndexesAnswer(indexes=[index(comparison=comparison)]))
    lines = capsys.readouterr().out.splitlines()

    assert lines[3] == (
        "  measured  flat 53.9 ms, exact; codes reaches only recall@10 0.9700; lists 0.0951 ms, "
        "recall@10 0.9941; 2026-11-30 00:22:22 UTC on 1,000,000 positions"
    )


def test_there_may_be_no_index(tmp_path: Path) -> None:
    run(tmp_path, "init")
    assert run(tmp_path, "index", "plan").stdout == (
        "no embedding is stored yet, so there is no index\n"
    )


def test_the_index_is_planned_built_and_compacted(data: Path) -> None:
    (planned,) = answer(data, "index", "plan")["indexes"]
    (built,) = answer(data, "index", "build")["indexes"]
    (compacted,) = answer(data, "index", "compact")["indexes"]

    assert (planned["plan"], planned["entries"], planned["recall"]) == ("flat", 3, None)
    assert built["snapshot_generation"] == compacted["snapshot_generation"] == planned["generation"]
    assert "plan      flat" in run(data, "index", "plan").stdout
