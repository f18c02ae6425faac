from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedder.errors import CorruptWeights, InvalidModelConfig, ModelUnavailable, UnknownModel
from embedder.network.added import (
    RECORD_FILE,
    AddedModel,
    find_added,
    is_valid_name,
    list_added_names,
    verify_added,
)
from embedder.network.download import locate_model
from embedder.network.weight_files import compute_sha256

FILES = ("model.safetensors", "config.json", "preprocessor_config.json")


@pytest.fixture
def added(tmp_path: Path, tiny_model: Path) -> AddedModel:
    """The tiny model, added as `mine` in the folder `models`."""
    folder = tmp_path / "models" / "mine"
    shutil.copytree(tiny_model, folder)
    digests = {name: compute_sha256(folder / name) for name in FILES}
    record = AddedModel("mine", digests, digests["model.safetensors"], "2026-01-02T03:04:05Z")
    (folder / RECORD_FILE).write_text(json.dumps(record.as_json()))
    return record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_a_record_is_read_as_it_was_written(added: AddedModel, directory: Path) -> None:
    assert find_added(directory, "mine") == added
    assert list_added_names(directory) == ("mine",)


def test_nothing_is_found_where_nothing_was_added(tmp_path: Path, directory: Path) -> None:
    assert find_added(None, "mine") is None
    assert find_added(directory, "mine") is None
    assert list_added_names(None) == list_added_names(directory) == ()


def test_an_unfinished_copy_is_not_listed(added: AddedModel, directory: Path) -> None:
    shutil.copytree(directory / "mine", directory / ".mine.1-ab.tmp")
    (directory / "empty").mkdir()
    (directory / "a file").write_text("")
    assert list_added_names(directory) == ("mine",)


@pytest.mark.parametrize("name", ["a", "sieve-v1", "detectra_3", "0.9b", "x" * 64])
def test_these_names_can_be_used(name: str) -> None:
    assert is_valid_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "a\\b",
        ".hidden",
        "-option",
        "A",
        "a b",
        "\u00e4",
        "a\n",
        "a.tmp",
    ],
)
def test_these_names_cannot(name: str, tmp_path: Path) -> None:
    assert not is_valid_name(name)
    assert not is_valid_name("x" * 65)
    assert find_added(tmp_path, name) is None


def test_an_added_model_is_located_by_its_name(added: AddedModel, directory: Path) -> None:
    files = locate_model("mine", added_dir=directory)
    assert (files.name, files.weights_sha256) == ("mine", added.weights_sha256)
    assert files.weights == (directory / "mine" / "model.safetensors",)
    with pytest.raises(UnknownModel):
        locate_model("mine")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_changed_since_is_not_used(
    added: AddedModel, directory: Path, name: str
) -> None:
    path = directory / "mine" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CorruptWeights, match="as when mine was added; the file is not used"):
        locate_model("mine", added_dir=directory)
    path.unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks {name}"):
        verify_added(directory, added)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"name": "other"},
        {"files": ["model.safetensors"]},
        {"files": {"../../secret": "0" * 64}},
        {"files": {"lineup.json": "0" * 64}},
        {"files": {"model.safetensors": "short"}},
        {"weights_sha256": None},
        {"added_at": 3},
        {"synthetic_label": 1},
    ],
)
def test_a_record_that_is_not_one_is_refused(
    added: AddedModel, directory: Path, changes: dict[str, Any]
) -> None:
    path = directory / "mine" / RECORD_FILE
    path.write_text(json.dumps(added.as_json() | changes))
    with pytest.raises(InvalidModelConfig, match=r"lineup\.json"):
        find_added(directory, "mine")


def test_the_label_that_the_user_named_is_used_at_every_load(
    added: AddedModel, directory: Path
) -> None:
    folder = directory / "mine"
    config = json.loads((folder / "config.json").read_text()) | {"id2label": {"0": "score"}}
    (folder / "config.json").write_text(json.dumps(config))
    digests = {**added.files, "config.json": compute_sha256(folder / "config.json")}
    for label in (None, "score"):
        record = AddedModel("mine", digests, added.weights_sha256, added.added_at, label)
        (folder / RECORD_FILE).write_text(json.dumps(record.as_json()))
        if label is None:
            with pytest.raises(InvalidModelConfig, match="the only label 'score'"):
                locate_model("mine", added_dir=directory)
    assert locate_model("mine", added_dir=directory).head.labels == ("score",)
