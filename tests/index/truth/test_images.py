"""Images and embeddings as rows: inserted once, completed later, found by sha256."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, text

from index.errors import InvalidImageFacts
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, create_corpus, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import entries_of_image, remove_entry
from index.truth.images import (
    ImageFacts,
    ensure_embeddings,
    ensure_images,
    facts_from_row,
    find_embedded_images,
    find_embedding,
    find_embeddings,
    find_known_images,
)
from index.truth.perceptual import HASH_BYTES, PerceptualHash
from index.truth.schema import embeddings, images
from index.truth.spaces import ensure_space_id
from index.truth.statements import VARIABLES
from tests.index.truth.additions import add

WHOLE = ImageFacts("a" * 64, 1000, 64, 48, "png", PerceptualHash(bytes(HASH_BYTES), 90))
UNKNOWN = ImageFacts("a" * 64, None, None, None, None, None, seen=False)

sizes = st.none() | st.integers(1, 2**31 - 1)
facts_of_one_image = st.builds(
    ImageFacts,
    st.just("a" * 64),
    sizes,
    sizes,
    sizes,
    st.none() | st.sampled_from(["png", "jpeg", "webp"]),
    st.none()
    | st.builds(
        PerceptualHash, st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES), st.integers(0, 100)
    ),
    st.booleans(),
)


def stored_facts(conn: Connection) -> list[ImageFacts]:
    rows = conn.execute(select(images).order_by(images.c.id))
    return [facts_from_row(row) for row in rows]


@pytest.mark.parametrize("sha256", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_what_is_no_sha256_is_refused(sha256: str) -> None:
    with pytest.raises(InvalidImageFacts, match="sha256"):
        replace(WHOLE, sha256=sha256).check()


@pytest.mark.parametrize("name", ["byte_size", "width", "height"])
@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(name: str, size: int) -> None:
    with pytest.raises(InvalidImageFacts, match="at least one"):
        replace(WHOLE, **{name: size}).check()


@pytest.mark.parametrize("image_format", ["", "PNG", "p n g", "a" * 17, "png\n"])
def test_what_is_no_format_is_refused(image_format: str) -> None:
    with pytest.raises(InvalidImageFacts, match="format"):
        replace(WHOLE, format=image_format).check()


@pytest.mark.parametrize(
    "hashed", [PerceptualHash(bytes(31), 50), PerceptualHash(bytes(33), 50), PerceptualHash(b"", 0)]
)
def test_what_is_no_hash_is_refused(hashed: PerceptualHash) -> None:
    with pytest.raises(InvalidImageFacts, match="PDQ"):
        replace(WHOLE, perceptual_hash=hashed).check()


@pytest.mark.parametrize("facts", [WHOLE, UNKNOWN, replace(WHOLE, byte_size=1, width=1, height=1)])
def test_possible_facts_are_accepted(facts: ImageFacts) -> None:
    facts.check()


@pytest.mark.parametrize("facts", [WHOLE, UNKNOWN, replace(UNKNOWN, width=5, format="gif")])
def test_facts_come_back_as_they_were_given(database: Database, facts: ImageFacts) -> None:
    with database.write() as conn:
        ids, new, _ = ensure_images(conn, [facts])
        assert new == {facts.sha256}
        assert stored_facts(conn) == [facts]
        assert ids == {facts.sha256: conn.execute(select(images.c.id)).scalar_one()}


def test_unknown_facts_are_null(database: Database) -> None:
    with database.write() as conn:
        ensure_images(conn, [UNKNOWN])
        row = conn.execute(select(images)).one()
    assert (row.byte_size, row.width, row.height, row.format) == (None, None, None, None)
    assert (row.pdq_hash, row.pdq_quality, row.seen) == (None, None, False)


def test_images_are_inserted_in_the_order_of_their_sha256(
    database: Database, material: Any
) -> None:
    given = [material.image(number) for number in range(30)]
    with database.write() as conn:
        ids, new, _ = ensure_images(conn, [*given, *given[:5]])
        ordered = conn.execute(select(images.c.sha256).order_by(images.c.id)).scalars().all()
    assert ordered == sorted(image.sha256 for image in given)
    assert new == frozenset(ordered)
    assert sorted(ids) == ordered


def test_images_that_exist_keep_their_ids(database: Database, material: Any) -> None:
    older = [material.image(number) for number in range(0, 20, 2)]
    every = [material.image(number) for number in range(20)]
    with database.write() as conn:
        before, _, _ = ensure_images(conn, older)
        after, new, _ = ensure_images(conn, every)
        assert conn.execute(select(func.count()).select_from(images)).scalar_one() == 20
    assert {sha256: after[sha256] for sha256 in before} == before
    assert new == {image.sha256 for image in every} - before.keys()


def test_more_images_than_fit_one_statement_are_all_found(
    database: Database, material: Any
) -> None:
    every = [material.image(number) for number in range(2 * VARIABLES + 1)]
    with database.write() as conn:
        first, new, _ = ensure_images(conn, every)
        again, none, _ = ensure_images(conn, every)
    assert len(first) == len(new) == len(every)
    assert again == first
    assert none == frozenset()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(given=st.lists(facts_of_one_image, min_size=1, max_size=4))
def test_each_fact_is_the_first_one_that_was_known(
    database: Database, given: Sequence[ImageFacts]
) -> None:
    with database.write() as conn:
        conn.execute(text("DELETE FROM images"))
        for facts in given:
            ensure_images(conn, [facts])
        (stored,) = stored_facts(conn)
    for field in fields(ImageFacts):
        values = [getattr(facts, field.name) for facts in given]
        expected = (
            any(values)
            if field.name == "seen"
            else next((value for value in values if value is not None), None)
        )
        assert getattr(stored, field.name) == expected, field.name


def test_known_images_name_only_live_corpora(database: Database, material: Any) -> None:
    (removed_id,) = material.fill(database, "fakes", "a")
    material.fill(database, "reals", "ab", CorpusKind.KNOWN_REAL)
    material.fill(database, "gone", "ab")
    with database.write() as conn:
        remove_entry(conn, removed_id)
        remove_corpus(conn, "gone")
        known = find_known_images(
            conn, material.space, [material.sha256(name) for name in ("a", "b", "c")]
        )
        elsewhere = find_known_images(conn, material.other_space, [material.sha256("a")])
    assert known.keys() == {material.sha256("a"), material.sha256("b")}
    for image in known.values():
        assert image.embedded
        assert image.corpora == {"reals"}
    assert not elsewhere[material.sha256("a")].embedded
    assert elsewhere[material.sha256("a")].image_id == known[material.sha256("a")].image_id


def test_an_embedding_belongs_to_one_image_and_one_space(database: Database, material: Any) -> None:
    with database.write() as conn:
        ids, _, _ = ensure_images(conn, [material.image("a"), material.image("b")])
        spaces = [ensure_space_id(conn, space) for space in (material.space, material.other_space)]
        a, b = ids[material.sha256("a")], ids[material.sha256("b")]
        vector = material.vector("a").tobytes()
        assert ensure_embeddings(conn, spaces[0], {a: (vector, 1.5, None)}) == {a}
        again = {a: (bytes(32), 0.0, None), b: (vector, 2.5, None)}
        assert ensure_embeddings(conn, spaces[0], again) == {b}
        assert ensure_embeddings(conn, spaces[1], {}) == frozenset()
        assert find_embedded_images(conn, spaces[0], [a, b, b + 1]) == {a, b}
        assert find_embedded_images(conn, spaces[1], [a, b]) == frozenset()
        assert find_embedded_images(conn, spaces[0], []) == frozenset()
        kept = find_embedding(conn, material.space, material.sha256("a"))
        assert kept is not None
        assert (kept.logit, kept.image) == (1.5, material.image("a"))
        assert np.array_equal(kept.vector, material.vector("a"))
        assert find_embedding(conn, material.other_space, material.sha256("a")) is None
        assert find_embedding(conn, material.space, material.sha256("c")) is None
        found = find_embeddings(conn, material.space, [material.sha256(name) for name in "cab"])
        assert found.keys() == {material.sha256(name) for name in "ab"}
        assert found[material.sha256("a")].image == kept.image
        assert found[material.sha256("b")].logit == 2.5
        assert find_embeddings(conn, material.other_space, [material.sha256("a")]) == {}


@pytest.mark.parametrize("count", [1, VARIABLES, 2 * VARIABLES + 1])
def test_any_number_of_embeddings_is_stored_and_found(
    database: Database, material: Any, count: int
) -> None:
    vector = material.vector("a").tobytes()
    with database.write() as conn:
        ids, _, _ = ensure_images(conn, [material.image(number) for number in range(count)])
        space_id = ensure_space_id(conn, material.space)
        given = {image_id: (vector, float(image_id), None) for image_id in ids.values()}
        assert ensure_embeddings(conn, space_id, given) == frozenset(ids.values())
        assert find_embedded_images(conn, space_id, list(ids.values())) == frozenset(ids.values())
        rows = conn.execute(select(embeddings.c.image_id, embeddings.c.logit)).all()
    assert all(logit == image_id for image_id, logit in rows)
    assert len(rows) == count


def test_a_stored_vector_cannot_be_changed_in_memory(database: Database, material: Any) -> None:
    with database.write() as conn:
        create_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "fakes", material.space, [material.entry("a")])
        found = find_embedding(conn, material.space, material.sha256("a"))
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 0


def test_no_two_sets_of_facts_share_a_row(database: Database, material: Any) -> None:
    """Facts are completed for the image that they are of, and for no other."""
    names = "abcd"
    with database.write() as conn:
        ensure_images(conn, [replace(UNKNOWN, sha256=material.sha256(name)) for name in names])
        ensure_images(conn, [material.image("b"), material.image("d")])
        stored = {facts.sha256: facts for facts in stored_facts(conn)}
    for name, other in itertools.pairwise(names):
        assert stored[material.sha256(name)] != stored[material.sha256(other)]
    for name in "bd":
        assert stored[material.sha256(name)] == material.image(name)
    for name in "ac":
        assert stored[material.sha256(name)] == replace(UNKNOWN, sha256=material.sha256(name))


def test_facts_that_were_not_known_are_completed_and_known_ones_stay(
    database: Database, material: Any
) -> None:
    unknown = ImageFacts("b" * 64, None, None, None, None)
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        add_entries(conn, "known", material.space, [NewEntry(unknown, material.vector(1), 0.0)])
    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == unknown

    complete = ImageFacts("b" * 64, 10, 20, 30, "jpeg", PerceptualHash(bytes(range(32)), 80))
    with database.write() as conn:
        add_entries(conn, "known", material.space, [NewEntry(complete, material.vector(1), 0.0)])
        add_entries(
            conn,
            "known",
            material.space,
            [NewEntry(ImageFacts("b" * 64, 1, 1, 1, "png"), material.vector(1), 0.0)],
        )

    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == complete
        assert find_known_images(conn, material.space, ["b" * 64])["b" * 64].embedded


def test_each_fact_is_completed_alone(database: Database, material: Any) -> None:
    """A ready embedding may come with a part of the facts; the file's own facts add the rest."""
    with database.write() as conn:
        ensure_corpus(conn, "known", CorpusKind.KNOWN_FAKE)
        for facts in (
            ImageFacts("b" * 64, None, 20, 30, None),
            ImageFacts("b" * 64, 10, 21, 31, None),
            ImageFacts("b" * 64, None, None, None, None),
        ):
            add_entries(conn, "known", material.space, [NewEntry(facts, material.vector(1), 0.0)])

    with database.read() as conn:
        assert entries_of_image(conn, "b" * 64)[0].image == ImageFacts("b" * 64, 10, 20, 30, None)
        stored = conn.execute(text("SELECT byte_size, width, height, format FROM images")).one()
    assert tuple(stored) == (10, 20, 30, None)


def test_known_images_tells_what_need_not_be_computed(
    database: Database, corpora: None, material: Any
) -> None:
    add(database, "fakes", material.space, material.entry("a"), material.entry("b"))
    add(database, "reals", material.space, material.entry("a"))
    names = [material.sha256(name) for name in "abc"]
    with database.read() as conn:
        here = find_known_images(conn, material.space, names)
        elsewhere = find_known_images(conn, material.other_space, names)
    assert {sha256: (known.embedded, known.corpora) for sha256, known in here.items()} == {
        names[0]: (True, {"fakes", "reals"}),
        names[1]: (True, {"fakes"}),
    }
    assert not any(known.embedded for known in elsewhere.values())


def test_an_embedding_that_is_not_there_is_none(
    database: Database, corpora: None, material: Any
) -> None:
    add(database, "fakes", material.space, material.entry("a"))
    with database.read() as conn:
        assert find_embedding(conn, material.space, material.sha256("b")) is None
        assert find_embedding(conn, material.other_space, material.sha256("a")) is None
