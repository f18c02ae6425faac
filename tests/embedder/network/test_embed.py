from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from transformers import ViTForImageClassification

from embedder.errors import CorruptImage, CorruptWeights, ImageTooSmall
from embedder.network.device import POLICIES, DeviceKind, Placement, Precision
from embedder.network.download import locate_model
from embedder.network.embed import (
    MAX_DECODED_BYTES,
    MAX_WAITING_BYTES,
    Embedder,
    count_workers,
    describe_model,
)
from embedder.network.results import Embedded, Failed
from embedder.network.weights import load_vit
from embedder.pictures.decode import DecodedImage, ImageLimits, decode, make_thumbnail
from embedder.pictures.preprocess import normalise, preprocess

Encoder = Callable[..., bytes]
PictureMaker = Callable[..., Image.Image]
ModelWriter = Callable[..., Path]
Pixels = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]
AtForward = Callable[[Callable[[int, torch.dtype], object]], None]

# Results do not depend on the composition of the batch beyond this.
BATCH_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return Embedder.load(tiny_model, device="cpu", precision="float32", batch_size=4)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (11, 32, 32, 3), np.uint8)


def embedder_on(placement: Placement, model: Path) -> Embedder:
    files = locate_model(model)
    return Embedder(
        describe_model(files, 0), load_vit(files.weights, files.architecture), placement
    )


def size_of(_key: object, decoded: DecodedImage) -> tuple[int, int]:
    return decoded.width, decoded.height


@pytest.fixture(scope="module")
def decoded(samples: dict[str, bytes]) -> list[DecodedImage]:
    return [decode(data) for data in samples.values()]


def test_vectors_are_float32_of_norm_one_and_logits_are_float32(
    embedder: Embedder, decoded: list[DecodedImage]
) -> None:
    embeddings = embedder.embed(decoded)
    assert (embeddings.vectors.shape, embeddings.vectors.dtype) == ((len(decoded), 32), np.float32)
    assert (embeddings.logits.shape, embeddings.logits.dtype) == ((len(decoded),), np.float32)
    assert np.abs(np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1) - 1).max() < 1e-6
    assert embeddings.patch_tokens is None
    assert embeddings.attentions is None


def test_the_logit_is_what_the_head_reads_from_the_cls_token(
    embedder: Embedder, tiny_model: Path, pixels: Pixels
) -> None:
    weights = load_file(tiny_model / "model.safetensors")
    model = ViTForImageClassification.from_pretrained(tiny_model, local_files_only=True).eval()
    values = torch.from_numpy(normalise(pixels, embedder.info.preprocessing))
    with torch.inference_mode():
        reference = model(values)
        cls = model.vit(values).last_hidden_state[:, 0].numpy()  # (n, d)
    embeddings = embedder.embed_pixels(pixels)
    by_hand = cls @ weights["classifier.weight"].numpy()[0] + weights["classifier.bias"].numpy()[0]
    assert np.abs(embeddings.logits - by_hand).max() < 1e-5
    assert np.abs(embeddings.logits - reference.logits[:, 0].numpy()).max() < 1e-5
    assert (
        np.abs(embeddings.vectors - cls / np.linalg.norm(cls, axis=1, keepdims=True)).max() < 1e-6
    )


def test_results_do_not_depend_on_the_composition_of_the_batch(
    tiny_model: Path, pixels: Pixels
) -> None:
    together = Embedder.load(
        tiny_model, device="cpu", precision="float32", batch_size=11
    ).embed_pixels(pixels)
    for size in (1, 2, 3, 7):
        other = Embedder.load(
            tiny_model, device="cpu", precision="float32", batch_size=size
        ).embed_pixels(pixels)
        assert np.abs(other.vectors - together.vectors).max() <= BATCH_TOLERANCE
        assert np.abs(other.logits - together.logits).max() <= BATCH_TOLERANCE
    order = np.random.default_rng(0).permutation(len(pixels))
    shuffled = Embedder.load(
        tiny_model, device="cpu", precision="float32", batch_size=5
    ).embed_pixels(pixels[order])
    assert np.abs(shuffled.vectors - together.vectors[order]).max() <= BATCH_TOLERANCE


@pytest.mark.parametrize("lookup_batch_size", [1, 3])
def test_look_ups_have_forwards_of_one_shape_and_equal_bits_at_every_place(
    tiny_model: Path, pixels: Pixels, at_forward: AtForward, lookup_batch_size: int
) -> None:
    embedder = embedder_on(
        Placement(
            "cpu",
            DeviceKind.CPU,
            Precision.FLOAT32,
            4,
            full_batches=False,
            lookup_batch_size=lookup_batch_size,
        ),
        tiny_model,
    )
    sizes: set[int] = set()
    at_forward(lambda count, _: sizes.add(count))
    alone = [embedder.embed_each(pixels[n : n + 1]) for n in range(len(pixels))]
    order = np.random.default_rng(0).permutation(len(pixels))
    together = embedder.embed_each(pixels[order])
    assert sizes == {lookup_batch_size}
    for row, n in enumerate(order):
        assert together.vectors[row].tobytes() == alone[n].vectors[0].tobytes()
        assert together.logits[row] == alone[n].logits[0]
    assert embedder.embed_each(pixels[:0]).vectors.shape == (0, 32)


def test_the_same_holds_for_the_full_size_model(published_checkpoints: dict[str, Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 384, 384, 3), np.uint8)
    embedder = Embedder.load(
        published_checkpoints["huggingface"], device="cpu", precision="float32", batch_size=3
    )
    together, alone = embedder.embed_pixels(pixels), embedder.embed_pixels(pixels[1:2])
    assert np.abs(together.vectors[1] - alone.vectors[0]).max() <= BATCH_TOLERANCE
    assert np.abs(together.logits[1] - alone.logits[0]).max() <= BATCH_TOLERANCE


def test_patch_tokens_and_attentions_come_on_request_and_change_nothing_else(
    embedder: Embedder, pixels: Pixels
) -> None:
    plain = embedder.embed_pixels(pixels)
    embeddings = embedder.embed_pixels(pixels, patch_tokens=True, attentions=True)
    assert embeddings.patch_tokens is not None
    assert embeddings.attentions is not None
    assert (embeddings.patch_tokens.shape, embeddings.patch_tokens.dtype) == (
        (11, 16, 32),
        np.float32,
    )
    assert (embeddings.attentions.shape, embeddings.attentions.dtype) == (
        (11, 2, 2, 17, 17),
        np.float32,
    )
    assert np.abs(embeddings.attentions.sum(axis=-1) - 1).max() < 1e-5
    assert np.abs(embeddings.vectors - plain.vectors).max() < 1e-5
    again = embedder.embed_pixels(pixels)
    assert np.array_equal(again.vectors, plain.vectors), "the faster attention is back"


def test_patch_tokens_are_576_of_384_for_the_full_size_model(
    published_checkpoints: dict[str, Path],
) -> None:
    embedder = Embedder.load(published_checkpoints["timm"], device="cpu", precision="float32")
    embeddings = embedder.embed_pixels(np.zeros((1, 384, 384, 3), np.uint8), patch_tokens=True)
    assert embeddings.patch_tokens is not None
    assert embeddings.patch_tokens.shape == (1, 576, 384)


def test_no_images_are_no_rows_of_the_right_width(embedder: Embedder) -> None:
    embeddings = embedder.embed([], patch_tokens=True, attentions=True)
    assert (embeddings.vectors.shape, embeddings.logits.shape) == ((0, 32), (0,))
    assert embeddings.patch_tokens is not None
    assert embeddings.attentions is not None
    assert (embeddings.patch_tokens.shape, embeddings.attentions.shape) == (
        (0, 16, 32),
        (0, 2, 2, 17, 17),
    )


def test_pixels_of_another_shape_or_type_are_refused(embedder: Embedder) -> None:
    for wrong in (
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 3, 32, 32), np.float32),
        np.zeros((1, 32, 32, 3), np.int64),
    ):
        with pytest.raises(ValueError, match="pixels must be"):
            embedder.embed_pixels(wrong)


def test_an_image_under_the_crop_of_the_model_is_too_small(
    embedder: Embedder, picture_maker: PictureMaker
) -> None:
    small = picture_maker(31, 200)
    with pytest.raises(ImageTooSmall):
        embedder.embed([DecodedImage(small, "png", "RGB", *small.size)])


def test_short_batches_are_filled_up_where_the_device_wants_it(
    tiny_model: Path, pixels: Pixels, at_forward: AtForward
) -> None:
    """An XLA device compiles each new shape; the rule is the same code on a CPU."""
    sizes: set[int] = set()
    embedder = embedder_on(
        Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 4, full_batches=True), tiny_model
    )
    reference = Embedder.load(tiny_model, device="cpu", precision="float32").embed_pixels(pixels)
    at_forward(lambda count, _: sizes.add(count))
    embeddings = embedder.embed_pixels(pixels)
    assert sizes == {4}
    assert np.abs(embeddings.vectors - reference.vectors).max() <= BATCH_TOLERANCE


def test_weights_that_give_no_finite_embedding_are_refused(
    tmp_path: Path, model_writer: ModelWriter
) -> None:
    broken = model_writer(tmp_path / "broken", std=1e30)
    with pytest.raises(CorruptWeights, match="not finite"):
        Embedder.load(broken, device="cpu", precision="float32").embed_pixels(
            np.ones((1, 32, 32, 3), np.uint8)
        )


def test_threads_may_embed_at_the_same_time(embedder: Embedder, pixels: Pixels) -> None:
    reference = embedder.embed_pixels(pixels)

    def work(n: int) -> bool:
        embeddings = embedder.embed_pixels(pixels, attentions=n % 3 == 0)
        return bool(np.abs(embeddings.vectors - reference.vectors).max() < 1e-5)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(24)))


def test_an_image_error_of_what_derives_is_that_items_failure(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    def derive(key: int, decoded: DecodedImage) -> int:
        if key % 3 == 0:
            raise CorruptImage("png", "nothing can be derived from it")
        return decoded.width

    results = list(embedder.embed_stream(((n, samples["png"]) for n in range(10)), derive))
    assert [isinstance(each, Failed) for each in results] == [n % 3 == 0 for n in range(10)]
    assert {each.derived for each in results if isinstance(each, Embedded)} == {120}


def test_what_is_embedded_and_derived_from_is_the_changed_picture(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    """A failed change is that item's failure, and so is one that leaves too little."""

    def change(key: str, image: Image.Image) -> Image.Image:
        if key == "fails":
            raise CorruptImage("png", "nothing can be embeddings of it")
        return {"as it is": image, "turned": ImageOps.flip(image)}.get(key, image.resize((2, 2)))

    items = [(key, samples["png"]) for key in ("as it is", "turned", "fails", "tiny")]
    as_is, turned, fails, tiny = embedder.embed_stream(
        items, lambda _, decoded: decoded.image, change=change
    )

    assert isinstance(as_is, Embedded)
    assert isinstance(turned, Embedded)
    for each, image in (
        (as_is, decode(samples["png"]).image),
        (turned, ImageOps.flip(decode(samples["png"]).image)),
    ):
        expected = embedder.embed_pixels(preprocess(image, embedder.info.preprocessing)[None])
        assert np.abs(each.vector - expected.vectors[0]).max() <= BATCH_TOLERANCE
        assert each.derived.tobytes() == image.tobytes()
    assert [isinstance(each, Failed) and each.error.reason for each in (fails, tiny)] == [
        "corrupt",
        "too_small",
    ]


def test_any_other_exception_of_what_derives_is_raised_after_what_came_before(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    def derive(key: int, decoded: DecodedImage) -> int:
        return 1 // (6 - key)

    stream = embedder.embed_stream(((n, samples["png"]) for n in range(40)), derive)
    assert [next(stream).key for _ in range(6)] == list(range(6))
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


def test_a_failed_item_holds_neither_its_picture_nor_its_file(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    pictures: list[weakref.ref[Image.Image]] = []

    def derive(_key: str, decoded: DecodedImage) -> None:
        pictures.append(weakref.ref(decoded.image))
        try:
            decoded.image.getpixel((decoded.width, 0))
        except IndexError as err:  # a cause, whose frames hold the picture too
            raise CorruptImage("png", "derived from in vain") from err

    items = [("broken", samples["jpeg"][:-400]), ("whole", bytes([*samples["png"], 0]))]
    held = [sys.getrefcount(data) for _, data in items]
    results = list(embedder.embed_stream(items, derive))
    assert [isinstance(each, Failed) for each in results] == [True, True]
    assert [reference() for reference in pictures] == [None]
    assert [sys.getrefcount(data) for _, data in items] == held


def test_a_stream_keeps_the_order_and_tells_each_bad_item_by_its_key(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    items: list[tuple[int, bytes]] = []
    for n, data in enumerate(list(samples.values()) * 2):
        items.append((n, data if n % 5 else data[: len(data) // 2]))
    results = list(embedder.embed_stream(items, size_of))
    assert [each.key for each in results] == list(range(len(items)))
    for each in results:
        if each.key % 5:
            assert isinstance(each, Embedded)
            expected = embedder.embed([decode(items[each.key][1])])
            assert np.abs(each.vector - expected.vectors[0]).max() <= BATCH_TOLERANCE
            assert each.logit == pytest.approx(float(expected.logits[0]), abs=BATCH_TOLERANCE)
            assert each.derived == (120, 90)
        else:
            assert isinstance(each, Failed)
            assert each.error.reason == "truncated"


def test_a_stream_of_nothing_and_of_nothing_good_ends(embedder: Embedder) -> None:
    nothing: list[tuple[int, bytes]] = []
    assert list(embedder.embed_stream(nothing, size_of)) == []
    results = list(embedder.embed_stream(((n, b"no image") for n in range(30)), size_of))
    assert [each.key for each in results] == list(range(30))
    assert all(isinstance(each, Failed) and each.error.reason == "not_an_image" for each in results)


def test_a_stream_uses_the_embedders_limits(tiny_model: Path, samples: dict[str, bytes]) -> None:
    strict = Embedder.load(tiny_model, device="cpu", limits=ImageLimits(min_image_side=100))
    (only,) = strict.embed_stream([("a", samples["png"])], size_of)
    assert isinstance(only, Failed)
    assert only.error.reason == "too_small"


def test_an_exception_of_the_source_is_raised_after_what_came_before(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    def source() -> Iterator[tuple[int, bytes]]:
        for n in range(6):
            yield n, samples["png"]
        raise OSError("the disk is gone")

    stream = embedder.embed_stream(source(), size_of)
    assert [next(stream).key for _ in range(6)] == list(range(6))
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_a_stream_takes_from_its_source_no_more_than_three_batches_ahead(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    taken = 0

    def source() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        for n in range(80):
            taken += 1
            yield n, samples["png"]

    for handed_on, _ in enumerate(embedder.embed_stream(source(), size_of), start=1):
        assert taken - handed_on < 3 * embedder.batch_size + 1


def test_images_are_derived_from_in_threads_and_no_more_of_them_are_held_than_there_are_threads(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    alive: list[weakref.ref[Image.Image]] = []
    counts: list[int] = []
    threads: set[str] = set()
    lock = threading.Lock()

    def derive(_key: int, decoded: DecodedImage) -> bytes:
        with lock:
            alive.append(weakref.ref(decoded.image))
            threads.add(threading.current_thread().name.partition("_")[0])
            counts.append(sum(reference() is not None for reference in alive))
        return make_thumbnail(decoded.image)

    results = list(embedder.embed_stream(((n, samples["png"]) for n in range(60)), derive))
    assert all(isinstance(each, Embedded) and each.derived.startswith(b"RIFF") for each in results)
    assert threads == {"prepare"}
    assert max(counts) <= count_workers(DeviceKind.CPU, embedder.limits, os.cpu_count() or 1)


def test_a_stream_releases_a_derived_value_once_it_was_handed_on(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    for each in embedder.embed_stream(
        ((n, samples["png"]) for n in range(60)), lambda _, decoded: np.array(decoded.image)
    ):
        assert isinstance(each, Embedded)
        alive.append(weakref.ref(each.derived))
        del each
        most = max(most, sum(reference() is not None for reference in alive))
    assert most <= 1, "only what the caller holds"


def test_a_batch_with_many_derived_bytes_is_closed_early(
    embedder: Embedder, samples: dict[str, bytes], at_forward: AtForward
) -> None:
    sizes: list[int] = []
    at_forward(lambda count, _: sizes.append(count))
    half = MAX_WAITING_BYTES // 2 + 1
    items = [(n, samples["png"]) for n in range(12)]
    assert len(list(embedder.embed_stream(items, size_of, derived_bytes=lambda _: half))) == 12
    assert sizes == [2] * 6
    sizes.clear()
    assert len(list(embedder.embed_stream(items, size_of))) == 12
    assert sizes == [4] * 3


def test_closing_a_stream_early_ends_its_threads(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    stream = embedder.embed_stream(((n, samples["png"]) for n in range(10_000)), size_of)
    assert next(stream).key == 0
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


def test_decoding_of_the_next_batch_happens_during_the_forward(
    tiny_model: Path, samples: dict[str, bytes], at_forward: AtForward
) -> None:
    """The first forward waits until the images of the second batch are prepared too."""
    embedder = Embedder.load(tiny_model, device="cpu", precision="float32", batch_size=4)
    prepared: list[int] = []
    change = threading.Condition()
    met: list[bool] = []

    def derive(key: int, _decoded: DecodedImage) -> None:
        with change:
            prepared.append(key)
            change.notify_all()

    def wait(_count: int, _dtype: torch.dtype) -> None:
        with change:
            met.append(change.wait_for(lambda: len(prepared) >= 8, 20))

    at_forward(wait)
    items = ((n, samples["jpeg"]) for n in range(8))
    assert len(list(embedder.embed_stream(items, derive))) == 8
    assert met == [True, True]


@pytest.mark.parametrize("batches_ahead", [0, 1, 3])
def test_batches_launched_ahead_change_no_result_and_no_order(
    tiny_model: Path, samples: dict[str, bytes], batches_ahead: int
) -> None:
    embedder = embedder_on(
        Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 4, False, batches_ahead), tiny_model
    )
    names = [name for name in samples for _ in range(2)]
    items = [(n, samples[name] if n % 7 else b"no image") for n, name in enumerate(names)]
    results = list(embedder.embed_stream(items, size_of))
    expected = embedder.embed([decode(data) for n, data in items if n % 7])
    embedded = [each for each in results if isinstance(each, Embedded)]
    assert [each.key for each in results] == list(range(len(items)))
    assert [each.key for each in results if isinstance(each, Failed)] == list(
        range(0, len(items), 7)
    )
    assert (
        np.abs(np.stack([each.vector for each in embedded]) - expected.vectors).max()
        <= BATCH_TOLERANCE
    )
    assert (
        np.abs(np.array([each.logit for each in embedded]) - expected.logits).max()
        <= BATCH_TOLERANCE
    )


def test_the_next_batch_is_launched_before_the_results_of_this_one_are_handed_on(
    tiny_model: Path, samples: dict[str, bytes], at_forward: AtForward
) -> None:
    embedder = embedder_on(
        Placement("cpu", DeviceKind.CPU, Precision.FLOAT32, 4, False, batches_ahead=1), tiny_model
    )
    launched: list[int] = []
    at_forward(lambda count, _: launched.append(count))
    at_each = [
        len(launched)
        for _ in embedder.embed_stream(((n, samples["png"]) for n in range(10)), size_of)
    ]
    assert at_each == [2] * 4 + [3] * 6


def test_more_threads_prepare_for_a_device_that_leaves_the_cores_alone() -> None:
    limits = ImageLimits(max_image_pixels=40_000_000)
    assert count_workers(DeviceKind.CPU, limits, 1) == 2
    assert count_workers(DeviceKind.CPU, limits, 64) == POLICIES[DeviceKind.CPU].max_workers == 8
    assert count_workers(DeviceKind.CUDA, limits, 16) == 16
    assert count_workers(DeviceKind.CUDA, limits, 64) == POLICIES[DeviceKind.CUDA].max_workers == 32
    huge = ImageLimits(max_image_pixels=1_000_000_000)
    assert 3 * huge.max_image_pixels * count_workers(DeviceKind.CUDA, huge, 64) <= MAX_DECODED_BYTES
    assert count_workers(DeviceKind.CUDA, ImageLimits(max_image_pixels=10**12), 64) == 1


def test_the_space_is_named_by_weights_and_preprocessing(
    tmp_path: Path, model_writer: ModelWriter, tiny_model: Path
) -> None:
    normalised = {
        "do_resize": False,
        "crop_size": 32,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    one = Embedder.load(tiny_model).info
    other_weights = Embedder.load(model_writer(tmp_path / "a", seed=1)).info
    other_pixels = Embedder.load(model_writer(tmp_path / "b", preprocessing=normalised)).info
    same = Embedder.load(model_writer(tmp_path / "c")).info
    assert other_pixels.weights_sha256 == one.weights_sha256
    assert len({info.space_fingerprint for info in (one, other_weights, other_pixels)}) == 3
    assert same.space_fingerprint == one.space_fingerprint


def test_a_batch_size_must_be_positive(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        Embedder.load(tiny_model, batch_size=-1)
    assert Embedder.load(tiny_model, device="cpu", batch_size=3).batch_size == 3
