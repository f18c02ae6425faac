"""What `pip install lineup-forensics` brings: the built-in model once, and no laboratory."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling is not installed: pip install '.[test]'")

REPOSITORY = Path(__file__).parents[1]
# Weights of the built-in model 10.5 MB, reference vectors 1.4, decoders 1.2, copy descriptor 1.1,
# panel 0.5.
MAX_BYTES = 15_900_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, check=True, cwd=REPOSITORY, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_BYTES


def test_it_holds_the_packages_without_training_and_tests(wheel: Path) -> None:
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]

    assert {name.parts[0] for name in names} == {
        "api",
        "embedder",
        "index",
        "migrations",
        f"{wheel.name.rsplit('-', 3)[0]}.dist-info",
    }
    assert not [name for name in names if name.parts[:2] == ("embedder", "training")]
    models = {name.parts[2] for name in names if name.parts[:2] == ("embedder", "models")}
    assert models == {"builtin", "decoders.safetensors", "lineup-copy", "panel"}


def test_every_file_of_the_packages_but_training_is_in_it(wheel: Path) -> None:
    """Templates, migrations and weights are needed as much as code."""
    listed = subprocess.run(
        ["git", "ls-files", "api", "embedder", "index", "migrations"],
        check=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    wanted = {name for name in listed if not name.startswith("embedder/training/")}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
