"""Settings from the environment, and the words that describe them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import PREFIX, Settings, describe_settings, parse_list, variable


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_every_setting_is_described_in_a_sentence() -> None:
    described = describe_settings()

    assert list(described) == [PREFIX + name.upper() for name in Settings.model_fields]
    for name, words in described.items():
        assert words.endswith("."), name
        assert words[0].isupper() or words.startswith("JSON"), name


def test_the_environment_is_read_and_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEUP_DATA_DIR", "/srv/lineup")
    monkeypatch.setenv("LINEUP_PORT", "9000")
    monkeypatch.setenv("LINEUP_UNKNOWN", "ignored")
    settings = Settings(port=9001)

    assert (settings.data_dir, settings.port) == (Path("/srv/lineup"), 9001)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "abc"),
        ("BATCH_SIZE", "0"),
        ("FALSE_MATCH_RATE", "0"),
        ("FALSE_MATCH_RATE", "0.6"),
        ("SIMILARITY_THRESHOLD", "1.5"),
        ("INDEX_RECALL_TARGET", "1.1"),
        ("QUEUE_SIZE", "0"),
        ("INGEST_ROOTS", '["/srv"'),
        ("INGEST_ROOTS", "/srv, https://user:secret@host/"),
        ("INGEST_ROOTS", "https://host/sets?a=b"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("example.org, localhost", ["example.org", "localhost"]),
        ('["example.org", "localhost"]', ["example.org", "localhost"]),
        (' ["a"]', ["a"]),
        ("a", ["a"]),
        (("a", "b"), ("a", "b")),
    ],
)
def test_a_list_is_json_or_names_with_commas(value: object, parsed: object) -> None:
    assert parse_list(value) == parsed


def test_lists_of_the_environment_become_tuples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEUP_ALLOWED_HOSTS", "example.org, localhost")
    monkeypatch.setenv("LINEUP_INGEST_ROOTS", '["/srv/a", "s3://bucket"]')
    settings = Settings()

    assert settings.allowed_hosts == ("example.org", "localhost")
    assert settings.ingest_roots == ("/srv/a", "s3://bucket")


@pytest.mark.parametrize("value", ["", " ", "[]", '[""]', ","])
def test_an_empty_root_is_none_and_not_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LINEUP_INGEST_ROOTS", value)
    assert Settings().ingest_roots == ()


def test_everything_lies_in_the_data_folder_unless_a_database_is_named() -> None:
    settings = Settings(data_dir=Path("/srv/x"))
    folders = (
        settings.index_dir,
        settings.thumbnail_dir,
        settings.original_dir,
        settings.features_dir,
        settings.upload_dir,
    )

    assert settings.url == "sqlite:////srv/x/lineup.db"
    assert {folder.parent for folder in folders} == {Path("/srv/x")}
    assert len({folder.name for folder in folders}) == 5
    assert Settings(database_url="postgresql://h/n").url == "postgresql://h/n"


def test_a_model_counts_as_named_only_where_somebody_named_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not Settings().names_model
    assert Settings(model="builtin").names_model
    assert Settings().model_copy(update={"model": "x"}).names_model
    monkeypatch.setenv("LINEUP_MODEL", "builtin")
    assert Settings().names_model
