from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from embedder.network.embed import Embedder
from embedder.network.float32 import full_float32

HAS_FLAGS_FOR_EACH_PRODUCT = hasattr(torch.backends.cuda.matmul, "fp32_precision")


def read_flags() -> tuple[Any, ...]:
    products = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    return tuple(getattr(product, "fp32_precision", None) for product in products)


def lower_by_name() -> None:
    torch.set_float32_matmul_precision("medium")


def lower_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def lower_one_product() -> None:
    if not HAS_FLAGS_FOR_EACH_PRODUCT:
        pytest.skip("torch has no flag for each product before 2.9")
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


@pytest.fixture(autouse=True)
def flags_are_restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("lower", [lower_by_name, lower_tf32, lower_one_product])
def test_what_a_host_application_lowered_is_full_within_and_lowered_again_after(
    lower: Any,
) -> None:
    lower()
    before = read_flags()
    with full_float32("cpu"), full_float32("cpu"):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
        assert set(read_flags()) <= {"ieee", "none", None}
    assert read_flags() == before


def test_flags_that_nobody_lowered_are_not_touched() -> None:
    before = (torch.get_float32_matmul_precision(), *read_flags())
    with full_float32("cpu"):
        assert (torch.get_float32_matmul_precision(), *read_flags()) == before


def test_the_flags_come_back_after_an_error() -> None:
    lower_by_name()
    with pytest.raises(RuntimeError, match="the forward failed"), full_float32("cpu"):
        raise RuntimeError("the forward failed")
    assert torch.get_float32_matmul_precision() == "medium"


def test_the_last_of_several_threads_restores_the_flags() -> None:
    lower_by_name()
    inside = Barrier(4)

    def use(_: int) -> str:
        with full_float32("cpu"):
            inside.wait()
            return torch.get_float32_matmul_precision()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(use, range(4))) == {"highest"}
    assert torch.get_float32_matmul_precision() == "medium"


def test_an_embedding_is_the_same_bits_within_a_host_that_computes_in_bfloat16(
    tiny_model: Path,
) -> None:
    embedder = Embedder.load(tiny_model, device="cpu", precision="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = embedder.embed_pixels(pixels)
    lower_by_name()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = embedder.embed_pixels(pixels)
        assert torch.is_autocast_enabled("cpu")
    assert found.vectors.tobytes() == expected.vectors.tobytes()
    assert found.logits.tobytes() == expected.logits.tobytes()
