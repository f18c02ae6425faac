"""An evaluation from a folder: what is refused before a model is used, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from api.errors import InvalidRequest, NothingToEvaluate, SourceNotAllowed
from api.evaluation.comparing import compare_models
from api.evaluation.json import EvaluationAnswer
from api.evaluation.request import EvaluationRequest
from api.evaluation.running import MOST_IMAGES, evaluate, evaluate_for_client
from api.settings import Settings
from api.sources.item import UnusableSource
from embedder.network.embed import Embedder
from embedder.pictures.delivery import Condition
from tests.api.evaluation.small import StreamingModel, as_embedder, save_grey

NO_MODEL = cast("Embedder", None)  # using it would raise AttributeError


def settings(*roots: str) -> Settings:
    return Settings(ingest_roots=roots)


def fill(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 200), (number * 20 % 256, 10, 10)).save(folder / name)
    return folder


def ask(folder: Path, roots: list[str] | None = None, **words: Any) -> Any:
    request = EvaluationRequest(source=str(folder), **words)
    allowed = [str(folder)] if roots is None else roots
    return evaluate_for_client(NO_MODEL, settings(*allowed), request)


def test_a_source_outside_of_the_roots_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for roots in ([], [str(tmp_path / "other")], [str(tmp_path / "in" / "deeper")]):
        with pytest.raises(SourceNotAllowed):
            ask(tmp_path / "in", roots)


def test_a_source_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableSource, match="no such file"):
        ask(tmp_path / "missing", [str(tmp_path)])


def evaluate_one(chosen: Settings, request: EvaluationRequest) -> None:
    evaluate(chosen, request, "lineup evaluate", lambda *_: None)


def compare_two(chosen: Settings, request: EvaluationRequest) -> None:
    compare_models(chosen, request, ("builtin", "builtin"), lambda *_: None)


@pytest.mark.parametrize("measure", [evaluate_one, compare_two])
def test_a_command_decodes_as_the_settings_say(
    tmp_path: Path, measure: Callable[[Settings, EvaluationRequest], None]
) -> None:
    """Threads would know no time limit."""
    fill(tmp_path / "in", "real/a.png", "synthetic/b.png")
    confined = Settings(
        data_dir=tmp_path / "data",
        device="cpu",
        decoding="processes",
        decoders=1,
        decoding_timeout_seconds=1e-6,
    )
    request = EvaluationRequest(source=str(tmp_path / "in"), pattern="{label}/*")
    with pytest.raises(NothingToEvaluate, match=r"left out, such as real/a\.png: .* longer than"):
        measure(confined, request)


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


def measured(folder: Path, model: StreamingModel | None = None, **words: Any) -> EvaluationAnswer:
    """Evaluate a model of a few lines, for which bright images are synthetic."""
    embedder = as_embedder(model or StreamingModel())
    request = EvaluationRequest(source=str(folder), **words)
    return evaluate_for_client(embedder, settings(str(folder)), request)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve dark photographs, one of them twice, and twelve bright fakes by two generators."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(12):
        save_grey(folder / f"real/{number:02}.png", 20 + 5 * number)
        generator = "sdxl" if number % 3 else "flux"
        save_grey(folder / f"fake/{generator}/{number:02}.png", 160 + 5 * number)
    save_grey(folder / "real/copy.png", 20)
    (folder / "real/cut.png").write_bytes(b"no image")
    (folder / "other.png").write_bytes(b"no label")
    return folder


@pytest.fixture(scope="module")
def answer(folder: Path) -> EvaluationAnswer:
    conditions = [Condition.HALF, Condition.AS_IS, Condition.HALF]
    return measured(folder, conditions=conditions, condition_images=10)


def test_where_one_kind_cannot_be_decoded_nothing_is_measured(tmp_path: Path) -> None:
    save_grey(tmp_path / "real/a.png", 50)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/b.png").write_bytes(b"no image")
    with pytest.raises(NothingToEvaluate, match=r"all 1 labelled images are real.*fake/b\.png"):
        measured(tmp_path)


def test_every_item_is_counted_once(answer: EvaluationAnswer) -> None:
    counts = answer.measured
    assert (counts.found, counts.labelled, counts.sampled, counts.failed) == (27, 26, 26, 2)
    assert counts.n.model_dump() == {
        "real": 13,
        "synthetic": 12,
        "real_sources": 13,
        "synthetic_sources": 12,
    }
    assert counts.duplicates == 1
    assert counts.sources_told is False
    assert list(counts.generators.items()) == [("sdxl", 8), ("flux", 4)]


def test_failures_of_the_listing_come_before_those_of_the_images(answer: EvaluationAnswer) -> None:
    assert [each.name for each in answer.failures] == ["other.png", "real/cut.png"]
    assert answer.failures[0].reason == "unlabelled"


def test_a_delivery_is_measured_once_beside_the_unchanged_images(answer: EvaluationAnswer) -> None:
    groups = answer.classifier.by_condition
    assert [group.name for group in groups] == ["as_is", "half"]
    assert answer.measured.condition_images in {9, 10}  # the broken image may be one of them
    for group in groups:
        n = group.figures.n
        assert n.real + n.synthetic == answer.measured.condition_images


def test_the_run_says_what_is_needed_to_repeat_it(answer: EvaluationAnswer, folder: Path) -> None:
    made, info = answer.made, StreamingModel().info
    assert (made.model, made.weights_sha256) == ("tiles", "a" * 64)
    assert made.embedding_space == info.space_fingerprint
    assert (made.device, made.precision) == ("cpu", "float32")
    assert (made.dimension, made.image_size) == (12, 32)
    assert (made.synthetic_logit, made.no_traces_logit) == (1.0, -1.0)
    assert made.command == "POST /v1/evaluations"
    assert made.created_at.microsecond == 0
    assert made.seconds >= 0
    assert answer.request.source == str(folder)
    assert answer.request.max_images == MOST_IMAGES


def test_a_model_that_is_right_about_everything_has_no_wrong_images(
    answer: EvaluationAnswer,
) -> None:
    assert answer.classifier.pooled.roc_auc.value == 1.0
    assert answer.wrong == []


@pytest.mark.parametrize("missing", ["synthetic_logit", "no_traces_logit"])
def test_one_limit_alone_is_none(folder: Path, missing: str) -> None:
    answer = measured(folder, StreamingModel(**{missing: None}), max_images=24)
    for figure in ("balanced_accuracy_at_limits", "inconclusive"):
        assert getattr(answer.classifier.pooled, figure).value is None


def test_a_sample_is_half_of_each_kind_and_repeated_by_its_seed(folder: Path) -> None:
    one, again = (measured(folder, max_images=6, seed=3) for _ in range(2))
    assert one.measured.sampled == 6
    assert one.measured.n.synthetic == 3
    assert one.request.max_images == 6
    same = {"made": None}
    assert one.model_copy(update=same) == again.model_copy(update=same)


def test_wrong_images_are_named_with_their_label(tmp_path: Path) -> None:
    save_grey(tmp_path / "real/bright.png", 220)
    save_grey(tmp_path / "fake/flux/dark.png", 20)
    bright, dark = measured(tmp_path).wrong
    assert (bright.name, bright.label, bright.generator) == ("real/bright.png", "real", None)
    assert (dark.name, dark.label, dark.generator) == ("fake/flux/dark.png", "synthetic", "flux")
    assert bright.logit > 0 > dark.logit
    assert dark.location is None, "where it lies on the server is not for a client"


def test_declared_sources_are_said(tmp_path: Path) -> None:
    for level in (50, 200):
        save_grey(tmp_path / f"{level}.png", level)
    (tmp_path / "list.csv").write_text("path,label,source\n50.png,real,web\n200.png,fake,\n")
    request = EvaluationRequest(source=str(tmp_path / "list.csv"))
    answer = evaluate_for_client(as_embedder(StreamingModel()), settings(str(tmp_path)), request)
    assert answer.measured.sources_told is True
    assert [table.split for table in answer.similarity.false_matches] == ["sources", "images"]
