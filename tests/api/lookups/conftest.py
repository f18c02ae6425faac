from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lineup import Lineup
from tests.api.small_lineup import fill, open_small


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lineup]:
    """A filled Lineup whose corpora no test changes."""
    with open_small(tmp_path_factory.mktemp("data")) as lineup:
        fill(lineup)
        yield lineup


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Lineup]:
    """A filled Lineup for a test that changes it."""
    with open_small(tmp_path / "data") as lineup:
        fill(lineup)
        yield lineup
