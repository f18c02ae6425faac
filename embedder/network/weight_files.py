"""Weight files before their tensors are read: what they are, their digests and shapes; no tensors.

Order of the checks: name, content (a pickle or an archive is refused under any name), byte size,
sha256, safetensors header. No pickle is ever opened. torch is not loaded here, because it takes
seconds, and a load of ready embeddings needs to know its model but not its network.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from embedder.errors import CorruptWeights, ModelUnavailable, UnsafeWeights
from embedder.unsafe_files import UNSAFE_STARTS, UNSAFE_SUFFIXES

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


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors of a safetensors file from its header alone.

    Raises UnsafeWeights, CorruptWeights, ModelUnavailable.
    """
    check_is_safetensors(path)
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except SafetensorError as err:
        raise CorruptWeights(
            path.name, f"the file is not a complete safetensors file: {err}"
        ) from err
