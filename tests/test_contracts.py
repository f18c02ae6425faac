"""The import contracts of pyproject.toml fail when they are broken: each is shown one bad import.

The packages are copied, so that a line can be planted; import-linter reads them and runs nothing.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = [each["name"] for each in SETTINGS["tool"]["importlinter"]["contracts"]]

# a part of the contract's name, a module, and an import that the contract forbids there
BAD_IMPORTS = [
    ("api is on top", "index/truth/corpora.py", "import embedder.errors"),
    ("api is on top", "embedder/errors.py", "import api.errors"),
    ("in circles", "api/jobs/leases.py", "import api.worker.running"),
    ("in circles", "embedder/pictures/decode.py", "import embedder.network.embed"),
    ("in index, proof", "index/truth/entries.py", "import index.cache.live"),
    ("in index, proof", "index/cache/live.py", "import index.proof.fsck"),
    ("sources know neither", "api/sources/zip.py", "import index.truth.entries"),
    ("sources know neither", "api/sources/zip.py", "import embedder.pictures.decode"),
    ("api decodes nothing", "api/lookups/probe.py", "import embedder.pictures.decode"),
    ("api decodes nothing", "api/images.py", "import PIL.Image"),
    ("only api.http knows HTTP", "api/lookups/lookup.py", "import fastapi"),
    ("only api.http knows HTTP", "api/terminal/service.py", "import uvicorn"),
    ("only api.terminal knows the terminal", "api/operations/health.py", "import rich"),
    ("only api.terminal knows the terminal", "api/http/app.py", "import typer"),
    ("index knows no tensors", "index/cache/codes.py", "import torch"),
    ("index knows no tensors", "index/blobs.py", "import PIL.Image"),
    ("embedder knows no rows", "embedder/network/weights.py", "import sqlalchemy"),
    ("embedder knows no rows", "embedder/network/embed.py", "import faiss"),
    ("migrations stand alone", "migrations/env.py", "import api.settings"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages' Python files and the settings, where nothing else is."""
    folder = tmp_path_factory.mktemp("contracts")
    for package in SETTINGS["tool"]["importlinter"]["root_packages"]:
        for file in (ROOT / package).rglob("*.py"):
            target = folder / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_contracts(copy: Path) -> set[str]:
    """The names of the contracts that `lint-imports` finds broken."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=copy,
        env=environment | {"COLUMNS": "500", "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    broken = {name for name in CONTRACTS if f"{name} BROKEN" in done.stdout}
    assert all(any(line.startswith(name) for line in lines) for name in CONTRACTS), done.stdout
    assert (done.returncode == 0) is not bool(broken), done.stdout + done.stderr
    return broken


def test_every_contract_is_shown_a_bad_import() -> None:
    for name in CONTRACTS:
        assert any(part in name for part, _, _ in BAD_IMPORTS), name


@pytest.mark.parametrize(("contract", "module", "line"), BAD_IMPORTS)
def test_a_forbidden_import_breaks_its_contract(
    copy: Path, contract: str, module: str, line: str
) -> None:
    file = copy / module
    before = file.read_text()
    file.write_text(f"{before}\n{line}\n")
    try:
        broken = broken_contracts(copy)
    finally:
        file.write_text(before)
    assert any(contract in name for name in broken), broken


def test_the_packages_as_they_are_break_none(copy: Path) -> None:
    assert broken_contracts(copy) == set()


def test_api_imports_no_function_that_takes_bytes_or_pixels_apart() -> None:
    """Their modules also define what crosses the border, so a contract cannot forbid them."""
    forbidden = {"make_picture", "deliver", "delivery_of", "reencode", "estimate_jpeg_quality"}
    for file in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embedder"):
                assert not forbidden & {each.name for each in node.names}, file
