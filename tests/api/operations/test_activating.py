"""Which models can be named, and when one may become the active one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.errors import SpaceIncomplete, UnlistedModel
from api.lineup import open_database
from api.model import load_embedder
from api.operations.activating import (
    activate,
    explain_precision,
    list_models,
    queue_reembed,
    require_listed,
    resolve_model,
)
from api.operations.models_json import PanelCheckAnswer
from api.settings import Settings
from embedder.errors import UnknownModel
from embedder.network.embed import Embedder
from embedder.network.panel import PanelCheck
from embedder.network.registry import MODELS
from index.truth.active import find_active_model
from tests.api.small_lineup import fill, open_small

BUILTIN = "builtin"


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(Settings(offline=True, device="cpu"))


def test_only_listed_models_may_be_named_over_http(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for name in MODELS:
        require_listed(settings, name)
    with pytest.raises(UnlistedModel, match=BUILTIN) as refused:
        require_listed(settings, str(tmp_path))
    assert refused.value.known == tuple(sorted(MODELS))


def test_a_folder_is_resolved_and_a_name_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / BUILTIN).mkdir()
    monkeypatch.chdir(tmp_path)

    settings = Settings(data_dir=tmp_path / "data")
    assert resolve_model(settings, "mine") == os.path.realpath(tmp_path / "mine")
    assert resolve_model(settings, BUILTIN) == BUILTIN
    assert resolve_model(settings, "missing") == "missing"


def test_a_model_becomes_active_where_nothing_lacks_its_embeddings(
    tmp_path: Path, embedder: Embedder
) -> None:
    settings = Settings(data_dir=tmp_path, offline=True)
    with open_database(settings, migrate=True):
        pass
    answer = activate(settings, BUILTIN, incomplete=False)

    assert (answer.model, answer.entries, answer.embedded) == (BUILTIN, 0, 0)
    assert answer.embedding_space == embedder.info.space_fingerprint
    assert answer.in_force
    assert not activate(
        Settings(data_dir=tmp_path, model=BUILTIN), BUILTIN, incomplete=False
    ).in_force


def test_entries_without_its_embeddings_keep_it_from_becoming_active(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
    settings = Settings(data_dir=tmp_path, offline=True)

    with pytest.raises(SpaceIncomplete, match="12 of 12 entries"):
        activate(settings, BUILTIN, incomplete=False)
    with open_database(settings) as database, database.read() as conn:
        assert find_active_model(conn) is None
    answer = activate(settings, BUILTIN, incomplete=True)
    assert (answer.entries, answer.embedded) == (12, 0)
    with open_database(settings) as database, database.read() as conn:
        active = find_active_model(conn)
    assert active is not None
    assert active.model == BUILTIN


def test_an_unknown_model_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with open_database(settings, migrate=True):
        pass
    with pytest.raises(UnknownModel):
        activate(settings, "nobody", incomplete=True)


def test_a_reembedding_is_queued_once(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        first, second = queue_reembed(lineup, BUILTIN), queue_reembed(lineup, BUILTIN)

    assert first.id == second.id
    assert (first.kind, first.state, first.request) == ("reembed", "queued", {"model": BUILTIN})


USED = PanelCheck("float32", "cuda", 31, 1.0, 0.00002, accepted=True)
REFUSED = PanelCheck("float16", "cuda", 31, 0.9831, float("inf"), accepted=False)


@pytest.mark.parametrize(
    ("device", "check", "refused", "reason"),
    [
        ("cpu", None, None, "float32 on a CPU is what other precisions are compared with"),
        (
            "cuda",
            USED,
            None,
            "float32 on cuda is used: smallest cosine with float32 1.000000, largest difference of "
            "logits 0.0000 on 31 pictures (allowed: 0.9995 or more, and 0.1 or less)",
        ),
        (
            "cpu",
            None,
            REFUSED,
            "float16 is refused: smallest cosine with float32 0.983100, largest difference of "
            "logits inf on 31 pictures; float32 is used instead (allowed: 0.9995 or more, and 0.1 "
            "or less)",
        ),
        (
            "cuda",
            USED,
            REFUSED,
            "float16 is refused: smallest cosine with float32 0.983100, largest difference of "
            "logits inf on 31 pictures; float32 on cuda is used: smallest cosine with float32 "
            "1.000000, largest difference of logits 0.0000 on 31 pictures (allowed: 0.9995 or "
            "more, and 0.1 or less)",
        ),
    ],
)
def test_the_precision_is_explained_by_the_figures_that_decided(
    device: str, check: PanelCheck | None, refused: PanelCheck | None, reason: str
) -> None:
    assert explain_precision(device, "float32", check, refused) == reason


def test_figures_that_are_not_finite_are_null() -> None:
    refused, used = PanelCheckAnswer.of(REFUSED), PanelCheckAnswer.of(USED)
    assert refused is not None
    assert used is not None
    assert (refused.smallest_cosine, refused.largest_logit_difference) == (0.9831, None)
    assert (used.device, used.images, used.accepted) == ("cuda", 31, True)
    assert PanelCheckAnswer.of(None) is None


def test_every_listed_model_is_there_once_and_the_active_one_first(embedder: Embedder) -> None:
    settings = Settings(offline=True)
    without, with_active = list_models(settings, None), list_models(settings, embedder)

    assert {model.name for model in without.models} == set(MODELS)
    assert not any(model.active for model in without.models)
    assert [model.active for model in with_active.models] == [True] + [False] * (len(MODELS) - 1)
    first = with_active.models[0]
    assert (first.name, first.available, first.device) == (BUILTIN, True, "cpu")
    assert first.embedding_space == embedder.info.space_fingerprint
    assert first.dimension == embedder.info.dimension
    assert first.precision_check == PanelCheckAnswer.of(embedder.precision_check)
    assert first.precision_reason
