from __future__ import annotations

import pytest

from embedder import errors
from embedder.errors import EmbedderError, ImageError, ImageTooLarge, TensorMismatch

LEAVES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ImageError) and each is not ImageError
]


def test_every_image_error_has_its_own_machine_code_and_stands_in_the_drawing() -> None:
    assert {leaf.reason for leaf in LEAVES} == {
        "not_an_image",
        "unsupported_format",
        "truncated",
        "too_large",
        "too_small",
        "corrupt",
        "decoder_crashed",
        "decoding_timed_out",
        "needs_too_much_memory",
    }
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, EmbedderError):
            assert each.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ImageTooLarge("bytes", 70_000_000, 67_108_864),
            "the image has 70,000,000 bytes; the limit is 67,108,864",
        ),
        (
            errors.ImageTooSmall(20, 300, 32),
            "the image is 20 x 300 pixels; the shorter side must be at least 32",
        ),
        (errors.UnsupportedFormat("PDF"), "PDF is not supported"),
        (
            errors.DecoderCrashed("signal SIGSEGV"),
            "the image ended the process that decoded it: signal SIGSEGV",
        ),
        (errors.DecodingTimedOut(30.0), "decoding the image took longer than 30 s"),
        (
            errors.NeedsTooMuchMemory(1_000_000),
            "decoding the image takes more memory than the limit of 1,000,000 bytes",
        ),
        (
            errors.NeedsTooMuchMemory(1_000_000, 2_000_000),
            "decoding the image takes about 2,000,000 bytes of memory; the limit is 1,000,000",
        ),
        (errors.UnsupportedFormat("HEIC", "install it"), "HEIC is not supported: install it"),
        (errors.NotAnImage(), "the bytes start like no known image format"),
    ],
)
def test_an_error_is_one_line_for_a_person(error: EmbedderError, line: str) -> None:
    assert str(error) == line


def test_a_mismatch_of_hundreds_of_tensors_stays_readable() -> None:
    error = TensorMismatch(missing=[f"tensor{n}" for n in range(200)], extra=["other"])
    assert str(error).count("tensor") < 12
    assert "and 192 more; not expected: other" in str(error)
    assert len(error.missing) == 200
