from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.errors import DeviceUnavailable, PrecisionRefused
from embedder.network.device import (
    POLICIES,
    DeviceKind,
    Precision,
    choose_placement,
    cpu_has_native_bfloat16,
    set_own_thread_count,
)
from embedder.network.embed import Embedder
from embedder.network.panel import MINIMUM_COSINE

ModelWriter = Callable[..., Path]


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "cuda:first", "CPU ", "tpu"])
def test_an_unknown_device_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match="cuda, xla, mps, cpu"):
        choose_placement(name)


def test_a_device_that_this_machine_lacks_is_refused_by_name() -> None:
    absent = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xla": "torch_xla" in sys.modules,
    }
    for name in (name for name, there in absent.items() if not there):
        with pytest.raises(DeviceUnavailable, match=f"no '{name}'"):
            choose_placement(name)


@pytest.mark.parametrize("precision", ["half", "fp16", "int8", ""])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision: str) -> None:
    with pytest.raises(DeviceUnavailable, match="float32, float16, bfloat16"):
        choose_placement("cpu", precision)


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="float16 on a CPU"):
        choose_placement("cpu", "float16")


def test_the_table_has_a_reason_for_every_kind_of_device() -> None:
    assert set(POLICIES) == set(DeviceKind)
    assert POLICIES[DeviceKind.CUDA].precision is Precision.FLOAT16
    assert POLICIES[DeviceKind.XLA].precision is Precision.BFLOAT16
    assert POLICIES[DeviceKind.CPU].precision is Precision.FLOAT32
    assert all(len(policy.reason) > 40 for policy in POLICIES.values())


def test_only_a_cpu_with_native_bfloat16_tries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, expected in ((False, Precision.FLOAT32), (True, Precision.BFLOAT16)):
        monkeypatch.setattr(
            "embedder.network.device.cpu_has_native_bfloat16", lambda there=native: there
        )
        assert choose_placement("cpu").precision is expected
    assert choose_placement("cpu", "float32").precision is Precision.FLOAT32


def test_the_capability_is_read_from_the_cpu_that_runs() -> None:
    flags_file = Path("/proc/cpuinfo")
    if not flags_file.is_file():
        pytest.skip("no /proc/cpuinfo to compare with")
    flags = flags_file.read_text()
    assert cpu_has_native_bfloat16() == ("avx512_bf16" in flags or "amx_tile" in flags)


def test_auto_is_a_device_that_is_there() -> None:
    placement = choose_placement()
    assert placement.kind.value == placement.device.partition(":")[0]
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert placement.device in ("cpu", "xla")


@pytest.fixture(scope="module")
def fragile_model(tmp_path_factory: pytest.TempPathFactory, model_writer: ModelWriter) -> Path:
    """Values around 1,000 whose sum is weighted to nothing: what is left are the digits that
    bfloat16 does not have.
    """
    fragile = model_writer(tmp_path_factory.mktemp("models") / "fragile")
    tensors = load_file(fragile / "model.safetensors")
    for layer in range(2):
        attention = f"vit.encoder.layer.{layer}.attention"
        tensors[f"{attention}.attention.value.bias"] += 1_000
        weight = tensors[f"{attention}.output.dense.weight"]
        tensors[f"{attention}.output.dense.weight"] = 100 * (
            weight - weight.mean(dim=1, keepdim=True)
        )
    save_file(tensors, fragile / "model.safetensors")
    return fragile


def test_a_precision_that_breaks_a_model_is_refused_where_it_was_asked_for(
    fragile_model: Path,
) -> None:
    with pytest.raises(PrecisionRefused, match=r"bfloat16 on cpu .*: use precision float32") as err:
        Embedder.load(fragile_model, device="cpu", precision="bfloat16")
    assert not err.value.cosine >= MINIMUM_COSINE
    assert (err.value.device, err.value.precision) == ("cpu", "bfloat16")
    assert Embedder.load(fragile_model, device="cpu", precision="float32").refused_check is None


def test_float32_is_taken_where_the_device_would_use_a_precision_that_breaks_the_model(
    fragile_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedder.network.device.cpu_has_native_bfloat16", lambda: True)
    embedder = Embedder.load(fragile_model, device="cpu")
    assert embedder.precision == "float32"
    assert embedder.precision_check is None
    assert embedder.refused_check is not None
    assert embedder.refused_check.precision == "bfloat16"
    assert not embedder.refused_check.accepted
    exact = Embedder.load(fragile_model, device="cpu", precision="float32")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert np.array_equal(embedder.embed_pixels(pixels).vectors, exact.embed_pixels(pixels).vectors)


def test_a_sound_model_passes_the_check_in_bfloat16(tiny_model: Path) -> None:
    embedder = Embedder.load(tiny_model, device="cpu", precision="bfloat16")
    exact = Embedder.load(tiny_model, device="cpu", precision="float32")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    rough, reference = embedder.embed_pixels(pixels), exact.embed_pixels(pixels)
    assert (embedder.device, embedder.precision) == ("cpu", "bfloat16")
    assert embedder.precision_check is not None
    assert embedder.precision_check.accepted
    assert embedder.refused_check is None
    assert (exact.precision_check, exact.refused_check) == (None, None)
    assert rough.vectors.dtype == rough.logits.dtype == np.float32
    assert not np.array_equal(rough.vectors, reference.vectors), (
        "it really computed in the lower precision"
    )
    assert np.sum(rough.vectors * reference.vectors, axis=1).min() > MINIMUM_COSINE


@pytest.fixture
def three_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_a_thread_that_computes_with_one_core_leaves_the_others_theirs(three_threads: int) -> None:
    with ThreadPoolExecutor(1) as sparing, ThreadPoolExecutor(1) as later:
        sparing.submit(set_own_thread_count, 1).result()

        assert later.submit(torch.get_num_threads).result() == three_threads
        assert sparing.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == three_threads
