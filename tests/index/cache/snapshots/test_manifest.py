"""The manifest of a snapshot: written, read, and refused when a part of it is not right."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from index.cache.plans.comparison import Comparison, PlanFigures
from index.cache.plans.config import Plan
from index.cache.plans.recall import Tuning
from index.cache.snapshots.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    OWN_DIGEST,
    FileStamp,
    Manifest,
    SavedHashes,
    read_manifest,
    snapshot_files,
)
from index.errors import SnapshotCorrupt

TUNING = Tuning(3, 128, 10, 0.9931, 512, 12, 40_000, "2026-11-24T00:00:00+00:00")
PLAIN = Manifest(
    format_version=FORMAT_VERSION,
    plan=Plan.FLAT,
    space_fingerprint="ab" * 32,
    dimension=8,
    generation=31,
    count=29,
    rows=30,
    digest="0c" * 32,
    vectors="30-0a.vectors",
    blocks=FileStamp("31-0b.blocks.npy", 160, "1" * 64),
    facts=FileStamp("31-0b.facts.npy", 1088, "2" * 64),
    words=FileStamp("31-0b.words.json", 2, "3" * 64),
    dead=FileStamp("31-0b.dead.npy", 136, "4" * 64),
    codes=None,
    trained_rows=0,
    tuning=None,
)
CODED = replace(
    PLAIN,
    plan=Plan.LISTS,
    codes=FileStamp("31-0b.codes.faiss", 999, "5" * 64),
    trained_rows=30,
    tuning=TUNING,
)


COMPARED = replace(
    CODED,
    comparison=Comparison(
        (
            PlanFigures(Plan.FLAT, 1.0, 1.25),
            PlanFigures(Plan.CODES, 0.97, None),
            PlanFigures(Plan.LISTS, 0.9931, 0.21, 3, 128),
        ),
        40_000,
        10,
        0.99,
        "2026-11-30T00:00:00+00:00",
    ),
)


HASHED = replace(
    CODED,
    hashes=SavedHashes(FileStamp("29-0f.hashes.npy", 888, "6" * 64), 19, 50, 29, "7" * 64),
)
DATED = replace(HASHED, changed_at="2026-12-01T02:40:00.000001+00:00")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def put(manifest: Manifest, **changed: Any) -> Path:
        stated = json.loads(manifest.to_bytes()) | changed
        del stated[OWN_DIGEST]  # as earlier releases wrote it
        (tmp_path / MANIFEST).write_text(json.dumps(stated))
        return tmp_path

    return put


@pytest.mark.parametrize(
    "manifest",
    [PLAIN, CODED, COMPARED, HASHED, DATED],
    ids=["flat", "coded", "with all plans", "with hashes", "with its time"],
)
def test_a_manifest_is_read_as_it_was_written(write: Any, manifest: Manifest) -> None:
    assert read_manifest(write(manifest)) == manifest


@pytest.mark.parametrize(
    "changed", [(b'"nprobe": 3', b'"nprobe": 1'), (b'"trained_rows": ', b'"trained_rows": 1')]
)
def test_a_manifest_that_was_changed_is_refused(
    tmp_path: Path, changed: tuple[bytes, bytes]
) -> None:
    """Fewer lists, for example, would be searched than the recall was measured with."""
    written = DATED.to_bytes()
    assert changed[0] in written
    (tmp_path / MANIFEST).write_bytes(written)
    assert read_manifest(tmp_path) == DATED
    (tmp_path / MANIFEST).write_bytes(written.replace(*changed, 1))
    with pytest.raises(SnapshotCorrupt, match="changed after"):
        read_manifest(tmp_path)


def test_the_field_names_are_those_of_format_2() -> None:
    """A later release must read what this one writes: a changed name needs a new format."""
    stated = json.loads(CODED.to_bytes())
    assert sorted(stated) == [
        "blocks",
        "codes",
        "count",
        "dead",
        "digest",
        "dimension",
        "facts",
        "format_version",
        "generation",
        "plan",
        "rows",
        "sha256",
        "space_fingerprint",
        "trained_rows",
        "tuning",
        "vectors",
        "words",
    ]
    assert stated["blocks"].keys() == {"name", "byte_size", "sha256"}
    assert stated["tuning"].keys() == {
        "nprobe",
        "candidates",
        "k",
        "recall",
        "probes",
        "lookups",
        "rows",
        "measured_at",
    }


def test_figures_of_the_plans_are_a_field_only_where_they_were_measured() -> None:
    """Manifests of earlier releases have no such field."""
    assert "comparison" not in json.loads(CODED.to_bytes())
    compared = json.loads(COMPARED.to_bytes())["comparison"]
    assert compared["plans"][2] == {
        "plan": "lists",
        "recall": 0.9931,
        "milliseconds": 0.21,
        "nprobe": 3,
        "candidates": 128,
    }


def test_hashes_are_a_field_and_a_file_only_where_they_were_written() -> None:
    """Manifests of earlier releases have no such field, and a snapshot is complete without."""
    assert "hashes" not in json.loads(CODED.to_bytes())
    assert HASHED.files == (*CODED.files, "29-0f.hashes.npy")
    assert HASHED.stamps == CODED.stamps


@pytest.mark.parametrize(
    "wrong",
    [{"count": -1}, {"generation": "29"}, {"min_quality": None}, {"more": 1}, {"file": {}}],
)
def test_a_manifest_with_impossible_hashes_is_refused(write: Any, wrong: dict[str, Any]) -> None:
    hashes = json.loads(HASHED.to_bytes())["hashes"] | wrong
    with pytest.raises(SnapshotCorrupt):
        read_manifest(write(HASHED, hashes=hashes))


def test_a_folder_without_a_manifest_has_no_snapshot(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "nowhere") is None
    assert snapshot_files(tmp_path) is None


def test_the_files_of_a_snapshot_are_named_whether_they_exist_or_not(write: Any) -> None:
    folder = write(CODED)
    found = snapshot_files(folder)
    assert found is not None
    manifest, paths = found
    assert manifest == CODED
    assert [path.name for path in paths] == [
        "30-0a.vectors",
        "31-0b.blocks.npy",
        "31-0b.facts.npy",
        "31-0b.words.json",
        "31-0b.dead.npy",
        "31-0b.codes.faiss",
    ]
    assert len(PLAIN.files) == 5


def test_a_snapshot_of_an_earlier_format_is_ignored_and_logged(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "index"):
        assert read_manifest(write(PLAIN, format_version=1)) is None
    assert "earlier release" in caplog.text


@pytest.mark.parametrize("version", [0, 3, "2", None, True, 2.5])
def test_an_unknown_format_is_refused(write: Any, version: Any) -> None:
    folder = write(PLAIN, format_version=version)
    if version is True:  # JSON's true equals 1, the earlier format
        assert read_manifest(folder) is None
        return
    with pytest.raises(SnapshotCorrupt, match="format"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": -1},
        {"rows": 28},  # fewer than members
        {"count": "29"},
        {"generation": 31.0},
        {"dimension": None},
        {"trained_rows": True},
        {"plan": "magic"},
        {"vectors": "../30.vectors"},
        {"facts": {"name": "a/b", "byte_size": 1, "sha256": ""}},
        {"facts": {"name": "b"}},
        {"facts": None},
        {"tuning": {"nprobe": 3}},
        {"comparison": {"rows": 3}},
        {"comparison": {"plans": [{"plan": "magic"}]}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_manifest_with_a_wrong_field_is_refused(write: Any, changed: dict[str, Any]) -> None:
    with pytest.raises(SnapshotCorrupt, match="incomplete"):
        read_manifest(write(PLAIN, **changed))


@pytest.mark.parametrize("name", ["rows", "blocks", "tuning", "plan", "digest"])
def test_a_manifest_without_a_field_is_refused(write: Any, name: str) -> None:
    folder = write(PLAIN)
    stated = json.loads((folder / MANIFEST).read_text())
    del stated[name]
    (folder / MANIFEST).write_text(json.dumps(stated))
    with pytest.raises(SnapshotCorrupt, match="incomplete"):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'"text"'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(SnapshotCorrupt):
        read_manifest(tmp_path)


def test_a_stamp_accepts_its_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "some.npy"
    path.write_bytes(b"content")
    stamp = FileStamp.of(path)
    assert (stamp.name, stamp.byte_size) == ("some.npy", 7)
    stamp.check(tmp_path)
    path.write_bytes(b"CONTENT")
    with pytest.raises(SnapshotCorrupt, match="sha256"):
        stamp.check(tmp_path)
    path.write_bytes(b"content and more")
    with pytest.raises(SnapshotCorrupt, match="16 bytes instead of 7"):
        stamp.check(tmp_path)
    path.unlink()
    with pytest.raises(SnapshotCorrupt, match="cannot be read"):
        stamp.check(tmp_path)
