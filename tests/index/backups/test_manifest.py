"""The manifest: comes back as it was written, and any change to it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.backups.archive import ArchiveReader, ArchiveWriter, Member
from index.backups.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    TABLES,
    BackupManifest,
    read_backup_manifest,
)
from index.backups.space_states import SpaceState
from index.errors import BackupCorrupt, BackupTooNew, NotABackup
from index.jsontext import canonical_json

PATH = Path("some.tar")
CONTENTS = {TABLES: b"rows", "index/0123456789abcdef/ids.npy": b"ids", "thumbnails/000000.tar": b""}

hex_digests = st.text("0123456789abcdef", min_size=64, max_size=64)
counts = st.dictionaries(st.sampled_from(["images", "entries", "jobs"]), st.integers(0, 2**63))
spaces = st.builds(SpaceState, hex_digests, st.text(max_size=5), st.integers(1, 4096), hex_digests)
manifests = st.builds(
    BackupManifest,
    format_version=st.just(FORMAT_VERSION),
    lineup_version=st.text(max_size=8),
    created_at=st.datetimes(timezones=st.just(UTC)),
    database=st.sampled_from(["sqlite", "postgresql"]),
    schema_revision=st.sampled_from(["0001", "0004", "9999"]),
    generation=st.integers(0, 2**63),
    row_counts=counts,
    last_ids=counts,
    spaces=st.lists(spaces, max_size=3).map(tuple),
    thumbnails=st.none() | st.integers(0, 10**9),
    members=st.just(
        tuple(
            Member(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in CONTENTS.items()
        )
    ),
)


def manifest_of(**changes: Any) -> BackupManifest:
    return replace(
        BackupManifest(
            format_version=FORMAT_VERSION,
            lineup_version="0.1.0",
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            database="sqlite",
            schema_revision="0004",
            generation=7,
            row_counts={"entries": 3},
            last_ids={"entries": 5},
            spaces=(SpaceState("a" * 64, "m", 8, "b" * 64),),
            thumbnails=0,
            members=tuple(
                Member(name, len(content), hashlib.sha256(content).hexdigest())
                for name, content in CONTENTS.items()
            ),
        ),
        **changes,
    )


def archive_of(manifest: bytes, contents: dict[str, bytes] = CONTENTS) -> ArchiveReader:
    file = BytesIO()
    writer = ArchiveWriter(file)
    for name, content in contents.items():
        writer.add_bytes(name, content)
    writer.add_bytes(MANIFEST, manifest)
    writer.finish()
    return ArchiveReader(file, PATH)


def sealed(stated: dict[str, Any]) -> bytes:
    """The bytes of a manifest with these statements and its true sha256."""
    stated = {name: value for name, value in stated.items() if name != "sha256"}
    sha256 = hashlib.sha256(canonical_json(stated).encode()).hexdigest()
    return json.dumps(stated | {"sha256": sha256}).encode()


def edited(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    stated = json.loads(manifest_of().to_bytes())
    edit(stated)
    return sealed(stated)


@settings(max_examples=50, deadline=None)
@given(manifest=manifests)
def test_a_manifest_comes_back_as_it_was_written(manifest: BackupManifest) -> None:
    assert read_backup_manifest(archive_of(manifest.to_bytes()), PATH) == manifest


@settings(max_examples=100, deadline=None)
@given(manifest=manifests, data=st.data())
def test_a_changed_byte_of_a_manifest_is_found_or_changes_nothing(
    manifest: BackupManifest, data: st.DataObject
) -> None:
    content = bytearray(manifest.to_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_backup_manifest(archive_of(bytes(content)), PATH)
    except (BackupCorrupt, BackupTooNew):
        return
    assert found == manifest  # only the spelling of the JSON has changed, for example a blank


def test_the_text_of_a_manifest_can_be_read_by_a_person() -> None:
    text = manifest_of().to_bytes().decode()
    assert text.endswith("}\n")
    assert '\n "generation": 7,\n' in text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_a_date_of_another_zone_is_the_same_instant() -> None:
    created_at = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=5)))
    manifest = manifest_of(created_at=created_at)
    found = read_backup_manifest(archive_of(manifest.to_bytes()), PATH)
    assert found.created_at == created_at


def test_an_archive_without_a_manifest_is_unfinished_or_of_another_program() -> None:
    def without_manifest(contents: dict[str, bytes]) -> ArchiveReader:
        file = BytesIO()
        writer = ArchiveWriter(file)
        for name, content in contents.items():
            writer.add_bytes(name, content)
        writer.finish()
        return ArchiveReader(file, PATH)

    for name in (TABLES, "index/0123456789abcdef/ids.npy"):
        with pytest.raises(BackupCorrupt) as caught:
            read_backup_manifest(without_manifest({name: b"1"}), PATH)
        assert (caught.value.member, caught.value.reason) == (MANIFEST, "it is missing")
    with pytest.raises(NotABackup):
        read_backup_manifest(without_manifest({"readme.txt": b"1"}), PATH)


@pytest.mark.parametrize(
    ("contents", "member", "reason"),
    [
        ({name: CONTENTS[name] for name in list(CONTENTS)[1:]}, TABLES, "it is missing"),
        (CONTENTS | {"extra": b""}, "extra", "it is not in the manifest"),
        (CONTENTS | {TABLES: b"more rows"}, TABLES, "it has 9 bytes instead of 4"),
    ],
)
def test_members_that_differ_from_the_manifest_are_named(
    contents: dict[str, bytes], member: str, reason: str
) -> None:
    with pytest.raises(BackupCorrupt) as caught:
        read_backup_manifest(archive_of(manifest_of().to_bytes(), contents), PATH)
    assert (caught.value.member, caught.value.reason) == (member, reason)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 10**5, b'{"sha256": 1}']
)
def test_a_manifest_that_cannot_be_read_is_corrupt(content: bytes) -> None:
    with pytest.raises(BackupCorrupt) as caught:
        read_backup_manifest(archive_of(content), PATH)
    assert caught.value.member == MANIFEST


def test_a_changed_statement_breaks_the_sha256_of_the_manifest() -> None:
    content = manifest_of().to_bytes().replace(b'"generation": 7', b'"generation": 8')
    with pytest.raises(BackupCorrupt, match="sha256 differs"):
        read_backup_manifest(archive_of(content), PATH)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None])
def test_another_format_is_that_of_a_newer_release(version: Any) -> None:
    content = edited(lambda stated: stated.update(format_version=version))
    with pytest.raises(BackupTooNew, match=f"format {version!r}"):
        read_backup_manifest(archive_of(content), PATH)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda s: s.update(generation=-1), "negative"),
        (lambda s: s.update(generation=7.0), "not an integer"),
        (lambda s: s.update(generation=True), "not an integer"),
        (lambda s: s.update(thumbnails="3"), "not an integer"),
        (lambda s: s["row_counts"].update(entries=-3), "negative"),
        (lambda s: s["last_ids"].update(entries=None), "not an integer"),
        (lambda s: s["row_counts"].update({'entries"; DROP TABLE x': 1}), "impossible name"),
        (lambda s: s["last_ids"].update({"": 1}), "impossible name"),
        (lambda s: s["spaces"][0].update(digest="b" * 63), "digest is malformed"),
        (lambda s: s["members"][0].update(sha256="B" * 64), "digest is malformed"),
        (lambda s: s["members"][0].update(byte_size=-1), "negative"),
        (lambda s: s["members"].append(s["members"][0]), "members are not those"),
        (lambda s: s["members"][0].update(name="../../etc/passwd"), "members are not those"),
        (lambda s: s["members"][1].update(name="index/a/../../x"), "members are not those"),
        (lambda s: s["members"][1].update(name="index/0123456789abcdef/.x"), "not those"),
        (lambda s: s["members"].pop(0), "members are not those"),
        (lambda s: s.update(created_at="yesterday"), "cannot be read"),
        (lambda s: s.pop("generation"), "cannot be read"),
        (lambda s: s.update(surprise=1), "cannot be read"),
        (lambda s: s["spaces"][0].pop("digest"), "cannot be read"),
        (lambda s: s.update(spaces=None), "cannot be read"),
    ],
)
def test_an_impossible_statement_is_refused_although_its_sha256_is_true(
    edit: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    with pytest.raises(BackupCorrupt, match=reason) as caught:
        read_backup_manifest(archive_of(edited(edit)), PATH)
    assert caught.value.member == MANIFEST


def test_a_manifest_that_is_far_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.backups.manifest.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(BackupCorrupt, match="too large for a manifest"):
        read_backup_manifest(archive_of(manifest_of().to_bytes()), PATH)


def test_the_snapshots_of_a_manifest_are_its_index_folders() -> None:
    names = [
        TABLES,
        "index/0123456789abcdef/ids.npy",
        "index/0123456789abcdef/manifest.json",
        "index/00000000000000ff/ids.npy",
        "thumbnails/000000.tar",
    ]
    manifest = manifest_of(members=tuple(Member(name, 0, "a" * 64) for name in names))
    assert manifest.snapshots == ("00000000000000ff", "0123456789abcdef")
    assert manifest_of(members=()).snapshots == ()


def test_the_manifest_of_an_archive_has_every_field_of_its_class(stock: Any) -> None:
    report = stock.back_up()
    stated = json.loads(report.manifest.to_bytes())
    assert stated.keys() == {*asdict(report.manifest), "sha256"}
