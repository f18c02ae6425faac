"""Adding a checkpoint under a name: what is copied, what is refused, what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from api.errors import (
    InvalidRequest,
    ModelExists,
    ModelInUse,
    ModelsUnwritable,
    UnlistedModel,
)
from api.lineup import open_database
from api.model import load_embedder
from api.operations.activating import activate, list_models, require_listed, resolve_model
from api.operations.adding import add_model, remove_model
from api.settings import Settings
from embedder.errors import CorruptWeights, InvalidModelConfig, ModelUnavailable, UnknownModel
from embedder.network.registry import get_builtin_directory
from embedder.network.weight_files import compute_sha256
from index import failpoints
from index.failpoints import Failpoint

FILES = ["config.json", "lineup.json", "model.safetensors", "preprocessor_config.json"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", device="cpu", precision="float32", offline=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A laboratory's own checkpoint: the built-in one in float16, with another head."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(get_builtin_directory() / name, folder)
    tensors = load_file(get_builtin_directory() / "model.safetensors")
    tensors["classifier.bias"] += 1
    save_file({name: each.half() for name, each in tensors.items()}, folder / "model.safetensors")
    (folder / "README.md").write_text("not copied")
    return folder


def change_labels(folder: Path, *labels: str) -> None:
    """Give a checkpoint these labels; further rows of its classifier are zeros."""
    config = json.loads((folder / "config.json").read_text())
    del config["label2id"]
    config["id2label"] = {str(n): label for n, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        more = torch.zeros(len(labels) - 1, *tensors[name].shape[1:], dtype=tensors[name].dtype)
        tensors[name] = torch.cat([tensors[name], more])
    save_file(tensors, folder / "model.safetensors")


def list_folder(settings: Settings) -> list[str]:
    directory = settings.added_model_dir
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def test_a_checkpoint_is_copied_pinned_and_usable_by_its_name(
    settings: Settings, folder: Path
) -> None:
    answer = add_model(settings, "mine", folder)
    shutil.rmtree(folder)
    copy = settings.added_model_dir / "mine"
    assert sorted(path.name for path in copy.iterdir()) == FILES
    record = json.loads((copy / "lineup.json").read_text())
    assert record["files"] == {
        name: compute_sha256(copy / name) for name in FILES if name != "lineup.json"
    }
    info = load_embedder(settings.model_copy(update={"model": "mine"})).info
    assert (info.name, info.space_fingerprint) == ("mine", answer.embedding_space)
    assert (info.weights_sha256, info.caution) == (answer.weights_sha256, None)
    assert (answer.dimension, answer.image_size, answer.parameter_count) == (192, 160, 2_836_993)
    assert not answer.measured
    assert answer.logit == "The logit is the model's one logit."
    assert answer.pixels == "centre crop 160, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"


def test_an_added_model_is_listed_and_may_be_named_by_clients(
    settings: Settings, folder: Path
) -> None:
    with pytest.raises(UnlistedModel):
        require_listed(settings, "mine")
    answer = add_model(settings, "mine", folder)
    require_listed(settings, "mine")
    assert resolve_model(settings, "mine") == "mine"
    listed = {each.name: each for each in list_models(settings, None).models}
    assert listed["mine"].available
    assert listed["mine"].weights_sha256 == answer.weights_sha256
    assert listed["mine"].description.endswith("nothing was measured on it")
    assert listed["builtin"].caution is not None
    active = load_embedder(settings.model_copy(update={"model": "mine"}))
    first = list_models(settings, active).models[0]
    assert (first.name, first.active, first.measured) == ("mine", True, False)
    with pytest.raises(UnknownModel, match="builtin, mine"):
        load_embedder(settings.model_copy(update={"model": "nobody"}))


def test_the_label_that_is_named_is_kept(settings: Settings, folder: Path) -> None:
    change_labels(folder, "class_a", "class_b")
    with pytest.raises(InvalidModelConfig, match="--synthetic-label"):
        add_model(settings, "mine", folder)
    answer = add_model(settings, "mine", folder, synthetic_label="class_a")
    assert answer.logit == "The logit is that of 'class_a' minus that of 'class_b'."
    other = add_model(settings, "other", folder, synthetic_label="class_b")
    assert other.weights_sha256 == answer.weights_sha256
    assert other.embedding_space != answer.embedding_space
    for name, added in (("mine", answer), ("other", other)):
        info = load_embedder(settings.model_copy(update={"model": name})).info
        assert info.space_fingerprint == added.embedding_space


def test_figures_beside_the_weights_are_copied_and_pinned(settings: Settings, folder: Path) -> None:
    (folder / "measured.json").write_text(json.dumps({"similarity_threshold": 0.9}))
    assert add_model(settings, "mine", folder).measured
    assert load_embedder(settings.model_copy(update={"model": "mine"})).info.is_measured
    (settings.added_model_dir / "mine" / "measured.json").write_text("{}")
    with pytest.raises(CorruptWeights, match=r"measured\.json"):
        load_embedder(settings.model_copy(update={"model": "mine"}))


def test_the_digest_must_be_that_of_the_weights(settings: Settings, folder: Path) -> None:
    actual = compute_sha256(folder / "model.safetensors")
    for wrong in ("0" * 63, "g" * 64, ""):
        with pytest.raises(InvalidRequest, match="64 hexadecimal digits"):
            add_model(settings, "mine", folder, sha256=wrong)
    with pytest.raises(CorruptWeights, match=f"sha256 {actual}, not 000"):
        add_model(settings, "mine", folder, sha256="0" * 64)
    assert list_folder(settings) == []
    assert add_model(settings, "mine", folder, sha256=actual.upper()).weights_sha256 == actual


@pytest.mark.parametrize("name", ["", "../mine", "Mine", "-x", ".mine", "a b"])
def test_a_name_that_is_no_name_is_refused(settings: Settings, folder: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a name for a model"):
        add_model(settings, name, folder)


def test_a_name_that_exists_is_refused_and_the_first_model_stays(
    settings: Settings, folder: Path
) -> None:
    with pytest.raises(ModelExists, match="'builtin' exists already"):
        add_model(settings, "builtin", folder)
    first = add_model(settings, "mine", folder)
    with pytest.raises(ModelExists, match="'mine' exists already"):
        add_model(settings, "mine", folder)
    assert list_folder(settings) == ["mine"]
    info = load_embedder(settings.model_copy(update={"model": "mine"})).info
    assert info.space_fingerprint == first.embedding_space


def test_two_at_once_under_one_name_leave_one_whole_model(settings: Settings, folder: Path) -> None:
    """The slower one finds the name taken when it renames its copy."""
    calls: list[Failpoint] = []

    def add_first(point: Failpoint) -> None:
        if point is Failpoint.FILES_COMPLETE and not calls:
            calls.append(point)
            add_model(settings, "mine", folder)

    failpoints.install(add_first)
    try:
        with pytest.raises(ModelExists):
            add_model(settings, "mine", folder)
    finally:
        failpoints.install(None)
    assert calls
    assert list_folder(settings) == ["mine"]


def test_what_cannot_be_loaded_is_not_added(settings: Settings, folder: Path) -> None:
    with pytest.raises(UnknownModel):
        add_model(settings, "mine", folder / "missing")
    (folder / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"has no model\.safetensors"):
        add_model(settings, "mine", folder / "empty")
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"][0, 0] = torch.inf
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CorruptWeights, match="not finite"):
        add_model(settings, "mine", folder)
    assert list_folder(settings) == []


def test_a_data_folder_that_cannot_be_written_is_named(settings: Settings, folder: Path) -> None:
    settings.data_dir.write_text("a file")
    with pytest.raises(ModelsUnwritable, match="the model cannot be written to"):
        add_model(settings, "mine", folder)


KILLED = """
import os, sys
from pathlib import Path
from api.operations.adding import add_model
from api.settings import Settings
from index import failpoints
failpoints.install(lambda point: point == "files_complete" and os._exit(9))
add_model(Settings(data_dir=Path(sys.argv[1]), device="cpu"), "mine", Path(sys.argv[2]))
"""


def test_a_process_that_is_killed_leaves_nothing_that_is_listed(
    settings: Settings, folder: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.data_dir), str(folder)], check=False
    )
    assert killed.returncode == 9
    (left_over,) = list_folder(settings)
    assert left_over.endswith(".tmp")
    assert "mine" not in {each.name for each in list_models(settings, None).models}

    add_model(settings, "mine", folder)
    assert list_folder(settings) == [left_over, "mine"], "it may be another process's"
    day_before = time.time() - 25 * 3600
    os.utime(settings.added_model_dir / left_over, (day_before, day_before))
    add_model(settings, "other", folder)
    assert list_folder(settings) == ["mine", "other"]


def test_a_broken_record_is_named_in_the_list_and_hides_no_other_model(
    settings: Settings, folder: Path
) -> None:
    add_model(settings, "good", folder)
    add_model(settings, "broken", folder)
    (settings.added_model_dir / "broken" / "lineup.json").write_text("{}")
    listed = {each.name: each for each in list_models(settings, None).models}
    assert listed["good"].available
    assert not listed["broken"].available
    assert "cannot be used" in listed["broken"].description


def test_a_model_is_removed_unless_it_is_active(settings: Settings, folder: Path) -> None:
    with pytest.raises(UnlistedModel, match="none was added here"):
        remove_model(settings, "builtin")
    add_model(settings, "mine", folder)
    with open_database(settings, migrate=True):
        pass
    activate(settings, "mine", incomplete=False)
    with pytest.raises(ModelInUse, match="mine is the active model"):
        remove_model(settings, "mine")
    activate(settings, "builtin", incomplete=False)
    assert remove_model(settings, "mine").model == "mine"
    assert list_folder(settings) == []
    add_model(settings, "mine", folder)
