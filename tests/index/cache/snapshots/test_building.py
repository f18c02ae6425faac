"""Snapshots built from a view and from SQL: their members, positions, codes and files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import failpoints
from index.cache.plans.config import IndexConfig, Plan
from index.cache.segments.view import View
from index.cache.snapshots.building import Builder
from index.cache.snapshots.manifest import Manifest, read_manifest
from index.cache.snapshots.snapshot import check_files, open_snapshot
from index.cache.vectors.marks import Marks
from index.errors import IndexDirectoryUnwritable, SnapshotCorrupt
from index.truth.databases.database import Database
from index.truth.digest import EMPTY, add_members
from index.truth.entries import remove_entry
from index.truth.spaces import Space, find_space_id
from index.truth.vectors import to_bytes
from tests.index.cache.samples import member, sealed_members

FINGERPRINT = "ab" * 32
DIMENSION = 8
SMALL = IndexConfig(flat_limit=50, exact_allowance=0, recall_probes=16, recall_target=0.5)
NO_LOOKUPS = np.empty((0, DIMENSION), np.float32)


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # what is read from SQL is the same from both


@pytest.fixture
def no_failpoint() -> Iterator[None]:
    yield
    failpoints.install(None)


def builder_in(folder: Path, config: IndexConfig = SMALL) -> Builder:
    folder.mkdir(parents=True, exist_ok=True)
    space = Space(FINGERPRINT, "small", "w", "p", DIMENSION)
    return Builder(folder, space, config, threads=1)


def view_of(ids: Any) -> View:
    rows = [member(i, DIMENSION) for i in ids]
    digest = add_members(EMPTY, (row.entry_id for row in rows), (row.vector for row in rows))
    sealed = sealed_members(ids, DIMENSION)
    return View.of_sealed(sealed, None, len(rows), digest, DIMENSION)


def opened(folder: Path, manifest: Manifest) -> View:
    contents, tuned = open_snapshot(folder, manifest, FINGERPRINT, DIMENSION)
    return View.of_sealed(
        contents.segment(tuned), contents.live, contents.generation, contents.digest, DIMENSION
    )


def members_of(view: View) -> dict[int, tuple[Any, ...]]:
    found = {}
    for part, facts in zip(view.parts, (view.sealed.facts, view.growing.facts), strict=True):
        texts = part.segment.words.texts()
        for position in part.positions():
            fact = facts[position]
            words = [None if n < 0 else texts[n] for n in (fact["generator"], fact["label"])]
            vector = part.segment.vectors(np.array([position]))[0]
            found[int(fact["id"])] = (to_bytes(vector), int(fact["acquired_at"]), *words)
    return found


ids = st.lists(st.integers(1, 60), unique=True, max_size=25)


@settings(settings.get_profile("index"), max_examples=12)
@given(first=ids, later=ids, data=st.data())
def test_appending_and_writing_anew_give_the_members_of_the_view(
    tmp_path_factory: Any, first: list[int], later: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("index")
    builder = builder_in(folder)
    manifest = builder.write(view_of(first), None, NO_LOOKUPS)
    new = [i for i in later if i not in first]
    everyone = [*first, *new]
    gone = data.draw(st.sets(st.sampled_from(everyone))) if everyone else set()
    view = opened(folder, manifest).add([member(i, DIMENSION) for i in new])
    view = view.remove(sorted(gone)).at_generation(99)
    appended = builder.append(view, manifest)
    assert appended.vectors == manifest.vectors
    assert members_of(opened(folder, appended)) == members_of(view)
    # Removed entries of the growing segment are never written; those of the sealed one are dead.
    assert appended.rows == len(first) + len(set(new) - gone)
    assert appended.rows - appended.count == len(gone & set(first))
    anew = builder.write(opened(folder, appended), None, NO_LOOKUPS)
    assert anew.vectors != manifest.vectors
    assert (anew.rows, anew.count) == (view.count, view.count)
    assert members_of(opened(folder, anew)) == members_of(view)
    assert (
        (anew.generation, anew.digest)
        == (appended.generation, appended.digest)
        == (
            99,
            f"{view.digest:064x}",
        )
    )
    check_files(folder, anew)


def test_a_snapshot_from_sql_has_the_live_members(
    database: Database, material: Any, tmp_path: Path
) -> None:
    entry_ids = material.fill(database, "fakes", [f"image-{i}" for i in range(20)])
    with database.write() as conn:
        remove_entry(conn, entry_ids[3])
    with database.read() as conn:
        manifest = builder_in(tmp_path).write_from_sql(conn, find_space_id(conn, material.space))
    view = opened(tmp_path, manifest)
    assert view.member_ids().tolist() == [i for i in entry_ids if i != entry_ids[3]]
    assert (manifest.generation, manifest.plan, manifest.trained_rows) == (21, Plan.FLAT, 0)
    assert view.digest == view.compute_digest()


def test_training_publishes_codes_with_the_recall_that_was_measured(tmp_path: Path) -> None:
    builder = builder_in(tmp_path)
    manifest = builder.write(view_of(range(1, 201)), None, NO_LOOKUPS)
    assert (manifest.plan, manifest.tuning) == (Plan.FLAT, None)
    contents, _ = open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    lookups = np.stack([np.frombuffer(member(i, DIMENSION).vector, "<f4") for i in (900, 901)])
    coded = builder.train(contents, lookups)
    assert coded.plan is not Plan.FLAT
    assert coded.tuning is not None
    assert coded.tuning.recall >= SMALL.recall_target
    assert (coded.tuning.probes, coded.tuning.lookups, coded.trained_rows) == (18, 2, 200)
    assert coded.vectors == manifest.vectors
    assert members_of(opened(tmp_path, coded)) == members_of(view_of(range(1, 201)))


def test_codes_are_appended_to_and_keep_their_training(tmp_path: Path) -> None:
    builder = builder_in(tmp_path)
    manifest = builder.write(view_of(range(1, 201)), None, NO_LOOKUPS)
    contents, _ = open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    coded = builder.train(contents, NO_LOOKUPS)
    view = opened(tmp_path, coded).add([member(i, DIMENSION) for i in range(300, 340)])
    more = builder.append(view.at_generation(240), coded)
    _, tuned = open_snapshot(tmp_path, more, FINGERPRINT, DIMENSION)
    assert tuned is not None
    assert tuned.codes.size == 240
    assert (more.trained_rows, more.tuning) == (200, coded.tuning)
    measured, _ = open_snapshot(tmp_path, more, FINGERPRINT, DIMENSION)
    again = builder.measure(measured, tuned.codes, more.trained_rows, NO_LOOKUPS)
    assert again.tuning is not None
    assert (again.tuning.rows, again.trained_rows) == (240, 200)


def test_codes_are_left_out_when_few_members_are_left(tmp_path: Path) -> None:
    builder = builder_in(tmp_path)
    manifest = builder.write(view_of(range(1, 201)), None, NO_LOOKUPS)
    contents, _ = open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    coded = builder.train(contents, NO_LOOKUPS)
    view = opened(tmp_path, coded)
    few = View(
        view.generation,
        view.digest,
        view.sealed,
        Marks(np.arange(200) < SMALL.flat_limit),
        view.growing,
        None,
    )
    written = builder.write(few, coded, NO_LOOKUPS)
    assert (written.plan, written.codes, written.trained_rows) == (Plan.FLAT, None, 0)
    kept = View(
        view.generation,
        view.digest,
        view.sealed,
        Marks(np.arange(200) <= SMALL.flat_limit),
        view.growing,
        None,
    )
    again = builder.write(kept, coded, NO_LOOKUPS)
    assert again.codes is not None  # with one member more the codes stay
    assert (again.rows, again.trained_rows) == (SMALL.flat_limit + 1, 200)


def test_codes_that_cannot_reach_the_recall_are_given_up_and_remembered(tmp_path: Path) -> None:
    config = IndexConfig(flat_limit=50, recall_probes=16, recall_target=1.0, recall_k=45)
    builder = builder_in(tmp_path, config)
    manifest = builder.write(view_of(range(1, 201)), None, NO_LOOKUPS)
    contents, _ = open_snapshot(tmp_path, manifest, FINGERPRINT, DIMENSION)
    flat = builder.train(contents, NO_LOOKUPS)
    assert (flat.plan, flat.codes, flat.tuning, flat.trained_rows) == (Plan.FLAT, None, None, 200)


def test_a_damaged_block_is_not_copied_into_a_new_file(tmp_path: Path) -> None:
    builder = builder_in(tmp_path)
    manifest = builder.write(view_of(range(1, 101)), None, NO_LOOKUPS)
    view = opened(tmp_path, manifest)
    view.sealed.vectors(np.arange(100))  # every block was read, and was right
    with (tmp_path / manifest.vectors).open("r+b") as file:
        file.seek(64)
        file.write(b"\xff\xff")
    with pytest.raises(SnapshotCorrupt):
        builder.write(view, None, NO_LOOKUPS)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.usefixtures("no_failpoint")
def test_a_full_disk_leaves_no_half_file_of_vectors(tmp_path: Path) -> None:
    builder = builder_in(tmp_path)
    manifest = builder.write(view_of(range(1, 11)), None, NO_LOOKUPS)

    def fill_disk(point: failpoints.Failpoint) -> None:
        if point is failpoints.Failpoint.ROWS_WRITTEN:
            raise OSError(28, "No space left on device")

    failpoints.install(fill_disk)
    with pytest.raises(IndexDirectoryUnwritable, match="No space left"):
        builder.write(opened(tmp_path, manifest), None, NO_LOOKUPS)
    assert [path.name for path in tmp_path.glob("*.vectors")] == [manifest.vectors]
