"""What is opened from the settings, and which model is chosen."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from api.decoding import make_image_limits
from api.errors import EarlierWeights, InvalidVerbalScale
from api.lineup import (
    choose_model,
    choose_settings,
    explain_migration,
    find_space,
    make_index_config,
    make_space,
    open_blob_stores,
    open_database,
    read_verbal_scale,
)
from api.settings import Settings
from embedder.network.registry import EARLIER_BUILTIN_WEIGHTS
from index.calibration.verbal import ENFSI_2015
from index.errors import DatabaseUnavailable, NoData
from index.truth.active import activate_model
from index.truth.spaces import Space, ensure_space_id
from tests.api.modelless import SPACE
from tests.api.small_lineup import INFO, TilesModel, fill, open_small


def test_limits_and_trade_offs_are_those_of_the_settings() -> None:
    settings = Settings(
        max_image_bytes=2048,
        max_image_pixels=4096,
        min_image_side=7,
        index_flat_limit=3,
        index_recall_target=0.5,
    )
    limits, config = make_image_limits(settings), make_index_config(settings)

    assert (limits.max_image_bytes, limits.max_image_pixels) == (2048, 4096)
    assert limits.min_image_side == 7
    assert (config.flat_limit, config.recall_target) == (3, 0.5)


def test_a_space_is_weights_and_preprocessing() -> None:
    space = make_space(INFO)
    assert space.fingerprint == INFO.space_fingerprint
    assert (space.model, space.weights_sha256, space.dimension) == ("tiles", "a" * 64, 12)
    assert space.preprocessing_fingerprint == INFO.preprocessing.fingerprint


def test_a_verbal_scale_is_read_or_enfsis(tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    path.write_text(json.dumps(ENFSI_2015.to_json()))

    assert read_verbal_scale(None) is ENFSI_2015
    assert read_verbal_scale(path) == ENFSI_2015


@pytest.mark.parametrize("text", [None, "no json", "{}", '{"steps": 3}', "[]"])
def test_a_file_that_is_no_verbal_scale_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "scale.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidVerbalScale) as refused:
        read_verbal_scale(path)
    assert refused.value.path == path


def test_a_database_is_made_only_on_demand(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "deep")
    with pytest.raises(NoData), open_database(settings):
        pass
    assert not settings.data_dir.exists()
    with open_database(settings, migrate=True) as database:
        assert database.dialect == "sqlite"
    with open_database(settings):
        pass


def test_a_folder_that_cannot_be_made_is_an_unavailable_database(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / "data")
    with (
        pytest.raises(DatabaseUnavailable, match="cannot be made"),
        open_database(settings, migrate=True),
    ):
        pass


def activate(settings: Settings, model: str, space: Space) -> None:
    with open_database(settings, migrate=True) as database, database.write() as conn:
        ensure_space_id(conn, space)
        activate_model(conn, model, space)


def test_the_active_model_is_used_unless_one_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    activate(settings, "another", SPACE)
    with open_database(settings) as database:
        active = choose_model(settings, database)
        named = choose_model(Settings(data_dir=tmp_path, model="mine"), database)

    assert (active.settings.model, active.space) == ("another", SPACE)
    assert (named.settings.model, named.space) == ("mine", None)
    assert choose_settings(settings).model == "another"


def test_without_a_database_the_settings_are_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "none")
    assert choose_settings(settings) is settings


def test_weights_that_are_no_longer_shipped_are_named(tmp_path: Path) -> None:
    earlier = Space("7" * 64, "builtin", min(EARLIER_BUILTIN_WEIGHTS), "8" * 64, 4)
    settings = Settings(data_dir=tmp_path)
    activate(settings, "builtin", earlier)

    with open_database(settings) as database:
        with pytest.raises(EarlierWeights, match="lineup reembed"):
            choose_model(settings, database)
        assert find_space(settings, database) == earlier
        other = choose_model(Settings(data_dir=tmp_path, model="mine"), database)
    assert other.settings.model == "mine"


def test_the_space_of_look_ups_is_the_active_one_without_loading_a_model(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    activate(settings, "nobody-has-this-model", SPACE)
    with open_database(settings) as database:
        assert find_space(settings, database) == SPACE


def test_the_stores_lie_in_the_data_folder(tmp_path: Path) -> None:
    stores = open_blob_stores(Settings(data_dir=tmp_path))
    stores.thumbnails.put("ab" * 32, b"thumbnail")
    stores.originals.put("ab" * 32, b"original")

    assert len(list((tmp_path / "thumbnails").rglob("*.webp"))) == 1
    assert len([path for path in (tmp_path / "originals").rglob("*") if path.is_file()]) == 1


def test_a_threshold_is_the_operators_and_never_the_models(tmp_path: Path) -> None:
    """The model's was measured elsewhere."""
    with open_small(tmp_path, similarity_threshold=0.77) as lineup:
        own = lineup.threshold
    with open_small(tmp_path) as lineup:
        assert lineup.embedder.info.similarity_threshold == 0.9
        threshold, policy = lineup.threshold, lineup.classifier_policy

    assert own is not None
    assert own.value == 0.77
    assert "LINEUP_SIMILARITY_THRESHOLD" in own.source
    assert threshold is None
    assert policy is not None
    assert (policy.synthetic_logit, policy.no_traces_logit) == (1.0, -1.0)


@pytest.mark.parametrize("missing", ["synthetic_logit", "no_traces_logit", "logit_source"])
def test_without_measured_limits_there_is_no_policy(tmp_path: Path, missing: str) -> None:

    model = TilesModel(replace(INFO, **{missing: None}))
    with open_small(tmp_path, model) as lineup:
        assert lineup.classifier_policy is None


def test_what_is_opened_answers_and_is_closed(tmp_path: Path) -> None:
    with open_small(tmp_path) as lineup:
        fill(lineup)
        lineup.index.refresh()
        assert lineup.index.generation == 12
        assert lineup.space == make_space(INFO)


def test_what_opening_does_to_the_data_is_said_before_it_is_done(tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path / "data")
    created = explain_migration(chosen)
    assert created is not None
    assert str(tmp_path / "data") in created
    assert not (tmp_path / "data").exists()

    with open_database(chosen, migrate=True) as database:
        today = database.revision()
    assert explain_migration(chosen) is None
    for revision, words in (("0004", f"upgraded from schema 0004 to {today}"), ("9999", None)):
        with closing(sqlite3.connect(tmp_path / "data" / "lineup.db")) as file, file:
            file.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        said = explain_migration(chosen)
        assert said is None if words is None else words in (said or "")
