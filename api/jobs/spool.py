"""Sources that would be gone: lists from standard input and uploads, kept as files until their job
has ended.

A list is named by its content: the same one again is the same source, and so the same job.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from index.truth.jobs import Job

SUFFIX = ".paths"
STANDARD_INPUT = "standard input"  # what such a list is called
PIECE_BYTES = 2**20


def spooled(lines: BinaryIO, folder: Path) -> Path:
    """Keep a list in a folder; where it is. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp", delete=False) as file:
        while piece := lines.read(PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    kept = folder / (digest.hexdigest() + SUFFIX)
    Path(file.name).replace(kept)
    return kept


def is_spooled(location: str, folder: Path) -> bool:
    """Whether a source is such a list."""
    path = Path(location)
    return path.suffix == SUFFIX and path.parent == folder.absolute()


def forget_uploads(upload_dir: Path, job: Job) -> None:
    """Remove what was kept for a job that has ended."""
    for source in job.request.get("sources", []):
        path = Path(source)
        if upload_dir.absolute() in path.parents:
            path.unlink(missing_ok=True)
            if path.parent != upload_dir.absolute():
                shutil.rmtree(path.parent, ignore_errors=True)
