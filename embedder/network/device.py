"""Which device computes, in which precision, and how it is kept busy: one table with reasons.

Only capability and measurement choose a precision: "mixed precision wherever torch allows it" is
six times slower than float32 on a CPU that emulates bfloat16. What is chosen here is tried first:
a model uses it if the panel check accepts it (`embedder.network.panel`), and else float32.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

import torch

from embedder.errors import DeviceUnavailable


class DeviceKind(StrEnum):
    """A family of accelerators, as torch names it."""

    CUDA = "cuda"
    XLA = "xla"
    MPS = "mps"
    CPU = "cpu"


class Precision(StrEnum):
    """The precision of the matrix products between the first layer and the head, and of their
    weights. The first layer, LayerNorm, the residual stream, head and results are always float32.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The settings of one kind of device where the user chooses nothing else.

    `precision` is tried first: the panel check may refuse it for a model. `full_batches`: a short
    batch is filled up. `batches_ahead`: how many more batches are launched before the results of
    one are awaited. The forwards of look-ups have `lookup_batch_size` images, always: a short one
    is filled up.
    """

    precision: Precision
    batch_size: int
    full_batches: bool
    batches_ahead: int
    reason: str
    lookup_batch_size: int = 1


POLICIES: Mapping[DeviceKind, DevicePolicy] = MappingProxyType(
    {
        DeviceKind.CUDA: DevicePolicy(
            Precision.FLOAT16,
            64,
            full_batches=False,
            batches_ahead=1,
            reason="Tensor cores. float16 has 8 times the resolution of bfloat16 at the same "
            "speed, and the activations of this ViT stay far under its largest number. A forward "
            "of 8 images takes about as long as one of a single image, because the host queues as "
            "many kernels.",
            lookup_batch_size=8,
        ),
        DeviceKind.XLA: DevicePolicy(
            Precision.BFLOAT16,
            64,
            full_batches=True,
            batches_ahead=0,
            reason="The matrix unit of a TPU multiplies bfloat16. Each new shape is compiled "
            "again, so batches are filled up.",
            lookup_batch_size=8,
        ),
        DeviceKind.MPS: DevicePolicy(
            Precision.FLOAT32,
            16,
            full_batches=False,
            batches_ahead=0,
            reason="This project never measured float16 autocast on such a machine, so it is "
            "used only on request.",
        ),
        DeviceKind.CPU: DevicePolicy(
            Precision.FLOAT32,
            8,
            full_batches=False,
            batches_ahead=0,
            reason="A CPU without native bfloat16 emulates it: 0.20 instead of 1.2 images/s of "
            "ViT-S/384 on two cores. A CPU with it (AVX512-BF16, AMX) tries bfloat16: twice the "
            "images/s of float32 at any batch size (docs/benchmarks.md). Look-ups embed image by "
            "image, which costs a CPU 5 to 25 %.",
        ),
    }
)

_DTYPES = MappingProxyType(
    {
        Precision.FLOAT32: torch.float32,
        Precision.FLOAT16: torch.float16,
        Precision.BFLOAT16: torch.bfloat16,
    }
)


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and a precision that this machine has."""

    device: str
    kind: DeviceKind
    precision: Precision
    batch_size: int
    full_batches: bool
    batches_ahead: int = 0
    lookup_batch_size: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products."""
        return _DTYPES[self.precision]


# What other precisions and devices are compared with.
EXACT = Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 8, full_batches=False)


def choose_placement(device: str = "auto", precision: str = "auto") -> Placement:
    """Choose the device ("auto", "cpu", "cuda", "cuda:1", "mps", "xla") and the precision ("auto",
    "float32", "float16", "bfloat16") that is tried first.

    Raises DeviceUnavailable.
    """
    name = choose_device() if device == "auto" else device
    kind = _available_kind(name)
    policy = POLICIES[kind]
    chosen = _default_precision(kind) if precision == "auto" else _known_precision(precision)
    if kind is DeviceKind.CPU and chosen is Precision.FLOAT16:
        raise DeviceUnavailable("float16 on a CPU is not supported: use float32")
    return Placement(
        name,
        kind,
        chosen,
        policy.batch_size,
        policy.full_batches,
        policy.batches_ahead,
        policy.lookup_batch_size,
    )


def choose_placements(device: str = "auto", precision: str = "auto") -> tuple[Placement, ...]:
    """Return what `choose_placement` chooses, and float32 behind it where the user left the
    precision open and the first one is another.

    Raises DeviceUnavailable.
    """
    first = choose_placement(device, precision)
    if precision == "auto" and first.precision is not Precision.FLOAT32:
        return first, replace(first, precision=Precision.FLOAT32)
    return (first,)


def choose_device() -> str:
    """Return the fastest kind of device that this machine has, in the order of the table."""
    for kind in (DeviceKind.CUDA, DeviceKind.XLA, DeviceKind.MPS):
        if _is_there(kind):
            return kind.value
    return DeviceKind.CPU.value


def cpu_has_native_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself. torch has only private names for it, hence the
    defaults.
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def set_thread_count(count: int) -> None:
    """Set the threads of forwards that the calling thread starts, and threads that begin later.

    Several processes may share the cores.
    """
    torch.set_num_threads(count)


def set_own_thread_count(count: int) -> None:
    """Set the threads of forwards that the calling thread starts, and of no others.

    torch sets the number of the thread that calls, and one for all threads that begin later. So
    another thread sets the latter back.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    setting_back = threading.Thread(target=torch.set_num_threads, args=(before,))
    setting_back.start()
    setting_back.join()


def get_torch_device(placement: Placement) -> torch.device:
    """Return torch's device; an XLA device exists only through torch_xla."""
    if placement.kind is DeviceKind.XLA:
        xla = importlib.import_module("torch_xla")  # late: optional, several hundred MB
        chosen: torch.device = xla.device()
        return chosen
    return torch.device(placement.device)


def _default_precision(kind: DeviceKind) -> Precision:
    if kind is DeviceKind.CPU and cpu_has_native_bfloat16():
        return Precision.BFLOAT16
    return POLICIES[kind].precision


def _known_precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError as err:
        raise DeviceUnavailable(
            f"unknown precision {name!r}: use {', '.join(Precision)} or auto"
        ) from err


def _available_kind(name: str) -> DeviceKind:
    family, _, number = name.partition(":")
    if family not in set(DeviceKind) or (number and not number.isdecimal()):
        raise DeviceUnavailable(
            f"unknown device {name!r}: use {', '.join(DeviceKind)}, cuda:N or auto"
        )
    kind = DeviceKind(family)
    if not _is_there(kind):
        raise DeviceUnavailable(
            f"this machine has no {name!r} that torch {torch.__version__} can use"
        )
    if kind is DeviceKind.CUDA and number and int(number) >= torch.cuda.device_count():
        raise DeviceUnavailable(
            f"this machine has no {name!r}: it has {torch.cuda.device_count()} CUDA devices"
        )
    return kind


def _is_there(kind: DeviceKind) -> bool:
    match kind:
        case DeviceKind.CUDA:
            return torch.cuda.is_available()
        case DeviceKind.XLA:
            return importlib.util.find_spec("torch_xla") is not None
        case DeviceKind.MPS:
            return torch.backends.mps.is_available()
        case DeviceKind.CPU:
            return True
        case _:
            assert_never(kind)
