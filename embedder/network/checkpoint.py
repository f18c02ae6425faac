"""The weight files of a checkpoint folder: one safetensors file, or shards that an index names.

The index is that of transformers: `weight_map` names the file of each tensor. It comes from outside
like the weights do, so a name with a folder in it is refused, and every shard's own header must
list exactly the tensors that the index gives to it. Nothing is loaded here.

A checkpoint has one digest. For one file it is the file's sha256. For shards it is the sha256 of
the lines that `sha256sum` prints for them in the order of their names; so
`sha256sum model-0*.safetensors | sha256sum` in the folder prints it too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from embedder.errors import CorruptWeights, InvalidModelConfig, ModelUnavailable, UnsafeWeights
from embedder.jsonfile import read_json_object
from embedder.network.registry import WEIGHTS_FILE
from embedder.network.weight_files import check_is_safetensors, compute_sha256, read_shapes
from embedder.unsafe_files import UNSAFE_SUFFIXES

INDEX_FILE = "model.safetensors.index.json"
# transformers names shards so; a file of such a name that no index lists is left over.
_SHARD_NAME = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Checked weight files, in the order of their names.

    `sha256` (hex) is the digest of all of them; `digests` are those of the single files, by name.
    """

    paths: tuple[Path, ...]
    sha256: str
    digests: Mapping[str, str]


def find_weights(directory: Path) -> Checkpoint:
    """Find the weight files of a folder, check that they are complete, and compute their digests.

    `model.safetensors` precedes an index, as in transformers.

    Raises ModelUnavailable, UnsafeWeights, CorruptWeights, InvalidModelConfig.
    """
    single = directory / WEIGHTS_FILE
    if single.is_file():
        check_is_safetensors(single)
        paths = [single]
    elif (directory / INDEX_FILE).is_file():
        paths = _find_shards(directory)
    else:
        _refuse_folder(directory)
    digests = {path.name: compute_sha256(path) for path in paths}
    return Checkpoint(tuple(paths), combine_digests(digests), digests)


def combine_digests(digests: Mapping[str, str]) -> str:
    """Return the digest of weight files from the sha256 (hex) of each, by its name."""
    if set(digests) == {WEIGHTS_FILE}:
        return digests[WEIGHTS_FILE]
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def count_logits(paths: Sequence[Path]) -> int:
    """Return the number of logits of a checkpoint; 1 where the classifier has another name."""
    for path in paths:
        shapes = read_shapes(path)
        for name in ("classifier.weight", "vit.head.weight"):
            if shapes.get(name):
                return shapes[name][0]
    return 1


def _find_shards(directory: Path) -> list[Path]:
    """Return the shards that the index names, once each holds what the index says."""
    tensors_of = _read_index(directory / INDEX_FILE)
    missing = sorted(name for name in tensors_of if not (directory / name).is_file())
    if missing:
        raise ModelUnavailable(f"{directory} lacks {', '.join(missing)}, which {INDEX_FILE} names")
    present = {path.name for path in directory.iterdir() if _SHARD_NAME.fullmatch(path.name)}
    if extra := sorted(present - set(tensors_of)):
        raise CorruptWeights(INDEX_FILE, f"it does not name {', '.join(extra)}, which lies beside")
    paths = [directory / name for name in sorted(tensors_of)]
    for path in paths:
        actual, wanted = set(read_shapes(path)), tensors_of[path.name]
        if actual != wanted:
            differing = sorted(actual ^ wanted)
            raise CorruptWeights(
                path.name,
                f"it does not hold the tensors that {INDEX_FILE} gives to it: {differing[0]} and "
                f"{len(differing) - 1} more differ",
            )
    return paths


def _read_index(path: Path) -> dict[str, set[str]]:
    """Return the names of the tensors of each shard."""
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModelConfig(path.name, "weight_map does not name the file of each tensor")
    tensors_of: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        _check_file_name(name, path.name)
        tensors_of.setdefault(name, set()).add(tensor)
    return tensors_of


def _check_file_name(name: object, source: str) -> None:
    """Refuse what is not the plain name of a safetensors file in the same folder."""
    if not isinstance(name, str) or re.search(r"[/\\\0]", name) or name.startswith("."):
        raise InvalidModelConfig(source, f"weight_map names {name!r}, which is not a file name")
    suffix = Path(name).suffix.lower()
    if suffix in UNSAFE_SUFFIXES:
        raise UnsafeWeights(name, f"{suffix} files are refused")
    if suffix != ".safetensors":
        raise InvalidModelConfig(source, f"weight_map names {name!r}, which is not safetensors")


def _refuse_folder(directory: Path) -> NoReturn:
    """Raise the error for a folder without weights that can be read."""
    names = sorted(path.name for path in directory.iterdir())
    lacking = f"{directory} has no {WEIGHTS_FILE}"
    if unsafe := [name for name in names if Path(name).suffix.lower() in UNSAFE_SUFFIXES]:
        raise UnsafeWeights(unsafe[0], lacking)
    if others := [name for name in names if name.endswith(".safetensors")]:
        raise ModelUnavailable(f"{lacking}, and no {INDEX_FILE} that names {', '.join(others[:4])}")
    raise ModelUnavailable(lacking)
