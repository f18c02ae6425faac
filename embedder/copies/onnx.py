"""Runs copy descriptors in ONNX Runtime, which is optional: loading with checks, and describing.

The bytes that are checked are the bytes that are loaded. Each picture is described by itself, so
its vector does not depend on what else is described. With `session.x64quantprecision`, processors
with and without VNNI instructions compute the same int8 products.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.copies.declared import Declared, read_declared
from embedder.copies.descriptors import RUNTIME, DescriptorInfo, DescriptorSource
from embedder.copies.graphs import check_graph
from embedder.copies.inputs import DescriptorInput
from embedder.errors import CorruptWeights, InvalidModelConfig, UnsafeWeights
from embedder.unsafe_files import UNSAFE_STARTS

MAX_DIMENSION = 4_096
_MAX_THREADS = 4  # more cores make a forward of one picture hardly faster
_SMALLEST_NORM = 1e-6


class _Value(Protocol):
    """An input or an output of a network, as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


class _Session(Protocol):
    """What is used of ONNX Runtime's session; the package is optional."""

    def get_inputs(self) -> list[_Value]: ...

    def get_outputs(self) -> list[_Value]: ...

    def get_providers(self) -> list[str]: ...

    def run(self, names: list[str], values: dict[str, NDArray[Any]]) -> list[NDArray[Any]]: ...


class OnnxDescriptor:
    """A copy descriptor in ONNX Runtime; see `CopyDescriptor`. Thread-safe."""

    def __init__(self, session: _Session, info: DescriptorInfo, provider: str) -> None:
        self._session = session
        self._info = info
        self._input_name: str = session.get_inputs()[0].name
        self._output_name: str = session.get_outputs()[0].name
        self.provider = provider

    @property
    def info(self) -> DescriptorInfo:
        """What identifies it."""
        return self._info

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its copy space."""
        return self._info.fingerprint

    @property
    def dimension(self) -> int:
        """The length of its vectors."""
        return self._info.dimension

    @property
    def input(self) -> DescriptorInput:
        """What it reads."""
        return self._info.input

    def describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors `(n, d)` of norm 1 of the pixels `(n, h, w, 3)`.

        Raises ValueError for pixels of another shape, CorruptWeights where the network cannot be
        computed, or gives no vector of a norm.
        """
        wanted = (self.input.height, self.input.width, 3)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted:
            raise ValueError(f"pixels must be uint8 (n, {', '.join(map(str, wanted))})")
        vectors = np.empty((len(pixels), self.dimension), np.float32)
        for row, picture in enumerate(pixels):
            vectors[row] = self._forward(picture)
        return vectors

    def _forward(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = _prepare(picture, self.input)
        try:
            (output,) = self._session.run([self._output_name], {self._input_name: values})
        except Exception as err:  # its errors are of many classes without a common one
            raise CorruptWeights(
                self._info.name, f"ONNX Runtime cannot compute it: {_first_line(err)}"
            ) from err
        vector: NDArray[np.float32] = np.asarray(output, np.float32).reshape(-1)  # (d,)
        norm = float(np.linalg.norm(vector.astype(np.float64)))
        if vector.shape != (self.dimension,) or not _SMALLEST_NORM < norm < np.inf:
            raise CorruptWeights(self._info.name, "it gives no vector of this length with a norm")
        return (vector / np.float32(norm)).astype(np.float32)


def open_onnx(
    data: bytes, path: Path, *, known: DescriptorSource | None, device: str, threads: int | None
) -> OnnxDescriptor:
    """Load the network in `data`, the bytes of the file at `path`. `known` are its facts; of an own
    file (None) the graph says them, and what is declared beside it.

    Raises UnsafeWeights, CorruptWeights and InvalidModelConfig.
    """
    if data.startswith(UNSAFE_STARTS):
        raise UnsafeWeights(path.name, "the content is a pickle or an archive")
    try:
        check_graph(data)
    except ValueError as err:
        raise CorruptWeights(path.name, str(err)) from err
    session, provider = _start_session(data, path.name, device, threads)
    sha256 = hashlib.sha256(data).hexdigest()
    info = _identify(session, path, sha256, len(data), known)
    descriptor = OnnxDescriptor(session, info, provider)
    sample = np.full((1, info.input.height, info.input.width, 3), 128, np.uint8)
    sample[:, ::2, ::3] = 0  # a flat picture might have no direction
    descriptor.describe(sample)
    return descriptor


def _start_session(
    data: bytes, name: str, device: str, threads: int | None
) -> tuple[_Session, str]:
    """Return a session of ONNX Runtime and the provider that it computes with."""
    runtime = importlib.import_module(RUNTIME)  # late: optional, and 100 ms
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or min(_MAX_THREADS, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors; warnings are about optimisations
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", "1")
    provider = _choose_provider(device, runtime.get_available_providers())
    chosen: list[Any] = [(provider, _provider_options(device))]
    if provider != _CPU:
        chosen.append(_CPU)  # for operators that the device does not have
    try:
        session = runtime.InferenceSession(data, options, providers=chosen)
    except Exception as err:  # its errors are of many classes without a common one
        raise CorruptWeights(name, f"ONNX Runtime cannot load it: {_first_line(err)}") from err
    return session, session.get_providers()[0]


_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def _choose_provider(device: str, available: list[str]) -> str:
    wants_cuda = device == "auto" or device.partition(":")[0] == "cuda"
    return _CUDA if wants_cuda and _CUDA in available else _CPU


def _provider_options(device: str) -> dict[str, str]:
    number = device.partition(":")[2]
    return {"device_id": number} if number.isdecimal() else {}


def _identify(
    session: _Session, path: Path, sha256: str, byte_size: int, known: DescriptorSource | None
) -> DescriptorInfo:
    if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
        raise InvalidModelConfig(path.name, "a descriptor has one input and one output")
    shape = session.get_outputs()[0].shape
    dimension = shape[-1] if len(shape) == 2 else None
    if not isinstance(dimension, int) or not 1 < dimension <= MAX_DIMENSION:
        raise InvalidModelConfig(
            path.name, f"the output must be (n, d) with d from 2 to {MAX_DIMENSION:,}: {shape}"
        )
    if known is not None:
        return known.describe_file(byte_size, dimension)
    declared = read_declared(path)
    wanted = _read_input(session.get_inputs()[0], declared, path.name)
    return DescriptorInfo(
        path.name, declared.licence, declared.source, sha256, byte_size, dimension, wanted
    )


def _read_input(described: _Value, declared: Declared, name: str) -> DescriptorInput:
    """Return what an own network reads, from its graph and from what is declared beside it."""
    shape = list(described.shape)
    match (described.type, shape):
        case ("tensor(uint8)", [_, height, width, 3]):
            reads_pixels = True
        case ("tensor(float)", [_, 3, height, width]):
            reads_pixels = False
        case _:
            raise InvalidModelConfig(
                name,
                "the input must be uint8 (n, h, w, 3) or float32 (n, 3, h, w): "
                f"{described.type} {shape}",
            )
    wanted = declared.find_input(height, width, name)
    if reads_pixels != (wanted.mean is None):
        raise InvalidModelConfig(
            name, "mean and std belong to an input of float32, and only to that"
        )
    return wanted


def _prepare(picture: NDArray[np.uint8], wanted: DescriptorInput) -> NDArray[Any]:
    """Return the values of one picture that the network reads."""
    if wanted.mean is None or wanted.std is None:
        return np.ascontiguousarray(picture[None])  # (1, h, w, 3)
    mean, std = (np.array(each, np.float32) for each in (wanted.mean, wanted.std))
    scaled = (picture.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])  # (1, 3, h, w)


def _first_line(err: Exception) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0][:300]
