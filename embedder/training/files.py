"""Files of the recipe are written whole: a temporary name, fsync, rename."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path, sync the file and rename it to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    write(temporary)
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.chmod(0o644)  # safetensors writes files that only their owner can read
    temporary.replace(target)


def write_json(target: Path, values: Mapping[str, object]) -> None:
    write_whole(
        target, lambda path: path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    )
