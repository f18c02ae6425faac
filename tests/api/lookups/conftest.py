from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lineup import Lineup
from tests.api.small_lineup import fill, open_small


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a filled Lineup, to be copied: migrating a new one takes longer."""
    made = tmp_path_factory.mktemp("small") / "data"
    with open_small(made) as lineup:
        fill(lineup)
    return made


@pytest.fixture(scope="module")
def filled(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineup]:
    """A filled Lineup whose corpora no test changes."""
    with open_small(shutil.copytree(folder, tmp_path_factory.mktemp("filled") / "data")) as lineup:
        yield lineup


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Iterator[Lineup]:
    """A filled Lineup for a test that changes it."""
    with open_small(shutil.copytree(folder, tmp_path / "data")) as lineup:
        yield lineup
