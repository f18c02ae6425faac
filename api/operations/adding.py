"""A checkpoint of the operator's own under a name: copied into the data folder, pinned, removed.

The copy is complete or absent: files are copied into a hidden folder, loaded and tried there, and
the folder is renamed last. So a process that is killed leaves nothing that is listed. The copy does
not depend on the original, and every load compares it with the sha256 of its files (`added` of
`embedder.network`). The rows of the database name a model and never a path, so that each machine of
a shared database has its own copy.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from api.decoding import make_picture_now
from api.errors import InvalidRequest, ModelExists, ModelInUse, ModelsUnwritable, UnlistedModel
from api.lineup import open_database
from api.operations.models_json import AddedModelAnswer, RemovedModelAnswer
from api.settings import Settings
from embedder.errors import CorruptWeights
from embedder.network.added import (
    RECORD_FILE,
    AddedModel,
    is_valid_name,
    list_added_names,
)
from embedder.network.checkpoint import INDEX_FILE
from embedder.network.download import ModelFiles, read_folder
from embedder.network.embed import Embedder
from embedder.network.references import REFERENCES_FILE
from embedder.network.registry import (
    CONFIG_FILE,
    MEASURED_FILE,
    MODELS,
    PREPROCESSING_FILE,
    WEIGHTS_FILE,
)
from embedder.network.tensor_names import find_unused
from embedder.network.weight_files import compute_sha256, read_shapes
from embedder.pictures.processors import describe_preprocessing
from index.durable import sync_directory, write_bytes_durably
from index.errors import NoData, SchemaOutdated
from index.failpoints import Failpoint, reach
from index.jsontext import canonical_json
from index.truth.active import find_active_model

# Files beside the weights that belong to the model; the others of a folder are not copied.
_BESIDE = (CONFIG_FILE, PREPROCESSING_FILE, MEASURED_FILE, REFERENCES_FILE)
_UNFINISHED = ".tmp"
# An unfinished copy of another process may be in progress; after a day it is a killed one's.
_LEFT_OVER_SECONDS = 24 * 3600
_SHA256 = re.compile(r"[0-9a-f]{64}")


def add_model(
    settings: Settings,
    name: str,
    folder: Path,
    *,
    sha256: str | None = None,
    synthetic_label: str | None = None,
) -> AddedModelAnswer:
    """Copy the checkpoint of a folder into the data folder, under a name.

    `sha256` is the digest that the weights must have. `synthetic_label` names the label that means
    synthetic, where the names of the labels do not say it.

    Raises `InvalidRequest`, `ModelExists`, `ModelsUnwritable`, `ModelError`.
    """
    _require_new_name(settings, name)
    wanted = _read_digest(sha256)
    found = read_folder(folder, synthetic_label)
    _require_digest(found, wanted)
    directory = settings.added_model_dir
    try:
        with _unfinished_folder(directory, name) as copy:
            digests = _copy_files(found, copy)
            files = read_folder(copy, synthetic_label)
            _require_digest(files, found.weights_sha256)
            embedder = _try_model(files)
            record = AddedModel(
                name=name,
                files=digests,
                weights_sha256=files.weights_sha256,
                added_at=datetime.now(UTC).replace(microsecond=0).isoformat(),
                synthetic_label=synthetic_label,
            )
            write_bytes_durably(copy / RECORD_FILE, canonical_json(record.as_json()).encode())
            reach(Failpoint.FILES_COMPLETE)
            _publish(copy, directory / name, name)
    except OSError as err:
        raise ModelsUnwritable(directory, err.strerror or str(err)) from err
    return _describe(name, files, embedder, directory / name)


def remove_model(settings: Settings, name: str) -> RemovedModelAnswer:
    """Delete the copy of an added model. Its embeddings in the database stay.

    Raises `UnlistedModel` for a model that was not added here, `ModelInUse` for the active one,
    `ModelsUnwritable`.
    """
    directory = settings.added_model_dir
    if name not in list_added_names(directory):
        raise UnlistedModel(name, list_added_names(directory))
    if _find_active_name(settings) == name:
        raise ModelInUse(name)
    try:
        unlisted = _name_unfinished(directory, name)
        (directory / name).rename(unlisted)
        sync_directory(directory)
        shutil.rmtree(unlisted)
    except OSError as err:
        raise ModelsUnwritable(directory, err.strerror or str(err)) from err
    return RemovedModelAnswer(model=name)


def _require_new_name(settings: Settings, name: str) -> None:
    if not is_valid_name(name):
        raise InvalidRequest(
            f"{name!r} is not a name for a model: use up to 64 small letters, digits, dots, "
            "hyphens and underscores, with a letter or a digit first"
        )
    if name in MODELS or (settings.added_model_dir / name).exists():
        raise ModelExists(name)


def _read_digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if _SHA256.fullmatch(sha256.casefold()) is None:
        raise InvalidRequest(f"{sha256!r} is not a sha256 of 64 hexadecimal digits")
    return sha256.casefold()


def _require_digest(files: ModelFiles, wanted: str | None) -> None:
    if wanted is not None and files.weights_sha256 != wanted:
        name = files.weights[0].name
        what = name if len(files.weights) == 1 else f"{name} and the other shards"
        raise CorruptWeights(
            what, f"the weights have sha256 {files.weights_sha256}, not {wanted}; nothing was added"
        )


@contextmanager
def _unfinished_folder(directory: Path, name: str) -> Iterator[Path]:
    """Make a folder that is not listed; remove it at the end, unless it was renamed."""
    directory.mkdir(parents=True, exist_ok=True)
    _remove_left_over(directory)
    copy = _name_unfinished(directory, name)
    copy.mkdir()
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _name_unfinished(directory: Path, name: str) -> Path:
    return directory / f".{name}.{os.getpid()}-{secrets.token_hex(4)}{_UNFINISHED}"


def _remove_left_over(directory: Path) -> None:
    """Remove the unfinished copies of processes that were killed."""
    for path in directory.glob(f".*{_UNFINISHED}"):
        if path.is_dir() and time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _copy_files(found: ModelFiles, copy: Path) -> dict[str, str]:
    """Copy and sync the files of a model; return the sha256 of each copy by its name."""
    folder = found.weights[0].parent
    names = [path.name for path in found.weights]
    names += [name for name in _BESIDE if (folder / name).is_file()]
    if names[0] != WEIGHTS_FILE:
        names.append(INDEX_FILE)
    for name in names:
        with (folder / name).open("rb") as source, (copy / name).open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
    return {name: compute_sha256(copy / name) for name in sorted(names)}


def _publish(copy: Path, folder: Path, name: str) -> None:
    """Rename the finished folder, so that it is listed. Survives a power loss."""
    sync_directory(copy)
    try:
        copy.rename(folder)
    except OSError as err:
        if err.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise ModelExists(name) from err  # another process was faster
        raise
    sync_directory(folder.parent)


def _try_model(files: ModelFiles) -> Embedder:
    """Load a model and embed one picture with it. Raises `ModelError`."""
    embedder = Embedder.load_files(files, device="cpu", precision="float32")
    side = 2 * embedder.info.image_size
    gradient = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    file = BytesIO()
    gradient.save(file, "PNG")
    picture = make_picture_now(embedder.decoders, file.getvalue(), embedder.picture_order)
    assert picture.pixels is not None
    embedder.embed_pixels(picture.pixels[np.newaxis])  # (1, h, w, 3)
    return embedder


def _find_active_name(settings: Settings) -> str | None:
    try:
        with open_database(settings) as database, database.read() as conn:
            active = find_active_model(conn)
    except (NoData, SchemaOutdated):
        return None
    return active.model if active is not None else None


def _describe(name: str, files: ModelFiles, embedder: Embedder, folder: Path) -> AddedModelAnswer:
    info = embedder.info
    tensors = {tensor for path in files.weights for tensor in read_shapes(folder / path.name)}
    return AddedModelAnswer(
        model=name,
        weights_sha256=info.weights_sha256,
        weights_files=[path.name for path in files.weights],
        embedding_space=info.space_fingerprint,
        dimension=info.dimension,
        image_size=info.image_size,
        parameter_count=info.parameter_count,
        logit=files.head.describe(),
        pixels=describe_preprocessing(info.preprocessing),
        unused_tensors=find_unused(tensors),
        measured=info.is_measured,
    )
