from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from embedder.network.device import EXACT, Placement, Precision
from embedder.network.embed import Embedder
from embedder.network.kept_checks import CheckKey, find_check, keep_check, make_key
from embedder.network.panel import PanelCheck

ModelWriter = Callable[..., Path]
AtForward = Callable[[Callable[[int, torch.dtype], object]], None]

BFLOAT16 = replace(EXACT, precision=Precision.BFLOAT16)
CHECK = PanelCheck("bfloat16", "cpu", 31, 0.99999, 0.0125, accepted=True)


@pytest.fixture
def key() -> CheckKey:
    return make_key("f" * 64, BFLOAT16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "precision"


def test_what_was_kept_is_found_and_leaves_no_other_file(folder: Path, key: CheckKey) -> None:
    keep_check(folder, key, CHECK)
    assert find_check(folder, key, "cpu") == CHECK
    assert [path.name for path in folder.iterdir()] == [key.file_name]


@pytest.mark.parametrize(
    "changes",
    [
        {"space_fingerprint": "e" * 64},
        {"precision": "float16"},
        {"hardware": "another processor"},
        {"torch": "9.9.9"},
        {"panel": "0" * 64},
        {"code": "0" * 64},
    ],
)
def test_a_check_of_anything_else_is_not_found(
    folder: Path, key: CheckKey, changes: dict[str, str]
) -> None:
    keep_check(folder, key, CHECK)
    assert find_check(folder, replace(key, **changes), "cpu") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 0},
        {"smallest_cosine": 1.5},
        {"smallest_cosine": None},
        {"largest_logit_difference": -1},
        {"largest_logit_difference": float("nan")},
        {"torch": "of another check"},
        {"hardware": None},
    ],
)
def test_a_file_with_impossible_figures_or_of_another_check_is_not_used(
    folder: Path, key: CheckKey, changes: dict[str, object]
) -> None:
    keep_check(folder, key, CHECK)
    path = folder / key.file_name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert find_check(folder, key, "cpu") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": 3}', "\x00"])
def test_a_broken_file_is_not_used(folder: Path, key: CheckKey, content: str) -> None:
    folder.mkdir()
    (folder / key.file_name).write_text(content)
    assert find_check(folder, key, "cpu") is None


def test_whether_it_is_accepted_is_judged_by_todays_limits(folder: Path, key: CheckKey) -> None:
    keep_check(folder, key, replace(CHECK, smallest_cosine=0.98))
    found = find_check(folder, key, "cpu")
    assert found is not None
    assert not found.accepted


def test_nothing_is_kept_where_there_is_no_data_folder(tmp_path: Path, key: CheckKey) -> None:
    keep_check(tmp_path / "none" / "precision", key, CHECK)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, key: CheckKey) -> None:
    (tmp_path / "precision").write_text("a file where the folder should be")
    keep_check(tmp_path / "precision", key, CHECK)
    assert find_check(tmp_path / "precision", key, "cpu") is None


def test_a_model_is_compared_once_and_then_loads_without_a_forward(
    tmp_path: Path, model_writer: ModelWriter, at_forward: AtForward
) -> None:
    model = model_writer(tmp_path / "model", seed=901)
    types: list[torch.dtype] = []
    at_forward(lambda _, dtype: types.append(dtype))

    def load() -> Embedder:
        return Embedder.load(
            model, device="cpu", precision="bfloat16", checks_dir=tmp_path / "precision"
        )

    first = load()
    assert set(types) == {torch.float32, torch.bfloat16}
    types.clear()
    second = load()
    assert types == []
    assert second.precision_check == first.precision_check
    assert first.precision_check is not None
    (kept,) = (tmp_path / "precision").iterdir()
    assert json.loads(kept.read_text())["images"] == first.precision_check.images


def test_another_process_reads_what_this_one_kept(
    tmp_path: Path, model_writer: ModelWriter
) -> None:
    """The figures in the file are taken, whatever they are: they are not computed again."""
    model = model_writer(tmp_path / "model", seed=902)
    fingerprint = Embedder.load(model, device="cpu", precision="float32").info.space_fingerprint
    placement: Placement = BFLOAT16
    keep_check(tmp_path / "precision", make_key(fingerprint, placement), CHECK)
    embedder = Embedder.load(
        model, device="cpu", precision="bfloat16", checks_dir=tmp_path / "precision"
    )
    assert embedder.precision_check == CHECK
