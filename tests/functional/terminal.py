"""Commands as a person gives them, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from api.terminal import app


def lineup(data: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(data), *map(str, arguments)])


def answer(data: Path, *arguments: object, code: int = 0) -> Any:
    """The JSON document of a command, the last one where it prints a line each."""
    done = lineup(data, *arguments, "--json")
    assert done.exit_code == code, done.stderr
    return json.loads(
        done.stdout if done.stdout.startswith("{\n") else done.stdout.splitlines()[-1]
    )
