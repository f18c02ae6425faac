"""Whether an installation is clean, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.operations.checking import check_installation
from api.settings import Settings
from index.errors import NoData
from tests.api.small_lineup import fill, open_small


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with open_small(tmp_path) as lineup:
        fill(lineup)
    return Settings(data_dir=tmp_path)


def leave_file(settings: Settings) -> Path:
    path = settings.thumbnail_dir / "ab" / ".x.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_what_was_checked_is_counted(settings: Settings) -> None:
    (settings.data_dir / "thumbnails").mkdir(exist_ok=True)
    answer = check_installation(settings, repair=True)
    assert answer.checked["entries"] == 12


def test_a_finding_keeps_it_unclean_until_it_is_repaired(settings: Settings) -> None:
    check_installation(settings, repair=True)
    before = {finding.item for finding in check_installation(settings, repair=False).findings}
    path = leave_file(settings)
    found = check_installation(settings, repair=False)
    new = [finding for finding in found.findings if finding.item not in before]

    assert not found.clean
    assert [(each.kind, each.repaired) for each in new] == [("leftover_file", False)]
    assert path.exists()
    repaired = check_installation(settings, repair=True)
    assert {each.repaired for each in repaired.findings if each.kind == "leftover_file"} == {True}
    assert not path.exists()


def test_nothing_is_made_where_there_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoData):
        check_installation(Settings(data_dir=tmp_path / "none"), repair=True)
    assert not (tmp_path / "none").exists()
