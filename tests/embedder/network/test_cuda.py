"""What holds on a CUDA device: its float32 is float32, half precision moves no answer, equal pixels
have equal bits, and memory is half. `make gpu` runs these; speed is a benchmark.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.network.device import Precision, choose_placement
from embedder.network.download import locate_model
from embedder.network.embed import Embedder
from embedder.network.panel import Panel, PanelCheck
from embedder.network.panel_pictures import preprocess_panel
from embedder.network.patches import Normalisation
from embedder.network.registry import BUILTIN, MODELS
from embedder.network.weights import load_vit
from embedder.pictures.preprocess import Preprocessing, normalise
from tests.benchmarks.embed import load_unchecked

pytestmark = pytest.mark.gpu

ModelWriter = Callable[..., Path]
Pixels = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]

BATCH = 64
# Weights and activations of half precision, as a share of those of float32.
LARGEST_SHARE_OF_MEMORY = 0.55


@pytest.fixture(scope="module", autouse=True)
def _cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """The panel as the built-in model reads it."""
    info = Embedder.load(BUILTIN, device="cpu", precision="float32").info
    return preprocess_panel(info.preprocessing)


def check(model: str | Path, precision: Precision) -> PanelCheck:
    files = locate_model(model)
    vit = load_vit(files.weights, files.architecture, files.head)
    panel = Panel(files.name, vit, files.preprocessing)
    return panel.check(replace(choose_placement("cuda"), precision=precision))


def load(precision: str, model: str | Path = BUILTIN) -> Embedder:
    return Embedder.load(model, device="cuda", precision=precision, batch_size=BATCH)


def test_float32_is_float32() -> None:
    found = check(BUILTIN, Precision.FLOAT32)
    print(found)
    assert found.smallest_cosine > 0.9999999
    assert found.largest_logit_difference < 1e-3


def test_float32_is_float32_within_a_host_that_allows_tf32(pixels: Pixels) -> None:
    embedder = load("float32")
    expected = embedder.embed_pixels(pixels)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            found = embedder.embed_pixels(pixels)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.vectors.tobytes() == expected.vectors.tobytes()
    assert found.logits.tobytes() == expected.logits.tobytes()


def test_float32_uses_no_convolution_of_cudnn(pixels: Pixels) -> None:
    """cuDNN would compute it in TF32; without cuDNN the bits are the same."""
    embedder = load("float32")
    expected = embedder.embed_pixels(pixels)
    with torch.backends.cudnn.flags(enabled=False):
        found = embedder.embed_pixels(pixels)
    assert found.vectors.tobytes() == expected.vectors.tobytes()


@pytest.mark.parametrize(
    ("precision", "cosine", "difference"),
    [(Precision.FLOAT16, 0.9999, 0.05), (Precision.BFLOAT16, 0.9995, 0.1)],
)
def test_half_precision_is_accepted_for_the_built_in_model(
    precision: Precision, cosine: float, difference: float
) -> None:
    found = check(BUILTIN, precision)
    print(found)
    assert found.accepted
    assert found.smallest_cosine >= cosine
    assert found.largest_logit_difference <= difference


def test_float16_is_chosen_and_says_how_far_it_moves_answers() -> None:
    embedder = Embedder.load(BUILTIN, device="cuda")
    assert embedder.precision == "float16"
    assert embedder.precision_check is not None
    assert embedder.precision_check.accepted
    assert embedder.refused_check is None


@pytest.mark.parametrize("name", ["community-forensics-384-original", "builtin"])
def test_the_device_normalises_every_level_as_numpy_does(name: str) -> None:
    preprocessing = MODELS[name].preprocessing or Preprocessing(
        None, None, 160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    levels = np.arange(256, dtype=np.uint8).repeat(6).reshape(1, 16, 32, 3)
    device = Normalisation(preprocessing).to("cuda")
    found = device(torch.from_numpy(levels).to("cuda")).cpu().numpy()
    assert np.abs(found - normalise(levels, preprocessing)).max() <= 1e-6


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_equal_pixels_have_equal_bits_at_every_place_of_a_look_up(
    precision: str, pixels: Pixels
) -> None:
    embedder = load(precision)
    assert embedder.lookup_batch_size == choose_placement("cuda").lookup_batch_size == 8
    alone = embedder.embed_each(pixels[:1])
    for place in range(embedder.lookup_batch_size):
        others = pixels[1:9].copy()
        others[place] = pixels[0]
        found = embedder.embed_each(others)
        assert found.vectors[place].tobytes() == alone.vectors[0].tobytes()
        assert found.logits[place] == alone.logits[0]


def test_equal_pixels_have_equal_bits_beside_a_stream(
    pixels: Pixels, samples: dict[str, bytes]
) -> None:
    embedder = load("float16")
    expected = embedder.embed_each(pixels[:1])
    wrong: list[int] = []
    finished = threading.Event()

    def look_up(number: int) -> None:
        while not finished.is_set():
            beside = embedder.embed_each(pixels[[0, *range(1, 1 + number)]])
            if beside.vectors[0].tobytes() != expected.vectors[0].tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=look_up, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    items = ((n, samples["jpeg"]) for n in range(1_000))
    for _ in embedder.embed_stream((n, data, embedder.picture_order) for n, data in items):
        pass
    finished.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_half_precision_takes_half_of_the_memory(published_checkpoints: dict[str, Path]) -> None:
    """Weights and activations of the full model, batches of 64."""
    taken = {}
    side = 384
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), np.uint8)
    for precision in (Precision.FLOAT32, Precision.FLOAT16):
        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        embedder = load_unchecked(published_checkpoints["huggingface"], "cuda", precision)
        torch.cuda.reset_peak_memory_stats()
        embedder.embed_pixels(pixels)
        torch.cuda.synchronize()
        taken[precision] = torch.cuda.max_memory_allocated() - before
        weights = torch.cuda.memory_allocated() - before
        print(f"{precision.value}: {weights / 1e6:.0f} of {taken[precision] / 1e6:.0f} MB")
        del embedder
    assert taken[Precision.FLOAT16] <= LARGEST_SHARE_OF_MEMORY * taken[Precision.FLOAT32]


def test_a_stored_check_names_the_device(tmp_path: Path) -> None:
    first = Embedder.load(BUILTIN, device="cuda", checks_dir=tmp_path / "precision")
    (kept,) = (tmp_path / "precision").iterdir()
    assert torch.cuda.get_device_name() in kept.read_text()
    again = Embedder.load(BUILTIN, device="cuda:0", checks_dir=tmp_path / "precision")
    assert first.precision_check is not None
    assert again.precision_check == replace(first.precision_check, device="cuda:0")
