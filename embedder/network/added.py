"""Models that a user added under a name: a folder for each, with a record that pins every file.

A folder `NAME` holds the copied files of a checkpoint and `lineup.json`. The record has the sha256
of each file, and the label that the user named. Each load compares every file with it before any of
it is used. Writing the folder is not done here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedder.errors import CorruptWeights, InvalidModelConfig, ModelUnavailable
from embedder.jsonfile import read_json_object
from embedder.network.weight_files import verify_file

RECORD_FILE = "lineup.json"
# Names are options of a command, parts of paths and cells of tables. Eight digits more than a
# folder's name of most hub models.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AddedModel:
    """The record of an added model.

    `files` maps the name of each file to its sha256 (hex). `added_at` is an ISO 8601 time in UTC.
    `synthetic_label` is None where the names of the labels say which one means synthetic.
    """

    name: str
    files: Mapping[str, str]
    weights_sha256: str
    added_at: str
    synthetic_label: str | None = None
    format: int = field(default=1)

    def as_json(self) -> dict[str, Any]:
        """Return the values of `lineup.json`."""
        return asdict(self)


def is_valid_name(name: str) -> bool:
    """Return whether a model may be added under this name."""
    return _NAME.fullmatch(name) is not None and not name.endswith(".tmp")


def find_added(directory: Path | None, name: str) -> AddedModel | None:
    """Return the record of an added model, or None where `directory` has none of this name.

    Raises InvalidModelConfig where the record is broken.
    """
    if directory is None or not is_valid_name(name):
        return None
    path = directory / name / RECORD_FILE
    return _read_record(path, name) if path.is_file() else None


def list_added_names(directory: Path | None) -> tuple[str, ...]:
    """List the names of the added models, in order. Their records are not read."""
    if directory is None or not directory.is_dir():
        return ()
    names = (path.name for path in directory.iterdir() if (path / RECORD_FILE).is_file())
    return tuple(sorted(name for name in names if is_valid_name(name)))


def verify_added(directory: Path, added: AddedModel) -> None:
    """Compare every file of an added model with its record.

    Raises CorruptWeights, ModelUnavailable.
    """
    folder = directory / added.name
    for name, sha256 in added.files.items():
        path = folder / name
        if not path.is_file():
            raise ModelUnavailable(f"{folder} lacks {name}, which was added with {added.name}")
        try:
            verify_file(path, sha256, None)
        except CorruptWeights as err:
            raise CorruptWeights(
                name, f"{err.detail}, as when {added.name} was added; the file is not used"
            ) from err


def _read_record(path: Path, name: str) -> AddedModel:
    values = read_json_object(path)
    if values.get("format") != 1:
        raise InvalidModelConfig(str(path), "this format is not known; a newer Lineup wrote it")
    files, label = values.get("files"), values.get("synthetic_label")
    if (
        values.get("name") != name
        or not isinstance(files, dict)
        or not all(_is_file_name(each) and _is_sha256(files[each]) for each in files)
        or not _is_sha256(values.get("weights_sha256"))
        or not isinstance(values.get("added_at"), str)
        or not isinstance(label, str | None)
    ):
        raise InvalidModelConfig(str(path), "it is not the record of an added model")
    return AddedModel(name, files, values["weights_sha256"], values["added_at"], label)


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", RECORD_FILE)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
