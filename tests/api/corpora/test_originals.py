"""The bytes of an image are found again, exactly, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.corpora.originals import find_bytes
from index.blobs import ORIGINAL_SUFFIX, BlobStore
from index.truth.coverage import ImageSource
from index.truth.images import ImageFacts
from tests.api.modelless import jpeg_of, png, sha256_of
from tests.web_server import serve_files

LIMIT = 256 * 1024


@pytest.fixture
def originals(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "originals", ORIGINAL_SUFFIX)


def source(*locations: Path) -> ImageSource:
    facts = ImageFacts(sha256_of(png(1)), len(png(1)), 64, 64, "png")
    return ImageSource(facts, tuple(map(str, locations)))


def test_an_image_without_a_place_is_not_found(originals: BlobStore) -> None:
    data, reason = find_bytes(source(), originals, LIMIT)

    assert data is None
    assert "no original is kept" in reason


@pytest.mark.parametrize(
    ("content", "logged"),
    [(None, "no such file"), (jpeg_of(1), "now holds other bytes"), (b"", "now holds other")],
)
def test_a_file_that_is_gone_or_has_changed_is_not_taken_and_only_the_log_says_which(
    originals: BlobStore,
    tmp_path: Path,
    content: bytes | None,
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)

    data, why = find_bytes(source(tmp_path / "a.png"), originals, LIMIT)

    assert data is None
    assert why.endswith("gone, changed or cannot be read")
    assert f"{tmp_path / 'a.png'}: {logged}" in caplog.text


def test_a_location_that_a_client_stated_connects_to_nothing_private(originals: BlobStore) -> None:
    with serve_files(files={"/a.png": png(1)}) as served:
        stated = ImageSource(source().image, (f"{served.url}/a.png",))
        data, _ = find_bytes(stated, originals, LIMIT)
    assert data is None
    assert served.connections == 0


def test_a_file_that_is_too_large_now_is_not_taken(originals: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))

    assert find_bytes(source(tmp_path / "a.png"), originals, len(png(1)) - 2)[0] is None


def test_the_first_place_with_the_same_bytes_is_taken(originals: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "changed.png").write_bytes(jpeg_of(1))
    (tmp_path / "same.png").write_bytes(png(1))
    places = [tmp_path / name for name in ("gone.png", "changed.png", "same.png")]

    assert find_bytes(source(*places), originals, LIMIT) == (png(1), "")


def test_a_kept_original_is_taken_before_any_file(originals: BlobStore, tmp_path: Path) -> None:
    originals.put(sha256_of(png(1)), png(1))

    assert find_bytes(source(tmp_path / "gone.png"), originals, LIMIT) == (png(1), "")
