"""Sources that exist only during a request: lists from standard input and uploads.

They are kept as files until their job has ended. A list is named by its content, so that the same
list again is the same source, and therefore the same job.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

SUFFIX = ".paths"
STANDARD_INPUT = "standard input"  # the name of such a list in an entry's provenance
PIECE_BYTES = 2**20


def keep_list(lines: BinaryIO, upload_dir: Path) -> Path:
    """Copy a list of paths into a file and return its path. Raises OSError."""
    upload_dir.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(
        dir=upload_dir, prefix=".", suffix=".tmp", delete=False
    ) as file:
        while piece := lines.read(PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    kept = upload_dir / (digest.hexdigest() + SUFFIX)
    Path(file.name).replace(kept)
    return kept


def is_kept_list(location: str, upload_dir: Path) -> bool:
    """Return whether a source is a list that `keep_list` wrote."""
    path = Path(location)
    return path.suffix == SUFFIX and path.parent == upload_dir.absolute()


def keep_upload(file: BinaryIO, name: str, upload_dir: Path) -> Path:
    """Copy an upload into a folder of its own and return its path. Raises OSError.

    Only the last part of the client's name is used, without leading dots.
    """
    folder = upload_dir.absolute() / uuid.uuid4().hex
    folder.mkdir(parents=True)
    kept = folder / (PurePosixPath(name.replace("\\", "/")).name.lstrip(".") or "upload")
    try:
        with kept.open("xb") as target:
            shutil.copyfileobj(file, target, PIECE_BYTES)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return kept


def forget(sources: Iterable[str], upload_dir: Path) -> None:
    """Remove those of the sources that are kept here; all others stay."""
    root = upload_dir.absolute()
    for source in sources:
        path = Path(source)
        if root in path.parents:
            path.unlink(missing_ok=True)
            if path.parent != root:
                shutil.rmtree(path.parent, ignore_errors=True)
