import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, select, update

from index.calibration.reading import SourceNumbers, draw_rows, get_named_corpora, read_population
from index.errors import CorpusKindConflict, TruthDamaged, UnknownCalibration, UnknownCorpus
from index.truth.adding import add_entries
from index.truth.calibrations import (
    CalibrationScope,
    ShippedReference,
    add_delivered,
    find_calibration_of_job,
    find_missing_deliveries,
    get_calibration,
    list_calibration_heads,
    list_calibrations,
    read_delivered_embeddings,
    save_calibration,
    save_calibration_after,
    save_calibration_of_job,
)
from index.truth.changes import Head, read_head
from index.truth.computations import Computation, PrecisionCheck
from index.truth.corpora import CorpusKind, ensure_corpus
from index.truth.coverage import count_embedded, has_embedded, list_embedded_image_ids
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.jobs.job import JobKind, create_job
from index.truth.perceptual import PerceptualHash
from index.truth.schema import calibrations, entries

COMPUTED = Computation("cuda", "float16")
NOTHING_ASKED = CalibrationScope(asked={})


def scope(seed: int) -> CalibrationScope:
    return CalibrationScope(
        asked={"seed": seed, "against": None},
        against=("fakes", "more fakes"),
        against_ids=(1, 4),
        reference=("photographs",),
        reference_ids=(2,),
        job_id=100 + seed,
    )


def test_a_calibration_that_is_not_there_is_unknown(database: Database) -> None:
    for calibration_id in (-1, 0, 1, 2**70):
        with pytest.raises(UnknownCalibration), database.read() as conn:
            get_calibration(conn, calibration_id)


def test_a_changed_document_is_no_calibration(database: Database, material: Any) -> None:
    with database.write() as conn:
        calibration_id = save_calibration(conn, material.space, 0, NOTHING_ASKED, {"rate": 0.01})
        conn.execute(update(calibrations).values(document='{"rate":0.001}'))
    for read in (lambda conn: get_calibration(conn, calibration_id), list_calibrations):
        with (
            pytest.raises(
                TruthDamaged, match=f"calibration {calibration_id} is not what was stored"
            ),
            database.read() as conn,
        ):
            read(conn)


def test_a_calibration_that_json_cannot_say_is_refused(database: Database, material: Any) -> None:
    with pytest.raises(ValueError, match="JSON"), database.write() as conn:
        save_calibration(conn, material.space, 0, NOTHING_ASKED, {"rate": float("nan")})


def test_calibrations_come_back_as_they_were_saved_the_newest_first(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        ids = [
            save_calibration(conn, material.space, n, scope(n), {"n": n, "x": 0.1 + 0.2}, COMPUTED)
            for n in range(3)
        ]
        other = save_calibration(conn, material.other_space, 9, NOTHING_ASKED, {})
    with database.read() as conn:
        stored = get_calibration(conn, ids[1])
        assert (stored.generation, stored.scope, stored.document) == (
            1,
            scope(1),
            {"n": 1, "x": 0.1 + 0.2},
        )
        assert stored.space_fingerprint == material.space.fingerprint
        assert stored.computation == COMPUTED
        assert get_calibration(conn, other).computation is None
        heads = list_calibration_heads(conn, material.space, 2)
        assert [(head.id, head.scope) for head in heads] == [(ids[2], scope(2)), (ids[1], scope(1))]
        assert [each.id for each in list_calibrations(conn)] == [other, *ids[::-1]]
        assert [each.id for each in list_calibrations(conn, before=ids[2], limit=1)] == [ids[1]]


def test_a_stored_request_that_says_something_else_is_damage(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        calibration_id = save_calibration(conn, material.space, 0, NOTHING_ASKED, {})
        conn.execute(update(calibrations).values(request='{"asked":{}}'))
    for read in (
        lambda conn: get_calibration(conn, calibration_id),
        lambda conn: list_calibration_heads(conn, material.space, 1),
    ):
        with (
            pytest.raises(TruthDamaged, match=f"calibration {calibration_id} was asked for"),
            database.read() as conn,
        ):
            read(conn)


def test_the_calibration_of_a_job_is_found_behind_many_others(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        ids = [save_calibration(conn, material.space, 0, scope(n), {"n": n}) for n in range(150)]
    with database.read() as conn:
        assert find_calibration_of_job(conn, 99) is None
        for n in (0, 49, 149):
            found = find_calibration_of_job(conn, 100 + n)
            assert found is not None
            assert (found.id, found.document) == (ids[n], {"n": n})


def test_a_delivered_embedding_is_stored_once_and_what_is_missing_is_known(
    database: Database, material: Any
) -> None:
    material.fill(database, "reals", "abc", CorpusKind.KNOWN_REAL)
    with database.write() as conn:
        of = get_named_corpora(conn, None, CorpusKind.KNOWN_REAL)
        a, b, c = list_embedded_image_ids(conn, material.space, of.ids)
        new = [(a, "jpeg75", material.vector("a75"), 1.5), (b, "half", material.vector("bh"), -2.5)]
        assert find_missing_deliveries(conn, material.space, [a], []) == []
        assert add_delivered(conn, material.space, new) == {(a, "jpeg75"), (b, "half")}
        assert (
            add_delivered(conn, material.space, [(a, "jpeg75", material.vector("other"), 0.0)])
            == frozenset()
        )
        assert find_missing_deliveries(conn, material.space, [c, a, b], ["jpeg75", "half"]) == [
            (c, ["jpeg75", "half"]),
            (a, ["half"]),
            (b, ["jpeg75"]),
        ]
        assert find_missing_deliveries(conn, material.other_space, [a], ["half"]) == [(a, ["half"])]
        found = read_delivered_embeddings(conn, material.space, "jpeg75", [c, b, a])
    assert found.image_ids.tolist() == [a]
    assert np.array_equal(found.vectors, [material.vector("a75")])
    assert found.logits.tolist() == [1.5]


def test_what_answers_say_of_calibrations_and_checks_moves_the_head_of_the_log(
    database: Database, material: Any
) -> None:
    def head() -> Head:
        with database.read() as conn:
            return read_head(conn)

    def deliver(condition: str, computation: Computation | None) -> None:
        with database.write() as conn:
            new = [(image_id, condition, material.vector("a"), 0.5)]
            add_delivered(conn, material.space, new, computation)

    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        (added,) = add_entries(conn, "fakes", material.space, [material.entry("a")])
        image_id = conn.execute(
            select(entries.c.image_id).where(entries.c.id == added.entry_id)
        ).scalar_one()
    before = head()
    deliver("jpeg", COMPUTED)
    assert head() == before
    deliver("webp", Computation(*COMPUTED[:2], PrecisionCheck(27, 0.9999, 0.1)))
    checked = head()
    assert before.amendments < checked.amendments
    assert checked == before._replace(amendments=checked.amendments)
    with database.write() as conn:
        save_calibration(conn, material.space, 0, NOTHING_ASKED, {})
    assert checked.amendments < head().amendments


def test_corpora_are_taken_by_their_kind_and_no_other(database: Database, material: Any) -> None:
    material.fill(database, "fakes", "ab")
    material.fill(database, "more", "c")
    material.fill(database, "reals", "d", CorpusKind.KNOWN_REAL)
    with database.read() as conn:
        with pytest.raises(UnknownCorpus):
            get_named_corpora(conn, ["fakes", "nowhere"], CorpusKind.KNOWN_FAKE)
        with pytest.raises(CorpusKindConflict):
            get_named_corpora(conn, ["fakes", "reals"], CorpusKind.KNOWN_FAKE)
        assert get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE).names == ("fakes", "more")
        assert get_named_corpora(conn, ["more"], CorpusKind.KNOWN_FAKE).names == ("more",)


def test_a_population_has_each_live_image_once_with_its_source_and_hash(
    database: Database, material: Any
) -> None:
    hashed = PerceptualHash(bytes(32), 70)
    declared = [
        {"source_image": "x"},
        {"pattern": {"source_image": "x"}},
        {"source": {"source_image": 7}},
        {},
    ]
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        ensure_corpus(conn, "more", CorpusKind.KNOWN_FAKE)
        new = [
            material.entry(name, extra=extra, generator="sdxl")
            for name, extra in zip("abcd", declared, strict=True)
        ]
        first = add_entries(conn, "fakes", material.space, new)
        add_entries(
            conn,
            "more",
            material.space,
            [material.entry("a"), material.entry("e", source="an archive")],
        )
        gone = add_entries(conn, "fakes", material.space, [material.entry("gone")])[0]
        remove_entry(conn, gone.entry_id)
        of = get_named_corpora(conn, None, CorpusKind.KNOWN_FAKE)
        population = read_population(conn, material.space, of, SourceNumbers())
        assert count_embedded(conn, material.space, of.ids) == 6
        assert has_embedded(conn, material.space, of.ids)
        assert not has_embedded(conn, material.other_space, of.ids)
        assert not has_embedded(conn, material.space, ())
        assert list_embedded_image_ids(conn, material.space, of.ids) == tuple(
            population.image_ids.tolist()
        )
        assert len(read_population(conn, material.other_space, of, SourceNumbers())) == 0
    assert len(first) == 4
    assert np.array_equal(population.vectors, np.stack([material.vector(name) for name in "abcde"]))
    a, b, c, d, e = population.sources.tolist()
    assert a == b
    assert len({a, c, d, e}) == 4
    assert population.generators == ("sdxl",) * 4 + (None,)
    assert population.hashes == (None,) * 5
    assert hashed not in population.hashes
    assert population.collections == (("fakes", None),) * 4 + (("more", "an archive"),)
    assert population.taking(np.array([4, 0])).collections == (
        ("more", "an archive"),
        ("fakes", None),
    )


def test_a_sample_is_the_same_for_a_seed_and_in_order() -> None:
    assert draw_rows(3, 3, 1).tolist() == [0, 1, 2]
    some = draw_rows(1000, 10, 1)
    assert np.array_equal(some, draw_rows(1000, 10, 1))
    assert not np.array_equal(some, draw_rows(1000, 10, 2))
    assert np.array_equal(some, np.unique(some))
    assert len(some) == 10


def both_while_one_is_not_committed(
    database: Database, save: Callable[[Connection], int]
) -> tuple[int, int]:
    """Call `save` in a transaction, and in a second one before the first commits; the two ids."""
    began = threading.Event()

    def second() -> int:
        with database.write() as conn:
            began.set()
            return save(conn)

    with ThreadPoolExecutor(1) as other:
        with database.write() as conn:
            first = save(conn)
            running = other.submit(second)
            # In SQLite the second transaction cannot even begin.
            if database.dialect == "postgresql":
                assert began.wait(10)
            with suppress(TimeoutError):
                running.result(0.3)
        return first, running.result(10)


def test_two_workers_store_one_calibration_of_their_job(database: Database, material: Any) -> None:
    """On PostgreSQL both once inserted: each had looked before the other committed."""
    with database.write() as conn:
        job = create_job(conn, JobKind.CALIBRATE, None, material.space, {})
    measured = CalibrationScope(asked={}, job_id=job.id)

    first, second = both_while_one_is_not_committed(
        database, lambda conn: save_calibration_of_job(conn, material.space, 0, measured, {})
    )

    assert first == second
    with database.read() as conn:
        assert len(list_calibrations(conn)) == 1


def test_two_processes_store_one_calibration_after_the_same_one(
    database: Database, material: Any
) -> None:
    with database.write() as conn:
        last = save_calibration(conn, material.space, 0, NOTHING_ASKED, {})

    first, second = both_while_one_is_not_committed(
        database,
        lambda conn: save_calibration_after(conn, material.space, last, 0, NOTHING_ASKED, {}),
    )

    assert first == second > last
    with database.read() as conn:
        assert len(list_calibrations(conn)) == 2


def test_provisional_calibrations_are_listed_apart_with_what_came_with_the_model(
    database: Database, material: Any
) -> None:
    shipped = ShippedReference("photographs shipped with tests", "0" * 64, 282)
    provisional = CalibrationScope(
        asked={}, reference=("own",), shipped=shipped, is_provisional=True
    )
    with database.write() as conn:
        real, *others = (
            save_calibration(conn, material.space, 0, each, {})
            for each in (NOTHING_ASKED, *([provisional] * 3))
        )
    with database.read() as conn:
        listed = {
            wanted: list_calibration_heads(conn, material.space, 2, provisional=wanted)
            for wanted in (True, False, None)
        }
    assert [head.id for head in listed[True]] == [head.id for head in listed[None]] == others[:0:-1]
    assert [head.id for head in listed[False]] == [real]
    assert listed[True][0].scope == provisional
    assert provisional.reference_names == ("own", "photographs shipped with tests")
