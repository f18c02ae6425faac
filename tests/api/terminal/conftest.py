"""A folder of images and a data folder that holds them, and terminals of a chosen width."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.lookups.answers.json import LookupAnswer
from tests.api.terminal.commands import answer, run, write_image


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images in the folder `known`, and beside it `unseen.png` and the broken `cut.png`."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        write_image(folder / "known" / f"{seed}.png", seed)
    write_image(folder / "unseen.png", 3)
    (folder / "cut.png").write_bytes((folder / "unseen.png").read_bytes()[:500])
    return folder


@pytest.fixture(scope="session")
def data(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose corpus `known` holds the three images; no test changes it."""
    folder = tmp_path_factory.mktemp("data")
    done = run(folder, "ingest", images / "known", "--corpus", "known", "--generator", "noise")
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def lookup(data: Path, images: Path) -> LookupAnswer:
    """The answer for an image of the corpus."""
    found = answer(data, "search", images / "known" / "0.png")["lookups"][0]["lookup"]
    return LookupAnswer.model_validate(found)


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of the terminal that runs the tests changes nothing."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def set_width(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives standard output this many columns."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))
