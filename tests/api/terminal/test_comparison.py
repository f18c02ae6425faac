"""`lineup models compare`: what it prints, and how it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.evaluation.comparing import compare_by_generator, compare_images
from api.evaluation.comparison_json import ComparedModel, ComparisonAnswer
from api.evaluation.request import EvaluationRequest
from api.fields import FailedItem
from api.terminal.comparison import print_comparison
from tests.api.evaluation.test_comparing import MODEL, paired
from tests.api.terminal.commands import assert_one_line, run

Capture = pytest.CaptureFixture[str]


def answer_of(a: ComparedModel, b: ComparedModel) -> ComparisonAnswer:
    images = paired(1.0, 2.0)
    return ComparisonAnswer(
        lineup_version="0",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        seconds=1.0,
        request=EvaluationRequest(source="/images"),
        a=a,
        b=b,
        by_delivery=[
            compare_images("as_is", images, 0),
            compare_images("jpeg50", paired(1.0, 1.0), 0),
            compare_images("half", paired(1.0, 2.0, n=5), 0),
        ],
        by_generator=compare_by_generator(images, 0),
        failures=[],
    )


def test_a_difference_has_its_interval_and_a_star_where_it_is_told_from_0(capsys: Capture) -> None:
    failed = [FailedItem(name="x.png", reason="too_small", detail="it is too small")]
    b = MODEL.model_copy(update={"model": "new", "caution": "Be careful.", "failures": failed})
    print_comparison(answer_of(MODEL, b))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A  m (2222222222222222), float32 on cpu")
    assert lines[1].startswith("B  new")
    assert lines[2].strip() == "Be careful."
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["as_is"].count("*") == 3
    assert "(+0.1" in rows["as_is"]
    assert rows["jpeg50"].count("+0.000 (+0.000 to +0.000)") == 3
    assert "*" not in rows["jpeg50"]
    assert rows["half"].split()[1:] == ["5", "—", "—", "—", "—", "—"]
    assert rows["gan"].split()[1] == "150"
    assert "B could not use 1 images, such as x.png: it is too small" in lines
    assert lines[-1].startswith("B - A with its 95 % interval")


def test_a_model_or_a_source_that_is_missing_ends_with_one_line(tmp_path: Path) -> None:
    missing = run(tmp_path / "data", "models", "compare", "builtin", "builtin", tmp_path / "none")
    assert_one_line(missing, 4, "no such file")
    wrong = run(
        tmp_path / "data", "models", "compare", "builtin", "builtin", tmp_path, "--condition", "fax"
    )
    assert_one_line(wrong, 4, "conditions")
    assert not (tmp_path / "data").exists()
