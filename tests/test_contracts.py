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
    ("only decoding decodes", "embedder/network/prefetch.py", "import embedder.pictures.decode"),
    ("a worker that decodes", "embedder/decoding/worker.py", "import embedder.network.device"),
    ("the web is read in one place", "api/ingest/task.py", "import httpx"),
    ("transformers is an oracle", "embedder/network/vit.py", "import transformers"),
    ("knows OpenCV", "api/copies/verifying.py", "import cv2"),
    ("knows ONNX Runtime", "api/copies/choosing.py", "import onnxruntime"),
    ("the driver of PostgreSQL", "index/truth/jobs/job.py", "import psycopg"),
    ("only api.http knows HTTP", "api/lookups/lookup.py", "import fastapi"),
    ("only api.http knows HTTP", "api/terminal/service.py", "import uvicorn"),
    ("only api.terminal knows the terminal", "api/operations/health.py", "import rich"),
    ("only api.terminal knows the terminal", "api/http/app.py", "import typer"),
    ("index knows no tensors", "index/cache/vectors/codes.py", "import torch"),
    ("index knows no tensors", "index/blobs.py", "import PIL.Image"),
    ("embedder knows no rows", "embedder/network/weights.py", "import sqlalchemy"),
    ("embedder knows no rows", "embedder/network/embed.py", "import faiss"),
    ("migrations stand alone", "migrations/env.py", "import api.settings"),
]


def lint(folder: Path) -> str:
    """What `lint-imports` says of the packages in a folder, with its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=folder,
        env=environment | {"COLUMNS": "500", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}"
    assert all(f"\n{name} " in said for name in CONTRACTS), said
    return said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages' Python files and the settings, where nothing else is."""
    for package in SETTINGS["tool"]["importlinter"]["root_packages"]:
        for file in (ROOT / package).rglob("*.py"):
            target = tmp_path / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_shown_a_bad_import() -> None:
    for name in CONTRACTS:
        assert any(part in name for part, _, _ in BAD_IMPORTS), name


def test_the_packages_as_they_are_break_none(copy: Path) -> None:
    said = lint(copy)

    assert said.endswith("exit code 0"), said
    assert "BROKEN" not in said


def test_forbidden_imports_break_their_contracts_and_are_named(copy: Path) -> None:
    """All at once: the linter takes seconds to read the packages."""
    for _, module, line in BAD_IMPORTS:
        with (copy / module).open("a") as file:
            file.write(f"\n{line}\n")
    said = lint(copy)

    assert said.endswith("exit code 1")
    for contract, module, line in BAD_IMPORTS:
        (name,) = [each for each in CONTRACTS if contract in each]
        assert f"{name} BROKEN" in said
        importing, imported = module.removesuffix(".py").replace("/", "."), line.split()[1]
        report = said[said.index(f"\n{name}\n") :].partition("\n---")[2]
        room = importing.split(".")[-2]  # a circle is one of rooms
        assert room in report, (contract, importing)
        assert imported.split(".")[0] in report, (contract, imported)


def test_api_imports_no_function_that_takes_bytes_or_pixels_apart() -> None:
    """Their modules also define what crosses the border, so a contract cannot forbid them."""
    forbidden = {"make_picture", "deliver", "delivery_of", "reencode", "estimate_jpeg_quality"}
    for file in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embedder"):
                assert not forbidden & {each.name for each in node.names}, file
