from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lineup import Lineup
from tests.api.small_lineup import FAKE, REAL, add, encoded, open_small, picture


@pytest.fixture
def lineup(tmp_path: Path) -> Iterator[Lineup]:
    """Twelve known fakes by two generators, and twelve known-real images, as kept originals."""
    with open_small(tmp_path / "data") as opened:
        for seed in range(12):
            data = encoded(picture(seed))
            add(opened, "fakes", FAKE, data, "flux" if seed % 2 else "sdxl")
            keep_original(opened, data)
            data = encoded(picture(100 + seed))
            add(opened, "photographs", REAL, data)
            keep_original(opened, data)
        yield opened


def keep_original(lineup: Lineup, data: bytes) -> None:
    lineup.blob_stores.originals.put(hashlib.sha256(data).hexdigest(), data)
