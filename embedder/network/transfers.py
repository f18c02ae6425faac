"""Copies between the memory of the host and of a device; knows nothing about models.

Only a CUDA device copies while it computes, and only from page-locked memory. There, pixels are
uploaded on a stream of their own, and results are downloaded behind the forward without the host
waiting. On other devices the same calls copy at once, and on a CPU they copy nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PendingResults:
    """Results that are being copied to the host, float32."""

    def __init__(self, tensors: Sequence[Tensor | None], done: torch.cuda.Event | None) -> None:
        self.tensors = tensors
        self._done = done

    def wait(self) -> list[NDArray[np.float32] | None]:
        """Wait for the results and return them.

        They belong to the caller: none holds page-locked memory.
        """
        if self._done is None:
            return [None if tensor is None else tensor.numpy() for tensor in self.tensors]
        self._done.synchronize()
        return [None if tensor is None else tensor.numpy().copy() for tensor in self.tensors]


class Transfers:
    """The copies of one device.

    Call `upload` and `download` under one lock, with the work between them.
    """

    def __init__(self, device: torch.device) -> None:
        self.pinned = device.type == "cuda"
        self._device = device
        self._uploads = torch.cuda.Stream(device) if self.pinned else None  # type: ignore[no-untyped-call]  # torch's

    def stage(self, rows: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], count: int) -> Tensor:
        """Collect pixels `(h, w, 3)` in one host tensor `(count, h, w, 3)`, zeros after the last of
        them.

        Page-locked memory belongs to torch, which uses it again; it rounds each tensor up to a
        power of two.
        """
        if isinstance(rows, np.ndarray) and len(rows) == count and not self.pinned:
            return torch.from_numpy(rows if rows.flags.writeable else rows.copy())
        staged = torch.empty((count, *rows[0].shape), dtype=torch.uint8, pin_memory=self.pinned)
        filled = staged.numpy()
        for at, row in enumerate(rows):
            filled[at] = row
        filled[len(rows) :] = 0
        return staged

    def upload(self, staged: Tensor) -> Tensor:
        """Return the tensor on the device, ready for work that is queued after this call."""
        if self._uploads is None:
            return staged.to(self._device)
        with torch.cuda.stream(self._uploads):
            uploaded = staged.to(self._device, non_blocking=True)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._uploads)
        uploaded.record_stream(computing)  # allocated on the other stream, read on this one
        return uploaded

    def download(self, tensors: Sequence[Tensor | None]) -> PendingResults:
        """Start copying results back, behind all work that is queued on the device."""
        if not self.pinned:
            return PendingResults(
                [None if tensor is None else tensor.float().cpu() for tensor in tensors], None
            )
        copies = [None if tensor is None else _pinned_copy(tensor.float()) for tensor in tensors]
        # Blocking: the waiting host thread sleeps, and its core is free for decoding.
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's
        done.record(torch.cuda.current_stream(self._device))
        return PendingResults(copies, done)


def _pinned_copy(tensor: Tensor) -> Tensor:
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)
