from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.errors import CorruptWeights
from embedder.network.device import DeviceKind, Placement, Precision
from embedder.network.download import locate_model
from embedder.network.embed import Embedder
from embedder.network.forward import Extras, Forward
from embedder.network.panel import MINIMUM_COSINE
from embedder.network.results import Embedded, Failed
from embedder.network.weights import load_vit
from embedder.pictures.decode import decode
from tests.tensors import measure_tensors

ModelWriter = Callable[..., Path]
AtForward = Callable[[Callable[[int, torch.dtype], object]], None]
Pixels = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]

# choose_placement refuses float16 on a CPU, which is slow there; it overflows like a GPU's.
HALF = Placement("cpu", DeviceKind.CPU, Precision.FLOAT16, 4, full_batches=False)
EXACT = Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 4, full_batches=False)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def overflowing_model(tmp_path_factory: pytest.TempPathFactory, model_writer: ModelWriter) -> Path:
    """Activations of some 1e5 before the last norm: fine in float32, over the largest number of
    float16, 65,504.
    """
    model = model_writer(tmp_path_factory.mktemp("models") / "overflowing")
    tensors = load_file(model / "model.safetensors")
    tensors["vit.encoder.layer.0.output.dense.weight"] *= 1e5
    tensors["vit.encoder.layer.1.output.dense.weight"] *= 1e5
    save_file(tensors, model / "model.safetensors")
    return model


def forward_on(placement: Placement, model: Path) -> Forward:
    files = locate_model(model)
    return Forward(
        files.name,
        load_vit(files.weights, files.architecture),
        files.preprocessing,
        placement,
        placement.batch_size,
    )


@pytest.fixture
def types_used(at_forward: AtForward) -> list[torch.dtype]:
    """Filled with the type that each forward computes in."""
    used: list[torch.dtype] = []
    at_forward(lambda _, dtype: used.append(dtype))
    return used


def test_results_that_are_not_finite_in_float32_either_raise_when_they_are_awaited(
    tmp_path: Path, model_writer: ModelWriter, pixels: Pixels
) -> None:
    launched = forward_on(HALF, model_writer(tmp_path / "broken", std=1e30)).launch(pixels)
    with pytest.raises(CorruptWeights, match="not finite"):
        launched.wait()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_logit_that_is_not_finite_raises_like_an_embedding(
    tmp_path: Path, model_writer: ModelWriter, pixels: Pixels, value: float
) -> None:
    model = model_writer(tmp_path / "broken")
    tensors = load_file(model / "model.safetensors")
    tensors["classifier.bias"][0] = value
    save_file(tensors, model / "model.safetensors")
    with pytest.raises(CorruptWeights, match="logits that are not finite"):
        forward_on(EXACT, model).launch(pixels).wait()


def test_images_that_overflow_the_precision_are_computed_once_more_in_float32(
    overflowing_model: Path, pixels: Pixels, types_used: list[torch.dtype]
) -> None:
    forward = forward_on(HALF, overflowing_model)
    made = forward.launch(pixels, Extras(patch_tokens=True)).wait()
    assert types_used == [torch.float16, torch.float32]
    exact = forward_on(EXACT, overflowing_model).launch(pixels, Extras(patch_tokens=True)).wait()
    assert np.abs(made.vectors - exact.vectors).max() < 1e-6
    assert made.patch_tokens is not None
    assert exact.patch_tokens is not None
    assert np.abs(made.patch_tokens - exact.patch_tokens).max() < 1e-5


def test_only_the_images_that_overflow_are_computed_once_more(
    overflowing_model: Path, pixels: Pixels, at_forward: AtForward
) -> None:
    """What shares the batch of an image does not decide in which precision it is computed."""
    forward = forward_on(HALF, overflowing_model)
    mixed = pixels.copy()
    mixed[1] = 0
    quiet = forward.launch(mixed[1:2]).wait()
    launches: list[tuple[int, torch.dtype]] = []
    at_forward(lambda count, dtype: launches.append((count, dtype)))
    together = forward.launch(mixed).wait()
    assert np.isfinite(together.vectors).all()
    if (1, torch.float16) in launches:
        assert launches == [(4, torch.float16), (4, torch.float32)]
    assert np.abs(together.vectors[1] - quiet.vectors[0]).max() < 1e-3


def test_images_that_fit_the_precision_are_computed_once(
    tiny_model: Path, pixels: Pixels, types_used: list[torch.dtype]
) -> None:
    made = forward_on(HALF, tiny_model).launch(pixels).wait()
    assert types_used == [torch.float16]
    exact = forward_on(EXACT, tiny_model).launch(pixels).wait()
    assert np.sum(made.vectors * exact.vectors, axis=1).min() > MINIMUM_COSINE


def test_half_precision_takes_half_of_the_memory_of_the_full_model(
    published_checkpoints: dict[str, Path],
) -> None:
    """Weights, and activations of batches of 64: 88 + 623 MB in float32."""
    side, images = 384, 2
    pixels = np.zeros((images, side, side, 3), np.uint8)
    taken = {}
    for placement in (EXACT, HALF):
        forward = forward_on(placement, published_checkpoints["huggingface"])
        forward.launch(pixels).wait()
        tensors = {*forward.network.parameters(), *forward.network.buffers()}
        with measure_tensors() as measured:
            forward.launch(pixels).wait()
        weights = sum(each.nbytes for each in tensors)
        taken[placement.precision] = weights + measured.peak_bytes * 64 // images
    assert taken[Precision.FLOAT32] == pytest.approx(711e6, rel=0.02)
    assert taken[Precision.FLOAT16] <= 0.5 * taken[Precision.FLOAT32]


def test_results_may_be_awaited_in_any_order_and_in_any_thread(
    tiny_model: Path, pixels: Pixels
) -> None:
    forward = forward_on(EXACT, tiny_model)
    launched = [forward.launch(pixels[n : n + 1]) for n in range(4)]
    awaited: dict[int, np.ndarray] = {}

    def wait(n: int) -> None:
        awaited[n] = launched[n].wait().vectors[0]

    threads = [threading.Thread(target=wait, args=(n,)) for n in reversed(range(4))]
    for thread in threads:
        thread.start()
        thread.join()
    together = forward.launch(pixels).wait().vectors
    assert np.abs(np.stack([awaited[n] for n in range(4)]) - together).max() < 1e-5


@pytest.fixture
def cuda() -> str:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    return "cuda"


@pytest.mark.gpu
def test_on_cuda_the_pixels_of_a_forward_lie_in_page_locked_memory(
    cuda: str, tiny_model: Path, pixels: Pixels
) -> None:
    placement = Placement(cuda, DeviceKind.CUDA, Precision.FLOAT16, 4, full_batches=False)
    assert forward_on(placement, tiny_model).launch(list(pixels)).staged.is_pinned()


@pytest.mark.gpu
def test_on_cuda_a_stream_gives_the_embeddings_of_the_cpu_in_order_with_its_failures(
    cuda: str, tiny_model: Path, samples: dict[str, bytes]
) -> None:
    exact = Embedder.load(tiny_model, device="cpu", precision="float32")
    embedder = Embedder.load(tiny_model, device=cuda, batch_size=4)
    assert embedder.precision == "float16"
    names = [name for name in samples for _ in range(6)]
    items = [(n, samples[name] if n % 11 else b"no image") for n, name in enumerate(names)]
    results = list(embedder.embed_stream((n, data, embedder.picture_order) for n, data in items))
    assert [each.key for each in results] == list(range(len(items)))
    assert [each.key for each in results if isinstance(each, Failed)] == list(
        range(0, len(items), 11)
    )
    expected = exact.embed([decode(data) for n, data in items if n % 11]).vectors
    vectors = np.stack([each.vector for each in results if isinstance(each, Embedded)])
    assert np.sum(vectors.astype(np.float64) * expected, axis=1).min() >= MINIMUM_COSINE
    apart = embedder.embed([decode(data) for n, data in items if n % 11]).vectors
    assert np.sum(vectors.astype(np.float64) * apart, axis=1).min() >= MINIMUM_COSINE


@pytest.mark.gpu
def test_on_cuda_images_that_overflow_float16_have_the_embeddings_of_float32(
    cuda: str, overflowing_model: Path, samples: dict[str, bytes], types_used: list[torch.dtype]
) -> None:
    exact = Embedder.load(overflowing_model, device="cpu", precision="float32")
    embedder = Embedder.load(overflowing_model, device=cuda, precision="float16", batch_size=4)
    types_used.clear()
    results = list(
        embedder.embed_stream((n, samples["png"], embedder.picture_order) for n in range(10))
    )
    assert set(types_used) == {torch.float16, torch.float32}
    expected = exact.embed([decode(samples["png"])]).vectors[0]
    assert all(
        isinstance(each, Embedded) and each.vector @ expected >= MINIMUM_COSINE for each in results
    )


@pytest.mark.gpu
def test_on_cuda_threads_embed_beside_a_stream(
    cuda: str, tiny_model: Path, samples: dict[str, bytes]
) -> None:
    embedder = Embedder.load(tiny_model, device=cuda, batch_size=4)
    pixels = embedder.preprocess(decode(samples["png"]))[None]
    expected = embedder.embed_pixels(pixels).vectors[0]
    wrong: list[float] = []

    def search() -> None:
        for _ in range(50):
            cosine = float(embedder.embed_pixels(pixels).vectors[0] @ expected)
            wrong.extend([cosine] if cosine < MINIMUM_COSINE else [])

    thread = threading.Thread(target=search)
    thread.start()
    results = list(
        embedder.embed_stream((n, samples["png"], embedder.picture_order) for n in range(100))
    )
    thread.join()
    assert not wrong
    assert all(
        isinstance(each, Embedded) and each.vector @ expected >= MINIMUM_COSINE for each in results
    )
