"""A backup, its verification and a restore, as answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.operations.backups import check_backup, make_backup, restore_backup
from api.operations.indexes import build_indexes
from api.settings import Settings
from index.errors import BackupExists, NotABackup, RestoreTargetNotEmpty
from tests.api.small_lineup import fill, open_small


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with twelve entries and a written index."""
    folder = tmp_path_factory.mktemp("data")
    with open_small(folder) as lineup:
        fill(lineup)
    settings = Settings(data_dir=folder)
    build_indexes(settings)
    return settings


def test_a_backup_is_described_and_verified(settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    made = make_backup(settings, archive, thumbnails=True, replace=False)
    checked = check_backup(archive)

    assert made.archive == str(archive)
    assert made.byte_size == archive.stat().st_size
    assert (made.database, made.generation) == ("sqlite", 12)
    assert [space.model for space in made.spaces] == ["tiles"]
    assert made.snapshots == [made.spaces[0].embedding_space[:16]]
    assert made.row_counts["entries"] == 12
    assert list(made.row_counts) == sorted(made.row_counts)
    assert checked.model_copy(update={"seconds": 0.0}) == made.model_copy(
        update={"seconds": 0.0, "warnings": []}
    )


def test_thumbnails_are_left_out_on_demand(settings: Settings, tmp_path: Path) -> None:
    made = make_backup(settings, tmp_path / "a.tar", thumbnails=False, replace=False)
    assert made.thumbnails is None


def test_a_file_is_replaced_only_on_demand(settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_text("something else")

    with pytest.raises(BackupExists):
        make_backup(settings, archive, thumbnails=False, replace=False)
    assert archive.read_text() == "something else"
    make_backup(settings, archive, thumbnails=False, replace=True)
    assert check_backup(archive).row_counts["entries"] == 12


def test_a_backup_is_restored_into_an_empty_folder_only(settings: Settings, tmp_path: Path) -> None:
    archive, target = tmp_path / "a.tar", Settings(data_dir=tmp_path / "new")
    make_backup(settings, archive, thumbnails=False, replace=False)
    restored = restore_backup(target, archive)

    assert (restored.database, restored.data_dir) == ("sqlite", str(target.data_dir))
    assert restored.thumbnails == 0
    assert restored.backup.generation == 12
    with pytest.raises(RestoreTargetNotEmpty):
        restore_backup(target, archive)


def test_a_text_is_no_backup(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("no archive")
    with pytest.raises(NotABackup):
        check_backup(tmp_path / "a.tar")
