"""Products of float32 matrices in float32, whatever the host application has allowed.

torch may compute them in TF32 (CUDA) or bfloat16 (CPU) where a host application asks for it, which
training code often does. The flags belong to the whole process. So they are changed only where they
were lowered, only while forwards start, and the last of these restores them. `autocast`, which
belongs to a thread, is left for the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch

# The flags since torch 2.9; before that there is only `float32_matmul_precision`.
_PRODUCTS: tuple[Any, ...] = tuple(
    backend.matmul
    for backend in cast("tuple[Any, ...]", (torch.backends.cuda, torch.backends.mkldnn))
    if hasattr(getattr(backend, "matmul", None), "fp32_precision")
)
_FULL = frozenset({"ieee", "none"})  # "none": not set, which is IEEE


@contextmanager
def full_float32(device_type: str) -> Iterator[None]:
    """Within the block, products of float32 matrices have the precision of float32."""
    _FLAGS.raise_them()
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        _FLAGS.restore_them()


@dataclass(frozen=True, slots=True)
class _Lowered:
    """What a host application chose. `overall` is None where it set the products one by one."""

    overall: str | None
    products: Sequence[str]

    def restore(self) -> None:
        if self.overall is not None:
            torch.set_float32_matmul_precision(self.overall)
        for product, chosen in zip(_PRODUCTS, self.products, strict=True):
            product.fp32_precision = chosen


@dataclass(slots=True)
class _Flags:
    """The flags of this process, counted by those who need them raised."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    lowered: _Lowered | None = None

    def raise_them(self) -> None:
        with self.lock:
            if self.users == 0:
                self.lowered = _find_lowered()
                if self.lowered is not None:
                    torch.set_float32_matmul_precision("highest")
            self.users += 1

    def restore_them(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.lowered is not None:
                self.lowered.restore()
                self.lowered = None


_FLAGS = _Flags()


def _find_lowered() -> _Lowered | None:
    """Return what the host application chose; None where products are in float32 already."""
    products = [str(product.fp32_precision) for product in _PRODUCTS]
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch refuses to name one where they were set one by one
        overall = None
    if overall == "highest" and _FULL.issuperset(products):
        return None
    return _Lowered(overall, products)
