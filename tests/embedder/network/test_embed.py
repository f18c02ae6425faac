from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import ViTForImageClassification

from embedder.decoding.picture import (
    DeliveredPicture,
    Picture,
    PictureOrder,
    make_picture,
)
from embedder.errors import CorruptImage, CorruptWeights, ImageTooSmall
from embedder.network.device import DeviceKind, Placement, Precision
from embedder.network.download import locate_model
from embedder.network.embed import (
    MAX_WAITING_BYTES,
    MIN_AHEAD,
    Embedder,
    describe_model,
)
from embedder.network.results import Embedded, Failed
from embedder.network.weights import load_vit
from embedder.pictures.decode import DecodedImage, decode, make_thumbnail
from embedder.pictures.delivery import Condition, deliver
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import normalise, preprocess
from tests.embedder.decoding.made_by_tests import PlantedDecoders

T = TypeVar("T")
Stream = Generator[Embedded[T] | Failed[T], None, None]
Make = Callable[[bytes, PictureOrder], Picture]
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
    return Embedder(describe_model(files), load_vit(files.weights, files.architecture), placement)


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


def test_a_thread_that_spares_cores_has_equal_results() -> None:
    embedder = Embedder.load(device="cpu")
    side = embedder.info.image_size
    seen = np.random.default_rng(0).integers(0, 256, (5, side, side, 3)).astype(np.uint8)

    def spare_and_embed() -> list[bytes]:
        embedder.spare_cores()
        return embed_both_ways()

    def embed_both_ways() -> list[bytes]:
        both = embedder.embed_each(seen), embedder.embed_pixels(seen)
        return [rows.tobytes() for found in both for rows in (found.vectors, found.logits)]

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as sparing:
            assert sparing.submit(spare_and_embed).result() == embed_both_ways()
    finally:
        torch.set_num_threads(before)


def in_stream(embedder: Embedder, items: Iterable[tuple[T, bytes]]) -> Stream[T]:
    """Embed items, each ordered as the model reads it."""
    return embedder.embed_stream((key, data, embedder.picture_order) for key, data in items)


def planted(model: Path, make: Make, batch_size: int = 4) -> Embedder:
    """An embedder for whose files a test makes the pictures."""
    decoders = PlantedDecoders(make)
    return Embedder.load(
        model, device="cpu", precision="float32", batch_size=batch_size, decoders=decoders
    )


def test_an_image_error_of_a_decoder_is_that_items_failure(
    tiny_model: Path, samples: dict[str, bytes]
) -> None:
    def make(data: bytes, order: PictureOrder) -> Picture:
        if data == b"bad":
            raise CorruptImage("png", "nothing can be made of it")
        return make_picture(data, order)

    embedder = planted(tiny_model, make)
    items = [(n, samples["png"] if n % 3 else b"bad") for n in range(10)]
    results = list(in_stream(embedder, items))
    assert [isinstance(each, Failed) for each in results] == [n % 3 == 0 for n in range(10)]
    assert {each.picture.width for each in results if isinstance(each, Embedded)} == {120}


def test_what_is_embedded_is_what_the_order_makes(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    """A delivery that leaves too little is that item's failure."""
    order = replace(embedder.picture_order, thumbnail_pixels=32)
    small = replace(order, delivery=Condition.HALF, limits=ImageLimits(min_image_side=50))
    items = [
        ("as it is", samples["png"], order),
        ("jpeg", samples["png"], replace(order, delivery=Condition.JPEG50)),
        ("tiny", samples["png"], small),
    ]
    as_is, delivered, tiny = embedder.embed_stream(items)

    image = decode(samples["png"]).image
    assert isinstance(as_is, Embedded)
    assert isinstance(delivered, Embedded)
    for each, shown in ((as_is, image), (delivered, deliver(image, Condition.JPEG50))):
        expected = embedder.embed_pixels(preprocess(shown, embedder.info.preprocessing)[None])
        assert np.abs(each.vector - expected.vectors[0]).max() <= BATCH_TOLERANCE
        assert each.picture.thumbnail == make_thumbnail(shown, 32)
        assert each.picture.pixels is None
    assert isinstance(tiny, Failed)
    assert tiny.error.reason == "too_small"


def test_an_order_without_pixels_is_refused(embedder: Embedder, samples: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="preprocessing"):
        list(embedder.embed_stream([(1, samples["png"], PictureOrder(ImageLimits()))]))


def test_any_other_exception_of_a_decoder_is_raised_after_what_came_before(
    tiny_model: Path, samples: dict[str, bytes]
) -> None:
    def make(data: bytes, order: PictureOrder) -> Picture:
        return make_picture(data, order) if data else Picture(str(1 // 0))

    embedder = planted(tiny_model, make)
    stream = in_stream(embedder, ((n, samples["png"] if n != 6 else b"") for n in range(40)))
    assert [next(stream).key for _ in range(6)] == list(range(6))
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_a_failed_item_holds_neither_its_picture_nor_its_file(
    tiny_model: Path, samples: dict[str, bytes]
) -> None:
    pictures: list[weakref.ref[Image.Image]] = []

    def make(data: bytes, order: PictureOrder) -> Picture:
        decoded = decode(data)
        pictures.append(weakref.ref(decoded.image))
        try:
            decoded.image.getpixel((decoded.width, 0))
        except IndexError as err:  # a cause, whose frames hold the picture too
            raise CorruptImage("png", "decoded in vain") from err
        return make_picture(data, order)

    embedder = planted(tiny_model, make)
    items = [("broken", samples["jpeg"][:-400]), ("whole", bytes([*samples["png"], 0]))]
    held = [sys.getrefcount(data) for _, data in items]
    results = list(in_stream(embedder, items))
    embedder.decoders.close()
    assert [isinstance(each, Failed) for each in results] == [True, True]
    assert [reference() for reference in pictures] == [None]
    assert [sys.getrefcount(data) for _, data in items] == held


def test_a_stream_keeps_the_order_and_tells_each_bad_item_by_its_key(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    items: list[tuple[int, bytes]] = []
    for n, data in enumerate(list(samples.values()) * 2):
        items.append((n, data if n % 5 else data[: len(data) // 2]))
    results = list(in_stream(embedder, items))
    assert [each.key for each in results] == list(range(len(items)))
    for each in results:
        if each.key % 5:
            assert isinstance(each, Embedded)
            expected = embedder.embed([decode(items[each.key][1])])
            assert np.abs(each.vector - expected.vectors[0]).max() <= BATCH_TOLERANCE
            assert each.logit == pytest.approx(float(expected.logits[0]), abs=BATCH_TOLERANCE)
            assert (each.picture.width, each.picture.height) == (120, 90)
        else:
            assert isinstance(each, Failed)
            assert each.error.reason == "truncated"


def test_a_stream_of_nothing_and_of_nothing_good_ends(embedder: Embedder) -> None:
    nothing: list[tuple[int, bytes]] = []
    assert list(in_stream(embedder, nothing)) == []
    results = list(in_stream(embedder, ((n, b"no image") for n in range(30))))
    assert [each.key for each in results] == list(range(30))
    assert all(isinstance(each, Failed) and each.error.reason == "not_an_image" for each in results)


def test_a_stream_uses_the_embedders_limits(tiny_model: Path, samples: dict[str, bytes]) -> None:
    strict = Embedder.load(tiny_model, device="cpu", limits=ImageLimits(min_image_side=100))
    (only,) = in_stream(strict, [("a", samples["png"])])
    assert isinstance(only, Failed)
    assert only.error.reason == "too_small"


def test_an_exception_of_the_source_is_raised_after_what_came_before(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    def source() -> Iterator[tuple[int, bytes]]:
        for n in range(6):
            yield n, samples["png"]
        raise OSError("the disk is gone")

    stream = in_stream(embedder, source())
    assert [next(stream).key for _ in range(6)] == list(range(6))
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def test_a_stream_takes_from_its_source_no_more_than_is_ahead(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    taken = 0

    def source() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        for n in range(200):
            taken += 1
            yield n, samples["png"]

    for handed_on, _ in enumerate(in_stream(embedder, source()), start=1):
        assert taken - handed_on < MIN_AHEAD + embedder.batch_size + 1


def test_a_stream_releases_a_picture_once_it_was_handed_on(
    embedder: Embedder, samples: dict[str, bytes]
) -> None:
    order = replace(embedder.picture_order, deliveries=(Condition.JPEG50,))
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    for each in embedder.embed_stream((n, samples["png"], order) for n in range(60)):
        assert isinstance(each, Embedded)
        alive.append(weakref.ref(each.picture.deliveries[0].pixels))
        del each
        most = max(most, sum(reference() is not None for reference in alive))
    assert most <= 1, "only what the caller holds"


def test_a_batch_whose_pictures_hold_many_bytes_is_closed_early(
    tiny_model: Path, samples: dict[str, bytes], at_forward: AtForward
) -> None:
    half = np.broadcast_to(np.uint8(0), (1, MAX_WAITING_BYTES // 6 + 1, 3))  # which takes nothing
    held = DeliveredPicture(Condition.HALF, 1, 1, half)
    large = planted(
        tiny_model,
        lambda data, order: replace(make_picture(data, order), deliveries=(held,)),
    )
    sizes: list[int] = []
    at_forward(lambda count, _: sizes.append(count))
    items = [(n, samples["png"]) for n in range(12)]
    assert len(list(in_stream(large, items))) == 12
    assert sizes == [2] * 6
    sizes.clear()
    assert len(list(in_stream(planted(tiny_model, make_picture), items))) == 12
    assert sizes == [4] * 3


def test_closing_a_stream_early_leaves_its_decoders_without_work(
    tiny_model: Path, samples: dict[str, bytes]
) -> None:
    made: list[bytes] = []

    def make(data: bytes, order: PictureOrder) -> Picture:
        made.append(data)
        return make_picture(data, order)

    embedder = planted(tiny_model, make)
    stream = in_stream(embedder, ((n, samples["png"]) for n in range(10_000)))
    assert next(stream).key == 0
    stream.close()
    embedder.decoders.close()
    assert len(made) <= 4 + MIN_AHEAD


def test_the_next_pictures_are_made_during_the_forward(
    tiny_model: Path, samples: dict[str, bytes], at_forward: AtForward
) -> None:
    """The first forward waits until the pictures of the second batch are made too."""
    made: list[bytes] = []
    change = threading.Condition()
    met: list[bool] = []

    def make(data: bytes, order: PictureOrder) -> Picture:
        with change:
            made.append(data)
            change.notify_all()
        return make_picture(data, order)

    def wait(_count: int, _dtype: torch.dtype) -> None:
        with change:
            met.append(change.wait_for(lambda: len(made) >= 8, 20))

    at_forward(wait)
    embedder = planted(tiny_model, make)
    assert len(list(in_stream(embedder, ((n, samples["jpeg"]) for n in range(8))))) == 8
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
    results = list(in_stream(embedder, items))
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
    at_each = [len(launched) for _ in in_stream(embedder, ((n, samples["png"]) for n in range(10)))]
    assert at_each == [2] * 4 + [3] * 6


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
