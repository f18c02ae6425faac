"""The real application over a real database and the built-in model, with five pictures in three
corpora.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.http.app import create_app
from api.model import load_embedder
from api.settings import Settings
from embedder.network.embed import Embedder
from tests.clients import NO_BROWSER

CORPORA = {"diffusion": "known_fake", "swaps": "known_fake", "camera": "known_real"}
ENTRIES = [  # the seed of a picture, its corpus and what is declared about it
    (0, "diffusion", {"generator": "sdxl", "label": "face", "provenance": '{"case": "a"}'}),
    (
        1,
        "diffusion",
        {
            "generator": "sdxl",
            "label": "street",
            "provenance": '{"case": "a", "camera": {"lens": 50}}',
        },
    ),
    (
        2,
        "diffusion",
        {"generator": "flux", "label": "face", "provenance": '{"camera": {"lens": 50}}'},
    ),
    (3, "swaps", {"generator": "flux", "label": "face"}),
    (4, "camera", {"label": "face"}),
]

Picture = Callable[[int], bytes]
OpenFilled = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture(scope="session")
def picture() -> Picture:
    """A small PNG file for each seed."""

    @cache
    def make(seed: int) -> bytes:
        rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        encoded = BytesIO()
        Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(encoded, "PNG")
        return encoded.getvalue()

    return make


@pytest.fixture(scope="session")
def open_filled(picture: Picture) -> OpenFilled:
    """Opens the application over a data directory and adds the pictures of ENTRIES."""

    @contextmanager
    def opened(data_dir: Path, database_url: str | None = None) -> Iterator[TestClient]:
        app = create_app(settings(data_dir, database_url))
        with TestClient(app, base_url="http://localhost", headers=NO_BROWSER) as client:
            for name, kind in CORPORA.items():
                client.post("/v1/corpora", json={"name": name, "kind": kind}).raise_for_status()
            for seed, corpus, declared in ENTRIES:
                added = client.post(
                    f"/v1/corpora/{corpus}/entries", files={"image": picture(seed)}, data=declared
                )
                added.raise_for_status()
            yield client

    return opened


@pytest.fixture(scope="session")
def client(
    open_filled: OpenFilled, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The filled application over SQLite; a test that changes it leaves the pictures of ENTRIES as
    they are.
    """
    with open_filled(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The built-in model."""
    return load_embedder(settings(tmp_path_factory.mktemp("data")))


def settings(data_dir: Path, database_url: str | None = None) -> Settings:
    return Settings(
        data_dir=data_dir,
        database_url=database_url,
        offline=True,
        device="cpu",
        batch_size=8,
        max_image_bytes=256 * 1024,
        queue_size=4,
    )
