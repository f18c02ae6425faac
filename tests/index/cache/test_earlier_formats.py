"""What an earlier release wrote must open: snapshots of format 1, as the first release of Lineup
left them.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from index.cache.live import LiveIndex
from index.cache.snapshots.manifest import FORMAT_VERSION, MANIFEST, read_manifest
from index.truth.databases.database import Database


def stamp(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "name": path.name,
        "byte_size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def write_format_1(folder: Path, live: LiveIndex) -> None:
    """Write a snapshot the way format 1 did: one flat FAISS index, one array of ids, a manifest."""
    folder.mkdir(parents=True)
    verification = live.verify()
    facts, rows = next(iter(live.current.view.members()))
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    faiss.write_index(index, str(folder / "12.faiss"))
    np.save(folder / "12.ids.npy", facts["id"])
    manifest = {
        "format_version": 1,
        "plan": "flat",
        "space_fingerprint": live.space.fingerprint,
        "dimension": rows.shape[1],
        "generation": verification.generation,
        "count": verification.count,
        "digest": verification.held,
        "vectors": stamp(folder / "12.faiss"),
        "ids": stamp(folder / "12.ids.npy"),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_snapshot_of_format_1_is_replaced_by_one_of_this_release(
    database: Database,
    open_live: Callable[..., LiveIndex],
    material: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = [f"image-{i}" for i in range(12)]
    material.fill(database, "fakes", names)
    before = open_live()
    folder = before.directory
    write_format_1(folder, before)
    with caplog.at_level(logging.INFO, "index"):
        live = open_live()
    assert "of an earlier release" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert live.search(material.vector("x"), 12) == before.search(material.vector("x"), 12)
    live.snapshot()
    manifest = read_manifest(folder)
    assert (manifest.format_version, manifest.count) == (FORMAT_VERSION, 12)
    assert {path.name for path in folder.iterdir()} == {"lock", MANIFEST, *manifest.files}
