"""Safetensors files to a ViT with its weights, by memory map; the checks before any byte is used.

Order of the checks: name, content (a pickle or an archive is refused under any name), byte size,
sha256, safetensors header, tensor names, shapes, types. The published layouts load
(`tensor_names`). Weights in float16 and bfloat16 are widened to float32, which is exact; other
types are refused, because they cannot be. No pickle is ever opened, and no remote code is ever run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from embedder.errors import CorruptWeights, ModelUnavailable, TensorMismatch, UnsafeWeights
from embedder.network.architecture import Architecture
from embedder.network.labels import ONE_LOGIT, Head
from embedder.network.tensor_names import from_published, layout_of, published_name_of
from embedder.network.vit import ViT
from embedder.unsafe_files import UNSAFE_STARTS, UNSAFE_SUFFIXES

# Every value of these is a float32 too.
_EXACT_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_HASH_CHUNK_BYTES = 1 << 20


def check_is_safetensors(path: Path) -> None:
    """Check name and first bytes of a file.

    Raises UnsafeWeights for a pickle by name or by content, CorruptWeights where the header is not
    that of safetensors, ModelUnavailable where the file cannot be read.
    """
    if path.suffix.lower() in UNSAFE_SUFFIXES:
        raise UnsafeWeights(path.name, f"{path.suffix} files are refused")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as err:
        raise ModelUnavailable(f"{path}: cannot be read: {err.strerror}") from err
    # The first 8 bytes of safetensors are the header's length, little-endian, followed by '{'. The
    # brace distinguishes a length whose low bytes equal the start of a pickle.
    if start[8:9] == b"{":
        return
    if start.startswith(UNSAFE_STARTS):
        raise UnsafeWeights(path.name, "the content is a pickle or an archive")
    raise CorruptWeights(path.name, "the file is not in the safetensors format")


def compute_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces: weights should not be in memory twice."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASH_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def verify_file(path: Path, sha256: str | None, byte_size: int | None) -> str:
    """Return the file's sha256 once it equals the pins (None pins nothing).

    Raises CorruptWeights.
    """
    actual_size = path.stat().st_size
    if byte_size is not None and actual_size != byte_size:
        raise CorruptWeights(path.name, f"the file has {actual_size:,} bytes, not {byte_size:,}")
    actual = compute_sha256(path)
    if sha256 is not None and actual != sha256:
        raise CorruptWeights(path.name, f"the file has sha256 {actual}, not {sha256}")
    return actual


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, memory-mapped, under the file's own names.

    Raises UnsafeWeights, CorruptWeights, ModelUnavailable.
    """
    check_is_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it has no __iter__)
    except SafetensorError as err:
        raise CorruptWeights(
            path.name, f"the file is not a complete safetensors file: {err}"
        ) from err


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors of a safetensors file from its header alone.

    Raises UnsafeWeights, CorruptWeights, ModelUnavailable.
    """
    check_is_safetensors(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as err:
        raise CorruptWeights(
            path.name, f"the file is not a complete safetensors file: {err}"
        ) from err


def build_empty_vit(architecture: Architecture) -> ViT:
    """Build the module on the `meta` device.

    It has shapes but no memory, so loading needs no random initialisation.
    """
    with torch.device("meta"):
        return ViT(architecture)


def load_vit(
    paths: Path | Sequence[Path], architecture: Architecture, head: Head = ONE_LOGIT
) -> ViT:
    """Load a ViT with the weights of one file or of several shards (any layout), float32 on the
    CPU, in evaluation mode.

    It has one logit, which `head` makes from those of the checkpoint. Float32 parameters are the
    memory map itself: nothing is initialised and nothing is copied.

    Raises UnsafeWeights, CorruptWeights, TensorMismatch.
    """
    published: dict[str, Tensor] = {}
    for path in [paths] if isinstance(paths, Path) else paths:
        tensors = read_tensors(path)
        if twice := sorted(set(tensors) & set(published)):
            raise CorruptWeights(path.name, f"another shard holds {twice[0]} too")
        published.update(tensors)
    named = from_published(
        published, architecture.num_hidden_layers, qkv_bias=architecture.qkv_bias
    )
    model = build_empty_vit(architecture)
    _check_shapes(published, named, model, head)
    widened = {name: tensor.to(torch.float32) for name, tensor in named.items()}
    widened["classifier.weight"], widened["classifier.bias"] = head.fold(
        widened["classifier.weight"], widened["classifier.bias"]
    )
    model.load_state_dict(widened, strict=True, assign=True)
    model.train(False)
    return model


def _check_shapes(
    published: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    model: ViT,
    head: Head,
) -> None:
    """Compare under module names; report under the file's names, which its owner can look up."""
    layout = layout_of(published)
    wrong: list[str] = []
    for module, built in model.state_dict().items():
        actual, name = named[module], published_name_of(module, layout)
        wanted = (head.rows, *built.shape[1:]) if module.startswith("classifier.") else built.shape
        if actual.dtype not in _EXACT_TYPES:
            wrong.append(
                f"{name} is {actual.dtype}; only float32, float16 and bfloat16 are read exactly"
            )
        elif actual.shape != wanted:
            wrong.append(f"{name} holds {list(actual.shape)} for {module}, not {list(wanted)}")
    if wrong:
        raise TensorMismatch(shapes=wrong)
