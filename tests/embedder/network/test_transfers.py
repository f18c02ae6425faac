from __future__ import annotations

import numpy as np
import pytest
import torch

from embedder.network.transfers import Transfers

Pixels = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)


def test_staged_rows_are_filled_up_with_zeros_and_an_array_that_fits_is_not_copied(
    pixels: Pixels,
) -> None:
    transfers = Transfers(torch.device("cpu"))
    assert not transfers.pinned
    assert transfers.stage(pixels, 4).data_ptr() == pixels.ctypes.data
    listed, filled = transfers.stage(list(pixels), 4), transfers.stage(list(pixels), 6)
    assert np.array_equal(listed.numpy(), pixels)
    assert np.array_equal(filled[:4].numpy(), pixels)
    assert not filled[4:].any()


def test_results_come_back_as_float32_and_what_was_not_wanted_as_none(pixels: Pixels) -> None:
    transfers = Transfers(torch.device("cpu"))
    uploaded = transfers.upload(transfers.stage(list(pixels), 4))
    half, nothing = transfers.download([uploaded.half(), None]).wait()
    assert nothing is None
    assert half is not None
    assert half.dtype == np.float32
    assert np.array_equal(half, pixels.astype(np.float16).astype(np.float32))


@pytest.mark.gpu
def test_on_cuda_pixels_and_results_lie_in_page_locked_memory(pixels: Pixels) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    transfers = Transfers(torch.device("cuda"))
    staged = transfers.stage(list(pixels), 4)
    assert staged.is_pinned()
    pending = transfers.download([transfers.upload(staged) * 2, None])
    assert all(tensor is None or tensor.is_pinned() for tensor in pending.tensors)
    doubled, nothing = pending.wait()
    assert nothing is None
    assert doubled is not None
    assert np.array_equal(doubled, pixels * 2)
