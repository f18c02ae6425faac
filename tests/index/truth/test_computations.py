"""What computed the embeddings of a corpus is known at every generation, whoever wrote them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from index.errors import InvalidComputation
from index.truth.adding import NewEntry, add_embeddings, add_entries
from index.truth.changes import ChangeKind, last_number
from index.truth.computations import (
    COMPUTATION_COLUMNS,
    Computation,
    PrecisionCheck,
    computation_from_row,
    ensure_computation_ids,
    find_computations,
)
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.images import find_embedding
from index.truth.quarantine import quarantine_entry, release_entry
from index.truth.schema import (
    changes,
    computations,
    corpora,
    embeddings,
    entries,
    precision_checks,
)
from index.truth.spaces import ensure_space_id, find_space_id
from tests.index.conftest import Material

CPU, GPU = Computation("cpu", "float32"), Computation("cuda:1", "float16")


def add(
    conn: Connection, corpus: str, names: str, computation: Computation | None = None
) -> tuple[int, ...]:
    """Add entries whose embeddings were computed in one way; return their ids."""
    material = Material()
    ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
    new = [
        NewEntry(material.image(name), material.vector(name), 0.5, computation=computation)
        for name in names
    ]
    return tuple(each.entry_id for each in add_entries(conn, corpus, material.space, new))


def found(conn: Connection, *names: str, generation: int | None = None) -> list[Any]:
    upto = last_number(conn) if generation is None else generation
    return list(find_computations(conn, Material.space, upto, names or None))


def read_from_rows(conn: Connection, corpus: str, generation: int) -> set[Computation | None]:
    """The same from every row of the log: what computed the members ever added to a corpus."""
    query = (
        select(*COMPUTATION_COLUMNS)
        .select_from(changes)
        .join(entries, entries.c.id == changes.c.entry_id)
        .join(corpora, corpora.c.id == entries.c.corpus_id)
        .join(
            embeddings,
            (embeddings.c.image_id == entries.c.image_id)
            & (embeddings.c.space_id == changes.c.space_id),
        )
        .join(computations, computations.c.id == embeddings.c.computation_id, isouter=True)
        .join(precision_checks, precision_checks.c.space_id == 0, isouter=True)
        .where(
            corpora.c.name == corpus,
            changes.c.kind == ChangeKind.ADD,
            changes.c.number <= generation,
            changes.c.space_id == find_space_id(conn, Material.space),
        )
    )
    return {computation_from_row(row) for row in conn.execute(query)}


@pytest.mark.parametrize(
    "computation",
    [
        Computation("", "float32"),
        Computation("cpu", ""),
        Computation("cpu", "float 32"),
        Computation("CPU", "float32"),
        Computation("c" * 65, "float32"),
        Computation("cpu", "f" * 33),
        Computation("cpu\n", "float32"),
        Computation("cpu", "float32", PrecisionCheck(0, 1.0, 0.0)),
        Computation("cpu", "float32", PrecisionCheck(9, 1.5, 0.0)),
        Computation("cpu", "float32", PrecisionCheck(9, math.nan, 0.0)),
        Computation("cpu", "float32", PrecisionCheck(9, 1.0, math.inf)),
        Computation("cpu", "float32", PrecisionCheck(9, 1.0, -0.1)),
    ],
)
def test_what_is_no_name_of_a_device_or_a_precision_is_refused(
    conn: Connection, computation: Computation
) -> None:
    with pytest.raises(InvalidComputation):
        ensure_computation_ids(conn, 1, [computation])
    with pytest.raises(InvalidComputation):
        add(conn, "fakes", "a", computation)


def test_a_computation_has_one_row_and_what_is_not_known_has_none(conn: Connection) -> None:
    space_id = ensure_space_id(conn, Material.space)
    first = ensure_computation_ids(conn, space_id, [CPU, None, CPU])
    again = ensure_computation_ids(conn, space_id, [GPU, CPU])

    assert first == {None: None, CPU: again[CPU]}
    assert conn.execute(select(computations.c.device, computations.c.precision)).all() == [
        ("cpu", "float32"),
        ("cuda:1", "float16"),
    ]


def test_a_computation_may_be_given_with_its_check_and_without(conn: Connection) -> None:
    space_id = ensure_space_id(conn, Material.space)
    checked = GPU._replace(check=PrecisionCheck(27, 0.99968, 0.053))
    ids = ensure_computation_ids(conn, space_id, [GPU, checked])
    assert ids[GPU] == ids[checked]
    assert conn.execute(select(precision_checks.c.images)).all() == [(27,)]


def test_a_check_belongs_to_one_space_and_the_first_one_stays(
    conn: Connection, material: Any
) -> None:
    first, later = PrecisionCheck(27, 0.99968, 0.053), PrecisionCheck(27, 0.99, 0.2)
    add(conn, "fakes", "a", GPU._replace(check=first))
    add(conn, "fakes", "b", GPU._replace(check=later))
    add(conn, "fakes", "c", GPU)
    add(conn, "fakes", "d", CPU)
    other = NewEntry(material.image("a"), material.vector("a", 4), 0.5, computation=GPU)
    add_embeddings(conn, material.other_space, [other])

    assert found(conn) == [CPU, GPU._replace(check=first)]
    for name in "abc":
        embedding = find_embedding(conn, material.space, material.sha256(name))
        assert embedding is not None
        assert embedding.computation == GPU._replace(check=first)
    assert find_computations(conn, material.other_space, last_number(conn), None) == (GPU,)


def test_only_float32_on_a_cpu_is_exact() -> None:
    assert CPU.is_exact
    assert not Computation("cuda", "float32").is_exact
    assert not Computation("cpu", "bfloat16").is_exact


def test_an_embedding_keeps_what_computed_it_first(conn: Connection, material: Any) -> None:
    add(conn, "fakes", "a", CPU)
    add(conn, "fakes", "b")
    add(conn, "others", "ab", GPU)  # both images are embedded already

    for name, computation in (("a", CPU), ("b", None)):
        embedding = find_embedding(conn, material.space, material.sha256(name))
        assert embedding is not None
        assert embedding.computation == computation
    assert found(conn, "others") == [CPU, None]


def test_every_generation_has_the_computations_of_then(conn: Connection) -> None:
    add(conn, "fakes", "ab", CPU)
    add(conn, "others", "c")
    add(conn, "fakes", "de", GPU)

    assert found(conn, generation=0) == []
    assert found(conn, generation=2) == found(conn, "fakes", generation=3) == [CPU]
    assert found(conn, generation=3) == [CPU, None]
    assert found(conn) == [CPU, GPU, None]
    assert found(conn, "fakes") == [CPU, GPU]
    assert found(conn, "others") == [None]
    assert found(conn, "nowhere") == []
    assert find_computations(conn, Material.other_space, 9, None) == ()


def test_an_embedding_that_comes_later_is_recorded_for_every_corpus_of_its_image(
    conn: Connection, material: Any
) -> None:
    for corpus in ("fakes", "others"):
        add(conn, corpus, "a", CPU)
    new = NewEntry(material.image("a"), material.vector("a", 4), 0.5, computation=GPU)
    add_embeddings(conn, material.other_space, [new])

    for corpus in ("fakes", "others"):
        computed = find_computations(conn, material.other_space, last_number(conn), [corpus])
        assert computed == (GPU,)
    assert found(conn) == [CPU]


def test_what_left_a_corpus_still_counts_and_a_corpus_that_is_gone_does_not(
    conn: Connection,
) -> None:
    (entry_id,) = add(conn, "fakes", "a", GPU)
    add(conn, "fakes", "b", CPU)
    add(conn, "others", "c")
    remove_entry(conn, entry_id)
    assert found(conn, "fakes") == [CPU, GPU]
    remove_corpus(conn, "others")
    assert found(conn) == [CPU, GPU]
    add(conn, "others", "d", CPU)
    assert found(conn, "others") == [CPU]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    acts=st.lists(
        st.tuples(
            st.booleans(),
            st.text("abcdefgh", min_size=1, max_size=3),
            st.sampled_from([CPU, GPU, None]),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_it_is_what_the_rows_say_at_every_generation(
    database: Database, acts: list[tuple[bool, str, Computation | None, bool]]
) -> None:
    """The examples share a database: an image that an earlier one embedded is only linked."""
    with database.write() as conn:
        first = last_number(conn)
        for is_first, names, computation, is_quarantined in acts:
            ids = add(conn, f"{'a' if is_first else 'b'}-{first}", names, computation)
            if is_quarantined:
                quarantine_entry(conn, ids[0], "a photograph")
                release_entry(conn, ids[0])
        for corpus in (f"a-{first}", f"b-{first}"):
            for generation in range(first, last_number(conn) + 1):
                expected = read_from_rows(conn, corpus, generation)
                assert set(found(conn, corpus, generation=generation)) == expected
