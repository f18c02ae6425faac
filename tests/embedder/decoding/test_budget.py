"""What a picture is charged, and that it takes no more."""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from embedder.decoding.budget import (
    LEAST_BUDGET_BYTES,
    _read_groups,
    choose_budget,
    count_memory,
    estimate_need,
)
from embedder.decoding.picture import PictureOrder
from embedder.decoding.process import DecodingProcess, WorkerOptions
from embedder.decoding.processes import DECODER
from embedder.pictures.decode import ImageLimits
from embedder.pictures.delivery import Condition
from embedder.pictures.preprocess import Preprocessing, Resample
from embedder.pictures.reencodings import REENCODING_NAMES
from tests.embedder.conftest import encoded_samples, make_picture

LIMITS = ImageLimits()
ORDER = PictureOrder(
    LIMITS,
    Preprocessing(440, Resample.BICUBIC, 384),
    perceptual_hash=True,
    thumbnail_pixels=256,
    file_metadata=True,
    condition=True,
    luminance=True,
)


def make_png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_a_large_picture_is_charged_by_its_pixels_and_its_kind() -> None:
    plain, deep, alpha = (
        estimate_need(make_png_header(10_000, 10_000, *kind), ORDER).expected
        for kind in ((8, 2), (16, 2), (8, 6))
    )
    assert 1_400_000_000 <= plain < alpha < deep < 2_500_000_000


def test_encoding_again_is_charged_but_not_for_more_than_is_encoded() -> None:
    order = replace(ORDER, reencodings=REENCODING_NAMES)
    small, large = (make_png_header(side, side) for side in (4_000, 10_000))
    assert estimate_need(small, order).expected > 2 * estimate_need(small, ORDER).expected
    assert estimate_need(large, order).expected == estimate_need(large, ORDER).expected
    delivered = replace(ORDER, deliveries=tuple(Condition))
    assert estimate_need(large, delivered).expected > 3_000_000_000


def test_local_features_are_charged_up_to_the_size_at_which_pictures_are_compared() -> None:
    order = PictureOrder(LIMITS, local_features=100)
    small, large, whole = (
        estimate_need(make_png_header(side, side), order).expected for side in (100, 2_000, 10_000)
    )
    assert small < 40_000_000
    assert large - estimate_need(make_png_header(2_000, 2_000), ORDER).expected > 60_000_000
    assert whole == estimate_need(make_png_header(10_000, 10_000), ORDER).expected


def test_what_is_refused_before_it_is_decoded_is_charged_nearly_nothing() -> None:
    for data in (b"", b"nothing", b"%PDF-", make_png_header(20_000, 20_000)):
        assert estimate_need(data, ORDER).expected < 40_000_000


def test_a_size_that_cannot_be_read_is_charged_at_the_limit() -> None:
    need = estimate_need(make_png_header(1, 1)[:20], ORDER)
    assert need.expected > 20 * LIMITS.max_image_pixels
    assert need.most >= need.expected


def test_an_order_that_decodes_nothing_needs_nothing() -> None:
    order = PictureOrder(LIMITS, file_metadata=True)
    assert estimate_need(make_png_header(10_000, 10_000), order).expected < 40_000_000


def test_the_budget_is_a_share_of_what_there_is() -> None:
    assert choose_budget() >= LEAST_BUDGET_BYTES
    assert choose_budget() <= max(count_memory() // 4, LEAST_BUDGET_BYTES)


def test_the_smallest_limit_of_all_control_groups_counts(tmp_path: Path) -> None:
    group = tmp_path / "service.slice" / "lineup.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("2000000000\n")
    (tmp_path / "own").write_text("0::/service.slice/lineup.service\n")
    assert _read_groups(tmp_path, tmp_path / "own") == [2_000_000_000]
    old = tmp_path / "memory" / "docker"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("1000000000\n")
    (tmp_path / "own").write_text("4:cpu,memory:/docker\n3:pids:/docker\n")
    assert _read_groups(tmp_path, tmp_path / "own") == [1_000_000_000]
    assert _read_groups(tmp_path, tmp_path / "nowhere") == []


@pytest.mark.prove
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_no_kind_of_file_takes_more_than_it_is_charged() -> None:
    options = WorkerOptions(DECODER, 300.0, 2**33, 2**28)
    for name, data in encoded_samples(make_picture(2_400, 2_000)).items():
        need = estimate_need(data, ORDER).expected
        worker = DecodingProcess.start(options)
        try:
            before = _read_status(worker.pid, "VmRSS")
            list(worker.make_pictures(data, [ORDER], need))
            taken = _read_status(worker.pid, "VmHWM") - before
        finally:
            worker.end()
        print(f"{name}: {taken / 4_800_000:.1f} of {need / 4_800_000:.1f} bytes a pixel")
        assert taken <= need, name


def _read_status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
