import os
import threading
from pathlib import Path
from typing import Any

import pytest

from index.blobs import ORIGINAL_SUFFIX, BlobStore, publish_blobs
from index.errors import BlobCorrupt, UnknownBlob


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return BlobStore(tmp_path / "thumbnails")


def test_a_blob_that_is_not_there_is_unknown(store: BlobStore, material: Any) -> None:
    sha256 = material.sha256("a")
    assert store.find(sha256) is None
    assert sha256 not in store
    assert not store.remove(sha256)
    assert list(store) == []
    with pytest.raises(UnknownBlob):
        store.get(sha256)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 32 + "/" + "a" * 31]
)
def test_a_name_that_is_no_sha256_reaches_no_file(store: BlobStore, name: str) -> None:
    for action in (store.get, store.remove, store.path, lambda n: store.put(n, b"x")):
        with pytest.raises(UnknownBlob):
            action(name)


def test_a_blob_that_is_needed_again_is_young_again(store: BlobStore, material: Any) -> None:
    sha256 = material.sha256("a")
    assert not store.refresh(sha256)
    store.put(sha256, b"x")
    os.utime(store.path(sha256), (1, 1))
    assert store.refresh(sha256)
    assert store.path(sha256).stat().st_mtime > 1
    assert store.get(sha256) == b"x"


def test_a_blob_that_cannot_be_read_is_named(store: BlobStore, material: Any) -> None:
    path = store.path(material.sha256("a"))
    path.mkdir(parents=True)
    with pytest.raises(BlobCorrupt, match=str(path)):
        store.get(material.sha256("a"))


def test_a_blob_comes_back_until_it_is_removed(store: BlobStore, material: Any) -> None:
    names = sorted(material.sha256(i) for i in range(20))
    for name in names:
        store.put(name, name.encode())
    assert list(store) == names
    assert store.get(names[3]) == names[3].encode()
    store.put(names[3], b"newer")
    assert store.find(names[3]) == b"newer"
    assert store.remove(names[3])
    assert names[3] not in store
    assert len(list(store)) == 19


def test_a_blob_is_whole_whoever_writes_it_at_the_same_time(
    store: BlobStore, material: Any
) -> None:
    sha256, contents = material.sha256("a"), [bytes([i]) * 100_000 for i in range(6)]
    threads = [threading.Thread(target=store.put, args=(sha256, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(sha256) in contents
    assert store.leftovers() == ()


def test_a_blob_that_is_put_without_a_sync_is_a_blob_like_others(
    store: BlobStore, material: Any
) -> None:
    sha256 = material.sha256("a")
    store.put_unsynced(sha256, b"one")
    assert store.get(sha256) == b"one"
    store.put_unsynced(sha256, b"two")
    assert store.get(sha256) == b"two"
    assert store.leftovers() == ()


def test_stores_of_one_folder_with_other_suffixes_do_not_mix(tmp_path: Path, material: Any) -> None:
    thumbnails, originals = BlobStore(tmp_path), BlobStore(tmp_path, ORIGINAL_SUFFIX)
    a, b = material.sha256("a"), material.sha256("b")
    thumbnails.put(a, b"thumbnail")
    originals.put(a, b"original")
    originals.put(b, b"another")
    assert list(thumbnails) == [a]
    assert list(originals) == sorted([a, b])
    assert thumbnails.remove(a)
    assert originals.get(a) == b"original"


def test_files_of_other_names_are_no_blobs(store: BlobStore, material: Any) -> None:
    sha256 = material.sha256("a")
    store.put(sha256, b"1")
    folder = store.path(sha256).parent
    (folder / "readme.webp").write_bytes(b"2")
    (folder / f"{sha256}.txt").write_bytes(b"3")
    assert list(store) == [sha256]


def test_an_interrupted_write_leaves_a_file_that_is_listed_and_is_no_blob(
    store: BlobStore, material: Any
) -> None:
    sha256 = material.sha256("a")
    path = store.path(sha256)
    path.parent.mkdir(parents=True)
    leftover = path.with_name(f".{path.name}.1-abc.tmp")
    leftover.write_bytes(b"half")
    assert store.leftovers() == (leftover,)
    assert sha256 not in store
    assert list(store) == []


def test_a_blob_is_found_by_its_first_two_digits(store: BlobStore, material: Any) -> None:
    sha256 = material.sha256("a")
    assert store.path(sha256) == store.directory / sha256[:2] / f"{sha256}.webp"


def test_staged_blobs_are_stored_together(store: BlobStore, material: Any) -> None:
    names = [material.sha256(letter) for letter in "abc"]
    staged = [store.stage(sha256, sha256.encode()) for sha256 in names]
    assert list(store) == []
    assert len(store.leftovers()) == 3
    publish_blobs(staged)
    assert list(store) == sorted(names)
    assert all(store.get(sha256) == sha256.encode() for sha256 in names)
    assert store.leftovers() == ()
