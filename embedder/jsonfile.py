"""Reading of the JSON files beside a checkpoint."""

import json
from pathlib import Path
from typing import Any

from embedder.errors import InvalidModelConfig


def read_json_object(path: Path) -> dict[str, Any]:
    """Read the one JSON object of a file.

    Raises InvalidModelConfig, which names the file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise InvalidModelConfig(path.name, f"cannot be read: {err}") from err
    if not isinstance(values, dict):
        raise InvalidModelConfig(path.name, "the file is not a JSON object")
    return values
