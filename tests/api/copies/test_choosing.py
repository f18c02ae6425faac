"""Which copy descriptor is used: what the settings name, else that of the data, else the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from api.copies.choosing import DescriptorInUse, choose_descriptor, find_in_use
from api.copies.stages import StageOutcome
from api.lineup import open_database
from api.operations.copy_descriptors import choose_for
from api.settings import Settings
from embedder.copies.descriptors import DESCRIPTORS
from embedder.copies.opening import open_descriptor
from embedder.errors import UnknownModel
from index.truth.active import activate_copy_space
from index.truth.spaces import Space, SpaceKind
from tests.onnx_files import pixel_network

pytest.importorskip("onnxruntime")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.onnx"
    path.write_bytes(pixel_network())
    return path


def settings_of(wanted: str, data: Path) -> Settings:
    return Settings(data_dir=data, copy_descriptor=wanted)


def test_a_named_descriptor_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="nobody"):
        choose_descriptor(settings_of("nobody", tmp_path), None)


def test_none_switches_it_off_whatever_the_data_uses(tmp_path: Path, own: Path) -> None:
    choice = choose_descriptor(settings_of("none", tmp_path), DescriptorInUse(str(own), "0" * 64))
    assert choice.outcome is StageOutcome.SWITCHED_OFF
    assert choice.descriptor is None
    assert "LINEUP_COPY_DESCRIPTOR" in (choice.detail or "")


def test_data_of_a_descriptor_that_is_gone_is_not_searched_with_another(tmp_path: Path) -> None:
    in_use = DescriptorInUse(str(tmp_path / "gone.onnx"), "0" * 64)
    choice = choose_descriptor(settings_of("auto", tmp_path), in_use)
    assert choice.outcome is StageOutcome.NOT_INSTALLED
    assert choice.descriptor is None
    assert "gone.onnx" in (choice.detail or "")


def test_data_of_a_descriptor_whose_file_has_changed_is_not_searched(
    tmp_path: Path, own: Path
) -> None:
    choice = choose_descriptor(settings_of("auto", tmp_path), DescriptorInUse(str(own), "0" * 64))
    assert choice.outcome is StageOutcome.NOT_INSTALLED
    assert choice.descriptor is None
    assert "000000000000" in (choice.detail or "")


def test_auto_takes_the_descriptor_of_the_data(tmp_path: Path, own: Path) -> None:
    opened = open_descriptor(str(own))
    info = opened.info
    space = Space(
        opened.fingerprint,
        info.name,
        info.weights_sha256,
        info.input.fingerprint,
        info.dimension,
        kind=SpaceKind.COPY,
    )
    settings = settings_of("auto", tmp_path / "data")
    with open_database(settings, migrate=True) as database:
        assert find_in_use(database) is None
        with database.write() as conn:
            activate_copy_space(conn, str(own), space)
        assert find_in_use(database) == DescriptorInUse(str(own), opened.fingerprint)
    choice = choose_for(settings)
    assert choice.outcome is StageOutcome.RAN
    assert choice.name == str(own)
    assert choice.descriptor is not None
    assert choice.descriptor.fingerprint == opened.fingerprint


def test_a_named_descriptor_wins_over_that_of_the_data(tmp_path: Path, own: Path) -> None:
    in_use = DescriptorInUse("sscd", "0" * 64)
    choice = choose_descriptor(settings_of(str(own), tmp_path), in_use)
    assert choice.descriptor is not None
    assert choice.descriptor.info.name == "own.onnx"


def test_where_none_is_installed_the_one_that_lacks_least_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {
        name: each if name == "lineup-copy" else replace(each, module="not_there")
        for name, each in DESCRIPTORS.items()
    }
    monkeypatch.setattr("embedder.copies.descriptors.DESCRIPTORS", absent)
    monkeypatch.setattr("embedder.copies.descriptors.is_installed", lambda _: False)
    choice = choose_descriptor(settings_of("auto", tmp_path), None)
    assert choice.outcome is StageOutcome.NOT_INSTALLED
    assert choice.descriptor is None
    assert (choice.detail or "").endswith("lineup-copy needs opencv-python-headless")
