"""A confined worker makes the same pictures as a function call, of every format."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.decoding.picture import Picture, PictureOrder, make_picture
from embedder.decoding.processes import ProcessDecoders
from embedder.errors import ImageError
from embedder.pictures.delivery import Condition
from embedder.pictures.limits import ImageLimits
from embedder.pictures.preprocess import Preprocessing, Resample
from embedder.pictures.reencodings import REENCODING_GROUPS, REENCODING_NAMES
from tests.embedder.conftest import encode, encoded_samples
from tests.embedder.conftest import make_picture as make_example

LIMITS = ImageLimits(min_image_side=8)
# Everything that can be ordered: what a worker has not loaded before it is confined is missing.
EVERYTHING = PictureOrder(
    LIMITS,
    Preprocessing(110, Resample.BICUBIC, 96),
    deliveries=tuple(Condition),
    perceptual_hash=True,
    thumbnail_pixels=64,
    file_metadata=True,
    condition=True,
    luminance=True,
    reencodings=REENCODING_NAMES,
    view_hashes=True,
)
XMP = (
    b'<?xml version="1.0" encoding="windows-1252"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Caf\xe9"/></rdf:RDF></x:xmpmeta>'
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tests of Linux's confinement")


@pytest.fixture(scope="module")
def decoders() -> Iterator[ProcessDecoders]:
    opened = ProcessDecoders(1)
    yield opened
    opened.close()


def require_equal(one: object, other: object) -> None:
    """Compare dataclasses field by field, arrays by their values."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for each in dataclasses.fields(one):
            require_equal(getattr(one, each.name), getattr(other, each.name))
    elif isinstance(one, tuple):
        assert isinstance(other, tuple)
        assert len(one) == len(other)
        for mine, others in zip(one, other, strict=True):
            require_equal(mine, others)
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def make_both(decoders: ProcessDecoders, data: bytes, order: PictureOrder) -> Picture | ImageError:
    """Make a picture here and in a worker, and require that they are the same."""
    future = decoders.submit(data, order)
    try:
        expected = make_picture(data, order)
    except ImageError as err:
        error = future.exception(60)
        require_equal((type(error), str(error)), (type(err), str(err)))
        return err
    require_equal(future.result(60), expected)
    return expected


def test_every_format_and_coding_is_made_as_here(
    decoders: ProcessDecoders,
) -> None:
    # From 128 pixels on, a lossless picture is searched for traces of sampling anew.
    for data in encoded_samples(make_example(180, 150)).values():
        assert isinstance(make_both(decoders, data, EVERYTHING), Picture)


def test_metadata_in_any_encoding_are_read_as_here(
    decoders: ProcessDecoders,
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Grüße"
    for comment in (b"UNICODE\0" + "Ωmega".encode("utf-16-le"), b"JIS\0\0\0\0\0\x1b$B8!\x1b(B"):
        exif.get_ifd(0x8769)[0x9286] = comment
        file = BytesIO()
        make_example(160, 150).save(file, "JPEG", exif=exif, xmp=XMP)
        picture = make_both(decoders, file.getvalue(), EVERYTHING)
        assert isinstance(picture, Picture)
        assert picture.file_metadata
        assert len(picture.file_metadata) >= 3


def test_reencodings_of_a_large_picture_come_with_the_size_of_the_part(
    decoders: ProcessDecoders,
) -> None:
    file = BytesIO()
    Image.new("L", (25_001, 1000), 120).save(file, "PNG", compress_level=1)
    native = Preprocessing(None, None, 64)
    order = PictureOrder(LIMITS, native, pixels=False, reencodings=REENCODING_NAMES)
    picture = make_both(decoders, file.getvalue(), order)
    assert isinstance(picture, Picture)
    assert picture.pixels is None
    assert picture.reencodings is not None
    assert picture.reencodings.part is not None


@st.composite
def draw_orders(draw: st.DrawFn) -> PictureOrder:
    """Any order: whoever adds a field to orders sees here that it does not travel."""
    values = {
        each.name: draw(st.booleans())
        for each in dataclasses.fields(PictureOrder)
        if isinstance(each.default, bool)
    }
    model = draw(st.sampled_from([None, EVERYTHING.preprocessing]))
    values["luminance"] &= values["pixels"] and model is not None
    return PictureOrder(
        LIMITS,
        model,
        delivery=draw(st.sampled_from(list(Condition))),
        deliveries=draw(st.lists(st.sampled_from(list(Condition)), unique=True).map(tuple))
        if model
        else (),
        reencodings=draw(st.sampled_from([(), *REENCODING_GROUPS])) if model else (),
        thumbnail_pixels=draw(st.sampled_from([None, 16])),
        **values,
    )


@given(draw_orders())
@settings(max_examples=25)
def test_any_order_is_made_as_here(decoders: ProcessDecoders, order: PictureOrder) -> None:
    make_both(decoders, encode(make_example(140, 130), "PNG"), order)


def test_an_order_for_metadata_alone_decodes_nothing(
    decoders: ProcessDecoders, samples: dict[str, bytes]
) -> None:
    made = make_both(decoders, samples["png"], PictureOrder(LIMITS, file_metadata=True))
    assert isinstance(made, Picture)
    assert made.width == 0


@given(st.data())
@settings(max_examples=40)
def test_what_is_damaged_fails_as_here(
    decoders: ProcessDecoders, samples: dict[str, bytes], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(samples)))
    file = bytearray(samples[name])
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    make_both(decoders, bytes(file[:cut] if cut % 2 else file), PictureOrder(LIMITS))
