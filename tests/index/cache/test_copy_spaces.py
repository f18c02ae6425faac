"""The index of a copy space: float16 rows in SQL, in memory and in snapshots; float32 answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.cache.searching.ranking import cosine_similarities
from index.cache.snapshots.manifest import read_manifest
from index.errors import SnapshotCorrupt
from index.proof.fsck import fsck
from index.truth.adding import add_entries
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from tests.index.conftest import Material

COPIES = Material.copy_space
SMALL = IndexConfig(flat_limit=40, exact_allowance=0, recall_probes=16, recall_target=0.5)


def fill(database: Database, material: Any, names: Any) -> list[int]:
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        new = [material.described(name) for name in names]
        added = add_entries(conn, "fakes", material.space, new, copy_space=COPIES)
    return [result.entry_id for result in added]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # what is read from SQL is the same from both


@pytest.mark.parametrize("config", [IndexConfig(), SMALL])
def test_it_finds_what_a_comparison_of_the_stored_vectors_finds(
    database: Database, material: Any, tmp_path: Path, config: IndexConfig
) -> None:
    ids = fill(database, material, range(120))
    stored = np.array([material.vector(name, 16).astype(np.float16) for name in range(120)])
    with LiveIndex.open(database, COPIES, tmp_path, config=config) as live:
        live.settle()
        live.snapshot()
        ids += fill(database, material, range(120, 150))
        stored = np.concatenate(
            [stored, [material.vector(name, 16).astype(np.float16) for name in range(120, 150)]]
        )
        with database.write() as conn:
            remove_entry(conn, ids[7])
        for name in (3, 130, "elsewhere"):
            probe = material.vector(name, 16)
            found = live.search(probe, 5, exact=True)
            similarities = cosine_similarities(stored.astype(np.float32), probe)
            similarities[7] = -1
            best = np.argsort(-similarities, kind="stable")[:5]
            assert [each.entry.id for each in found.neighbours] == [ids[row] for row in best]
            assert [each.cosine_similarity for each in found.neighbours] == pytest.approx(
                similarities[best].tolist(), abs=1e-12
            )
        assert live.verify().agrees


def test_its_snapshot_holds_two_bytes_a_number_and_is_opened_again(
    database: Database, material: Any, tmp_path: Path
) -> None:
    fill(database, material, range(70))
    with LiveIndex.open(database, COPIES, tmp_path) as live:
        manifest = live.snapshot()
        fill(database, material, range(70, 100))
        grown = live.snapshot()
    assert (manifest.float_bytes, manifest.rows) == (2, 70)
    assert (tmp_path / COPIES.fingerprint[:16] / grown.vectors).stat().st_size == 100 * 16 * 2
    with LiveIndex.open(database, COPIES, tmp_path) as live:
        assert live.current.manifest == grown
        live.compact()
        assert live.verify().agrees
    assert fsck(database, None, tmp_path).findings == ()


def test_a_manifest_that_states_another_form_is_set_aside(
    database: Database, material: Any, tmp_path: Path
) -> None:
    fill(database, material, range(10))
    folder = tmp_path / COPIES.fingerprint[:16]
    with LiveIndex.open(database, COPIES, tmp_path) as live:
        live.snapshot()
    path = folder / "manifest.json"
    written = path.read_text()
    path.write_text(written.replace('"float_bytes": 2', '"float_bytes": 3'))
    with pytest.raises(SnapshotCorrupt):
        read_manifest(folder)
    path.write_text(written.replace('"float_bytes": 2', '"float_bytes": 4'))
    with LiveIndex.open(database, COPIES, tmp_path) as live:
        assert live.count == 10
        assert live.current.manifest is None


def test_a_forensic_snapshot_states_what_every_release_reads(
    database: Database, material: Any, tmp_path: Path
) -> None:
    fill(database, material, range(3))
    with LiveIndex.open(database, material.space, tmp_path) as live:
        live.snapshot()
    text = (tmp_path / material.space.fingerprint[:16] / "manifest.json").read_text()
    assert "float_bytes" not in text
