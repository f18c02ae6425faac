"""Archives that are not what was written: each is refused with the member named, before anything is
written.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from index.backups.archive import BLOCK, ArchiveReader, ArchiveWriter
from index.backups.manifest import MANIFEST, TABLES
from index.backups.restore import restore
from index.backups.verification import verify_backup
from index.blobs import BlobStore
from index.errors import BackupCorrupt, BackupError, BackupTooNew, BackupUnreadable, NotABackup
from index.jsontext import canonical_json
from index.truth.databases.database import sqlite_url

PACK = "thumbnails/000000.tar"
END = 2 * BLOCK
Members = dict[str, bytes]


def members_of(content: bytes) -> Members:
    reader = ArchiveReader(BytesIO(content), Path("whole.tar"))
    return {name: reader.read(name) for name in reader.sizes}


def written(members: Mapping[str, bytes]) -> bytes:
    file = BytesIO()
    writer = ArchiveWriter(file)
    for name, content in members.items():
        writer.add_bytes(name, content)
    writer.finish()
    return file.getvalue()


def forged(content: bytes, edit: Callable[[Members, dict[str, Any]], None]) -> bytes:
    """The archive with changed members or statements, and a manifest as Lineup would have written
    it for these.
    """
    members = members_of(content)
    manifest = json.loads(members.pop(MANIFEST))
    edit(members, manifest)
    manifest["members"] = [
        {"name": name, "byte_size": len(each), "sha256": hashlib.sha256(each).hexdigest()}
        for name, each in members.items()
    ]
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
    return written(members | {MANIFEST: json.dumps(manifest).encode()})


def without(content: bytes, name: str) -> bytes:
    return written({each: inner for each, inner in members_of(content).items() if each != name})


def flipped(content: bytes, name: str) -> bytes:
    """One bit in the middle of a member; its header says nothing of it."""
    start = content.index(members_of(content)[name]) + len(members_of(content)[name]) // 2
    return content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]


def linked(content: bytes, name: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc"
    return info.tobuf(tarfile.GNU_FORMAT) + content


def sql(statement: str) -> Callable[[Members, Any], None]:
    """Run a statement on the tables of an archive."""

    def edit(members: Members, _: Any) -> None:
        conn = sqlite3.connect(":memory:")
        conn.deserialize(members[TABLES])
        conn.executescript(statement)
        members[TABLES] = conn.serialize()

    return edit


def state(**stated: Any) -> Callable[[Any, dict[str, Any]], None]:
    return lambda _, manifest: manifest.update(stated)


def put(name: str, content: bytes) -> Callable[[Members, Any], None]:
    return lambda members, _: members.update({name: content})


def one_row_less(_: Any, manifest: dict[str, Any]) -> None:
    manifest["row_counts"]["entries"] -= 1


def another_digest(_: Any, manifest: dict[str, Any]) -> None:
    manifest["spaces"][0]["digest"] = "0" * 64


def fewer_thumbnails(_: Any, manifest: dict[str, Any]) -> None:
    manifest["thumbnails"] -= 1


def a_manifest_changed(content: bytes) -> bytes:
    members = members_of(content)
    return written(
        members | {MANIFEST: members[MANIFEST].replace(b'"generation": ', b'"generation": 1')}
    )


def forging(edit: Callable[[Members, dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    return lambda content: forged(content, edit)


SNAPSHOT = "index/{folder}/manifest.json"
VECTOR = "UPDATE embeddings SET vector = (SELECT vector FROM embeddings WHERE id = 1) WHERE id = 2"
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON corpora BEGIN DELETE FROM entries; END"
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], type[BackupError], str]] = {
    "an empty file": (lambda _: b"", NotABackup, ""),
    "a file of text": (lambda _: b"Dear archive,\n" * 1000, NotABackup, ""),
    "a database": (lambda c: members_of(c)[TABLES], NotABackup, ""),
    "a tar file of somebody else": (lambda _: written({"a.txt": b"1"}), NotABackup, ""),
    "cut behind a header": (
        lambda c: c[: BLOCK + 10],
        BackupCorrupt,
        SNAPSHOT.replace("manifest.json", ""),
    ),
    "cut in the tables": (lambda c: c[: c.index(b"SQLite format 3") + 5000], BackupCorrupt, TABLES),
    "cut before the manifest": (lambda c: c[: -END - BLOCK], BackupCorrupt, MANIFEST),
    "cut before the end": (lambda c: c[:-END], BackupCorrupt, MANIFEST),
    "cut by one byte": (lambda c: c[:-1], BackupCorrupt, MANIFEST),
    "never finished": (lambda c: without(c, MANIFEST), BackupCorrupt, MANIFEST),
    "a bit of the tables": (lambda c: flipped(c, TABLES), BackupCorrupt, TABLES),
    "a bit of the thumbnails": (lambda c: flipped(c, PACK), BackupCorrupt, PACK),
    "a bit of the manifest": (lambda c: flipped(c, MANIFEST), BackupCorrupt, MANIFEST),
    "another number in the manifest": (a_manifest_changed, BackupCorrupt, MANIFEST),
    "no tables": (lambda c: without(c, TABLES), BackupCorrupt, TABLES),
    "no thumbnails": (lambda c: without(c, PACK), BackupCorrupt, PACK),
    "a member more": (
        lambda c: written(members_of(c) | {"index/more": b""}),
        BackupCorrupt,
        "index/more",
    ),
    "a member above the folder": (
        lambda c: written(members_of(c) | {"../evil": b"1"}),
        BackupCorrupt,
        "../evil",
    ),
    "a member of the root": (
        lambda c: written({"/tmp/evil": b"1"} | members_of(c)),
        BackupCorrupt,
        "/tmp/evil",
    ),
    "a link": (lambda c: linked(c, "index"), BackupCorrupt, "index"),
    "a stated member above the folder": (forging(put("../evil", b"1")), BackupCorrupt, MANIFEST),
    "a stated file above its folder": (
        forging(put("index/0123456789abcdef/..", b"1")),
        BackupCorrupt,
        MANIFEST,
    ),
    "a stated hidden file": (
        forging(put("index/0123456789abcdef/.lock", b"1")),
        BackupCorrupt,
        MANIFEST,
    ),
    "a thumbnail above its folder": (
        forging(put(PACK, written({"../../evil.webp": b"1"}))),
        BackupCorrupt,
        f"{PACK}:../../evil.webp",
    ),
    "a pack that is none": (forging(put(PACK, b"\1" * 2000)), BackupCorrupt, PACK),
    "fewer thumbnails than stated": (forging(fewer_thumbnails), BackupCorrupt, "thumbnails/"),
    "tables that are no database": (forging(put(TABLES, b"x" * 10_000)), BackupCorrupt, TABLES),
    "tables of an empty database": (forging(put(TABLES, b"")), BackupCorrupt, TABLES),
    "another row count": (forging(one_row_less), BackupCorrupt, TABLES),
    "another digest": (forging(another_digest), BackupCorrupt, TABLES),
    "another generation": (forging(state(generation=1)), BackupCorrupt, TABLES),
    "another vector": (forging(sql(VECTOR)), BackupCorrupt, TABLES),
    "a removed entry that is live again": (
        forging(sql("UPDATE entries SET removed_at = NULL WHERE id = 6")),
        BackupCorrupt,
        TABLES,
    ),
    "a table more": (forging(sql("CREATE TABLE evil (id INTEGER)")), BackupCorrupt, TABLES),
    "a trigger": (forging(sql(TRIGGER)), BackupCorrupt, TABLES),
    "another schema than stated": (
        forging(sql("UPDATE alembic_version SET version_num = 'x'")),
        BackupCorrupt,
        TABLES,
    ),
    "a later schema": (forging(state(schema_revision="9999")), BackupTooNew, ""),
    "a later format": (forging(state(format_version=2)), BackupTooNew, ""),
    "a field more": (forging(state(surprise=1)), BackupCorrupt, MANIFEST),
    "a number that is none": (forging(state(generation="1")), BackupCorrupt, MANIFEST),
    "a table's name that is SQL": (
        forging(state(row_counts={'x" --': 1})),
        BackupCorrupt,
        MANIFEST,
    ),
    "a manifest that is a list": (
        lambda c: written(members_of(c) | {MANIFEST: b"[" * 100_000}),
        BackupCorrupt,
        MANIFEST,
    ),
}


@pytest.fixture
def dialect() -> str:
    """One database is enough here: what is damaged is the file."""
    return "sqlite"


@pytest.mark.parametrize(("damage", "error", "member"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named_and_nothing_is_written(
    stock: Any,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    error: type[BackupError],
    member: str,
) -> None:
    stock.back_up()
    whole = stock.archive.read_bytes()
    stock.archive.write_bytes(damage(whole))
    index, thumbnails = tmp_path / "new" / "index", BlobStore(tmp_path / "new" / "thumbnails")
    for attempt in (
        lambda: verify_backup(stock.archive),
        lambda: restore(stock.archive, sqlite_url(tmp_path / "new" / "a.db"), index, thumbnails),
    ):
        with pytest.raises(error) as caught:
            attempt()
        assert str(stock.archive) in str(caught.value)
        assert "\n" not in str(caught.value)
        if isinstance(caught.value, BackupCorrupt) and member:
            assert caught.value.member.startswith(
                member.format(folder=stock.material.space.fingerprint[:16])
            )
    assert not [path for path in tmp_path.glob("new/**/*") if path.is_file()]
    stock.archive.write_bytes(whole)
    assert verify_backup(stock.archive).thumbnails == 8


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BackupUnreadable, match="No such file"):
        restore(tmp_path / "missing.tar", sqlite_url(tmp_path / "a.db"), tmp_path / "index")


def test_a_member_that_changes_while_it_is_restored_is_not_believed(
    stock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second reading gives other bytes than the first, which was verified."""
    stock.back_up()
    whole = stock.archive.read_bytes()
    snapshot = f"index/{stock.material.space.fingerprint[:16]}/{MANIFEST}"
    damaged = flipped(whole, snapshot)
    monkeypatch.setattr(BlobStore, "put_unsynced", lambda *_: stock.archive.write_bytes(damaged))
    with pytest.raises(BackupCorrupt, match="sha256") as caught:
        restore(
            stock.archive,
            sqlite_url(tmp_path / "a.db"),
            tmp_path / "index",
            BlobStore(tmp_path / "thumbnails"),
        )
    assert caught.value.member == snapshot
    assert not (tmp_path / "a.db").exists()
