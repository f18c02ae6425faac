"""Commands as a person gives them, run in this process, and small images for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from api.terminal import app


def run(data: Path, *words: object, **environment: str | None) -> Result:
    """Run a command over a data folder."""
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, words)], env=environment)


def answer(data: Path, *words: object) -> Any:
    """The last JSON document that a command prints."""
    done = run(data, *words, "--json")
    assert done.exit_code in {0, 3}, done.stderr
    text = done.stdout
    return json.loads(text if text.startswith("{\n") else text.splitlines()[-1])


def assert_one_line(done: Result, exit_code: int, words: str) -> None:
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == exit_code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((176, 176), Image.Resampling.BICUBIC).save(path)
