"""Which calibration applies: the newest that covers what is searched."""

from __future__ import annotations

from typing import Any

import pytest

from index.calibration.calibration import AS_IS, Calibration
from index.calibration.standing import HELD, RECENT, Applies, Calibrations, Standing
from index.errors import TruthDamaged, UnknownCalibration
from index.truth.calibrations import (
    CalibrationScope,
    ShippedReference,
    get_calibration,
    save_calibration,
)
from index.truth.corpora import CorpusKind, create_corpus, find_corpus_ids, remove_corpus
from index.truth.databases.database import Database
from index.truth.schema import calibrations as table
from tests.index.assessing import stratum

SHIPPED = ShippedReference("photographs shipped with tests", "0" * 64, 282)


@pytest.fixture
def filled(database: Database, material: Any) -> Database:
    """Two corpora of known fakes with entries, an empty one, and one of known-real images."""
    material.fill(database, "a", "abc")
    material.fill(database, "b", "de")
    material.fill(database, "photographs", "xyz", CorpusKind.KNOWN_REAL)
    with database.write() as conn:
        create_corpus(conn, "empty", CorpusKind.KNOWN_FAKE)
    return database


def save(
    database: Database, material: Any, *names: str, seed: int = 0, provisional: bool = False
) -> int:
    with database.write() as conn:
        scope = CalibrationScope(
            asked={},
            against=names,
            against_ids=find_corpus_ids(conn, frozenset(names)),
            reference=() if provisional else ("photographs",),
            shipped=SHIPPED if provisional else None,
            is_provisional=provisional,
        )
        document = Calibration(3, {}, {AS_IS: stratum()}, seed).to_json()
        return save_calibration(conn, material.space, 5, scope, document)


def find(
    database: Database, material: Any, *names: str, whole: bool = True
) -> tuple[int, Applies] | None:
    with database.read() as conn:
        standing = Standing.read(conn, material.space)
        found = Calibrations(material.space).find(conn, standing, names or None, whole=whole)
    return None if found is None else (found.id, found.applies)


def test_without_a_calibration_none_applies_and_every_corpus_with_entries_is_uncovered(
    filled: Database, material: Any
) -> None:
    assert find(filled, material) is None
    with filled.read() as conn:
        assert Standing.read(conn, material.space).find_unseen(None) == ("a", "b")


def test_a_calibration_of_exactly_the_searched_corpora_is_exact(
    filled: Database, material: Any
) -> None:
    calibration_id = save(filled, material, "a", "b")
    for names in ((), ("a", "b"), ("a", "b", "empty"), ("a", "b", "photographs")):
        assert find(filled, material, *names) == (calibration_id, Applies.EXACT)
    with filled.read() as conn:
        standing = Standing.read(conn, material.space)
        found = Calibrations(material.space).find(conn, standing, None, whole=True)
    assert found is not None
    assert (found.generation, found.against, found.reference) == (5, ("a", "b"), ("photographs",))
    assert found.calibration.corpus_size == 3


def test_a_part_of_what_was_calibrated_is_an_upper_bound(filled: Database, material: Any) -> None:
    calibration_id = save(filled, material, "a", "b")
    assert find(filled, material, "a") == (calibration_id, Applies.UPPER_BOUND)
    assert find(filled, material, whole=False) == (calibration_id, Applies.UPPER_BOUND)


def test_more_than_was_calibrated_is_not_covered(filled: Database, material: Any) -> None:
    save(filled, material, "a")
    assert find(filled, material) is None
    assert find(filled, material, "a", "b") is None
    assert find(filled, material, "b") is None
    assert find(filled, material, "a", "empty") is not None  # it holds nothing to be near to
    with filled.read() as conn:
        found = Standing.read(conn, material.space)
    assert found.find_unseen(None) == ("b",)
    assert found.find_unseen(["b", "empty"]) == ("b",)
    assert found.find_unseen(["a", "photographs"]) == ()


def test_a_provisional_calibration_applies_only_where_no_other_does(
    filled: Database, material: Any
) -> None:
    real = save(filled, material, "a")
    provisional = save(filled, material, "a", "b", provisional=True)

    assert find(filled, material, "a") == (real, Applies.EXACT)
    assert find(filled, material, "a", whole=False) == (real, Applies.UPPER_BOUND)
    assert find(filled, material) == (provisional, Applies.EXACT)
    with filled.read() as conn:
        standing = Standing.read(conn, material.space)
        found = Calibrations(material.space).find(conn, standing, None, whole=True)
        assert Standing.read(conn, material.space).find_unseen(None) == ("b",)
    assert found is not None
    assert found.reference == ("photographs shipped with tests",)


def test_provisional_calibrations_push_no_other_one_out(filled: Database, material: Any) -> None:
    real = save(filled, material, "a", "b")
    for _ in range(RECENT + 1):
        save(filled, material, "a", "b", provisional=True)

    assert find(filled, material) == (real, Applies.EXACT)


def test_no_calibration_applies_to_a_search_without_known_fakes(
    filled: Database, material: Any
) -> None:
    save(filled, material, "a", "b")
    assert find(filled, material, "photographs") is None


def test_the_newest_applies_and_an_exact_one_before_a_newer_bound(
    filled: Database, material: Any
) -> None:
    save(filled, material, "a")
    exact = save(filled, material, "a")
    bound = save(filled, material, "a", "b")
    assert find(filled, material, "a") == (exact, Applies.EXACT)
    assert find(filled, material, "a", whole=False) == (bound, Applies.UPPER_BOUND)
    assert find(filled, material, "b") == (bound, Applies.UPPER_BOUND)


def test_a_calibration_behind_many_newer_ones_is_not_looked_for(
    filled: Database, material: Any
) -> None:
    old = save(filled, material, "b")
    for seed in range(RECENT - 1):
        save(filled, material, "a", seed=seed)
    assert find(filled, material, "b") == (old, Applies.EXACT)
    save(filled, material, "a")
    assert find(filled, material, "b") is None


def test_a_calibration_of_another_space_does_not_apply(filled: Database, material: Any) -> None:
    save(filled, material, "a", "b")
    with filled.read() as conn:
        assert Standing.read(conn, material.other_space).find(None, whole=True) is None


def test_a_removed_corpus_leaves_its_calibration_for_the_others(
    filled: Database, material: Any
) -> None:
    calibration_id = save(filled, material, "a", "b")
    with filled.write() as conn:
        remove_corpus(conn, "b")
    assert find(filled, material, "a") == (calibration_id, Applies.UPPER_BOUND)


def test_a_calibration_applies_again_as_it_did(filled: Database, material: Any) -> None:
    calibration_id = save(filled, material, "a")
    save(filled, material, "a", "b")
    with filled.read() as conn:
        found = Calibrations(material.space)
        again = found.apply_again(conn, calibration_id, Applies.UPPER_BOUND)
        assert (again.id, again.against, again.applies) == (
            calibration_id,
            ("a",),
            Applies.UPPER_BOUND,
        )
        with pytest.raises(UnknownCalibration):
            found.apply_again(conn, calibration_id + 9, Applies.EXACT)


def test_a_parsed_calibration_is_kept_for_a_while(filled: Database, material: Any) -> None:
    ids = [save(filled, material, "a", seed=seed) for seed in range(HELD + 1)]
    kept = Calibrations(material.space)
    with filled.read() as conn:
        stored = [get_calibration(conn, each) for each in ids]
        first = kept.get(conn, stored[0])
        assert kept.get(conn, stored[0]) is first
        assert [kept.get(conn, each).seed for each in stored] == list(range(HELD + 1))
        assert kept.get(conn, stored[0]) is not first  # the others took its place
        assert kept.get(conn, stored[0]) == first


def test_a_calibration_that_got_the_id_of_another_after_a_restore_is_read_anew(
    filled: Database, material: Any
) -> None:
    calibration_id = save(filled, material, "a", seed=1)
    kept = Calibrations(material.space)
    with filled.read() as conn:
        assert kept.get(conn, get_calibration(conn, calibration_id)).seed == 1
    with filled.write() as conn:
        conn.execute(table.delete())
    save(filled, material, "a", seed=2)
    with filled.write() as conn:
        conn.execute(table.update().values(id=calibration_id))
    with filled.read() as conn:
        assert kept.get(conn, get_calibration(conn, calibration_id)).seed == 2


def test_a_damaged_calibration_is_refused(filled: Database, material: Any) -> None:
    calibration_id = save(filled, material, "a")
    with filled.read() as conn:
        stored = get_calibration(conn, calibration_id)
    with filled.write() as conn:
        conn.execute(table.update().values(document="{}"))
    with pytest.raises(TruthDamaged), filled.read() as conn:
        Calibrations(material.space).get(conn, stored)
