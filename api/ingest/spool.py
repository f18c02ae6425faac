"""Sources that exist only during a request: lists from standard input and uploads.

They are kept as files until their job has ended. A list is named by its content, so that the same
list again is the same source, and therefore the same job. `api.ingest.uploads` says how long they
are kept, and how many bytes they may have.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from api.server_paths import LIST_SUFFIX, UPLOAD_FOLDER
from index.durable import TEMPORARY_SUFFIX
from index.failures import name_full_disk

PIECE_BYTES = 2**20
Counted = Callable[[int], None]  # is called with the bytes of each piece; may raise to refuse more


def accept(_: int) -> None:
    """Accept any number of bytes."""


def keep_list(lines: BinaryIO, upload_dir: Path) -> Path:
    """Copy a list of paths into a file and return its path; on an error nothing is left.

    Raises `StorageFull`, OSError.
    """
    with name_full_disk("the list from standard input"):
        upload_dir.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(
            dir=upload_dir, prefix=".", suffix=TEMPORARY_SUFFIX, delete=False
        ) as file:
            try:
                while piece := lines.read(PIECE_BYTES):
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                kept = upload_dir / (digest.hexdigest() + LIST_SUFFIX)
                Path(file.name).replace(kept)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    return kept


def is_kept_list(location: str, upload_dir: Path) -> bool:
    """Return whether a source is a list that `keep_list` wrote."""
    path = Path(location)
    return path.suffix == LIST_SUFFIX and path.parent == upload_dir.absolute()


def keep_upload(file: BinaryIO, name: str, upload_dir: Path, count: Counted = accept) -> Path:
    """Copy an upload into a folder of its own and return its path; on an error nothing is left.

    Only the last part of the client's name is used, without leading dots. `count` is called before
    each piece is written.

    Raises `StorageFull`, OSError and what `count` raises.
    """
    folder = upload_dir.absolute() / uuid.uuid4().hex
    kept = folder / (PurePosixPath(name.replace("\\", "/")).name.lstrip(".") or "upload")
    try:
        with name_full_disk("the upload"):
            folder.mkdir(parents=True)
            with kept.open("xb") as target:
                while piece := file.read(PIECE_BYTES):
                    count(len(piece))
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return kept


def find_kept(sources: Iterable[str], upload_dir: Path) -> frozenset[Path]:
    """Return what is kept here of the sources: files of lists, folders of uploads."""
    root = upload_dir.absolute()
    paths = [Path(source) for source in sources]
    return frozenset(
        path if path.parent == root else path.parent for path in paths if _is_kept(path, root)
    )


def forget(sources: Iterable[str], upload_dir: Path, needed: frozenset[Path] = frozenset()) -> None:
    """Remove those of the sources that are kept here and not `needed`; all others stay."""
    for kept in find_kept(sources, upload_dir) - needed:
        if kept.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
        else:
            kept.unlink(missing_ok=True)


def _is_kept(path: Path, root: Path) -> bool:
    """Whether a path is that of a list in the folder, or of a file in a folder of an upload."""
    if path.parent == root:
        return path.suffix == LIST_SUFFIX
    return path.parent.parent == root and UPLOAD_FOLDER.fullmatch(path.parent.name) is not None
