"""An evaluation from a folder: what is refused before a model is used, and what is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from api.errors import InvalidRequest, NothingToEvaluate, SourceNotAllowed
from api.evaluation.request import EvaluationRequest
from api.evaluation.running import MOST_IMAGES, evaluate_for_client
from api.sources.item import UnusableSource
from embedder.network.embed import Embedder

NO_MODEL = cast("Embedder", None)  # using it would raise AttributeError


def fill(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 200), (number * 20 % 256, 10, 10)).save(folder / name)
    return folder


def ask(folder: Path, roots: list[str] | None = None, **words: Any) -> Any:
    request = EvaluationRequest(source=str(folder), **words)
    return evaluate_for_client(NO_MODEL, [str(folder)] if roots is None else roots, request)


def test_a_source_outside_of_the_roots_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for roots in ([], [str(tmp_path / "other")], [str(tmp_path / "in" / "deeper")]):
        with pytest.raises(SourceNotAllowed):
            ask(tmp_path / "in", roots)


def test_a_source_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="no such file"):
        ask(tmp_path / "missing", [str(tmp_path)])


def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        ask(fill(tmp_path, "real/a.png"), pattern="{label")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["real/a.png", "real/b.png"], "all 2 labelled images are real"),
        (["fake/x/a.png"], "all 1 labelled images are synthetic"),
        (["a.png"], "no image has a label; 1 items left out"),
        (["other/a.png", "fake/x/b.png"], "1 items left out, such as other/a.png"),
    ],
)
def test_images_of_one_kind_are_refused_before_the_model_is_used(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(NothingToEvaluate, match=message):
        ask(fill(tmp_path, *names))


@pytest.mark.parametrize(("wanted", "refused"), [(MOST_IMAGES, False), (MOST_IMAGES + 1, True)])
def test_a_client_measures_no_more_than_a_request_may(
    tmp_path: Path, wanted: int, refused: bool
) -> None:
    expected: type[Exception] = InvalidRequest if refused else NothingToEvaluate
    with pytest.raises(expected):
        ask(fill(tmp_path, "real/a.png"), max_images=wanted)


def test_the_model_is_used_as_soon_as_there_is_something_to_measure(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        ask(fill(tmp_path, "real/a.png", "fake/x/b.png"))
