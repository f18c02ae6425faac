"""`lineup evaluate`: what it refuses before it measures. Its figures are tested with real images in
`tests/functional/test_evaluate.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from api.terminal.evaluate import ALL, parse_conditions
from embedder.pictures.delivery import Condition
from tests.api.terminal.commands import assert_one_line, run, write_image


@pytest.mark.parametrize(
    ("names", "conditions"),
    [
        ([], []),
        (["jpeg75", "half"], ["jpeg75", "half"]),
        ([ALL], [each.value for each in Condition if each is not Condition.AS_IS]),
        (["fax"], ["fax"]),
    ],
)
def test_all_stands_for_every_reencoding(names: list[str], conditions: list[str]) -> None:
    assert parse_conditions(names) == conditions


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (("missing",), 4, "missing: no such file or folder"),
        (("images", "--condition", "fax"), 4, "fax"),
        (("images", "--pattern", "{label"), 4, "pattern"),
        (("images",), 4, "real"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "images" / "real" / "a.png", 1)
    assert_one_line(run(tmp_path / "data", "evaluate", *words), exit_code, message)
    assert not (tmp_path / "evaluation" / "evaluation.json").exists()
    assert not (tmp_path / "data").exists()


def test_an_evaluation_that_exists_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text("{}")
    (tmp_path / "images").mkdir()

    assert_one_line(run(tmp_path / "data", "evaluate", "images"), 5, "--force")
    assert (tmp_path / "evaluation" / "evaluation.json").read_text() == "{}"
