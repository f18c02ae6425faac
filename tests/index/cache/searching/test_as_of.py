"""An earlier generation is searched as it was: against the answers recorded at that time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.cache.live import LiveIndex
from index.cache.searching.as_of import search_at
from index.cache.searching.questions import Question, SearchResult
from index.copies import AS_SEEN, CopyEvidence, Symmetry, View, ViewHash
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.filters import Filter
from index.truth.free_provenance import ProvenanceIs
from index.truth.images import ImageFacts
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.spaces import find_space_id

FAKE, REAL = CorpusKind.KNOWN_FAKE, CorpusKind.KNOWN_REAL
DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
FILTERS = [
    Filter(),
    Filter(corpora=frozenset(["more"])),
    Filter(kind=REAL),
    Filter(generators=frozenset(["SDXL"])),
    Filter(labels=frozenset(["even"])),
    Filter(acquired_from=DAYS[1]),
    Filter(acquired_to=DAYS[1]),
    Filter(acquired_from=DAYS[0], acquired_to=DAYS[1], kind=FAKE),
    Filter(provenance=frozenset([ProvenanceIs.at("batch", [1])])),
]


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # `test_searching` has both databases


def put(database: Database, material: Any, corpus: str, number: int) -> int:
    kind = REAL if corpus == "reals" else FAKE
    bits = bytes([number % 3 * 17]) * 31 + bytes([number])
    facts = ImageFacts(material.sha256(number), 10, 8, 8, "png", PerceptualHash(bits, 100))
    provenance = Provenance(
        generator=[None, "sdxl", "flux.1"][number % 3],
        label="even" if number % 2 == 0 else None,
        acquired_at=None if number % 4 == 0 else DAYS[number % 3],
        extra={"batch": number % 2},
    )
    with database.write() as conn:
        ensure_corpus(conn, corpus, kind)
        new = NewEntry(facts, material.vector(number), 0.0, provenance)
        (result,) = add_entries(conn, corpus, material.space, [new])
    return int(result.entry_id)


def asked(material: Any, k: int, filters: list[Filter], seed: int) -> list[Question]:
    probe = material.vector(("probe", seed))
    hashed = PerceptualHash(bytes([17]) * 32, 100)
    return [Question(probe, k, each, material.sha256(3), hashed, exact=True) for each in filters]


def at(database: Database, material: Any, generation: int, some: list[Question]) -> Any:
    with database.read() as conn:
        space_id = find_space_id(conn, material.space)
        assert space_id is not None
        return search_at(conn, space_id, generation, some)


def entry_ids(result: SearchResult) -> list[int]:
    return [each.entry.id for each in result.neighbours]


@pytest.mark.parametrize(("seed", "k"), [(1, 1), (2, 3), (3, 50)])
def test_every_generation_answers_later_what_it_answered_then(
    new_sqlite_url: Any, material: Any, tmp_path_factory: Any, seed: int, k: int
) -> None:
    random = np.random.default_rng(seed)
    steps = [(step, int(random.integers(31))) for step in random.permutation(list("aaaaarr"))]
    with (
        Database.open(new_sqlite_url()) as database,
        LiveIndex.open(database, material.space, tmp_path_factory.mktemp("index")) as live,
    ):
        for corpus in ("fakes", "more", "reals"):
            with database.write() as conn:
                ensure_corpus(conn, corpus, REAL if corpus == "reals" else FAKE)
        entries, recorded = list[int](), dict[int, tuple[SearchResult, ...]]()
        for step, number in steps:
            if step == "r" and entries:
                with database.write() as conn:
                    remove_entry(conn, entries.pop(number % len(entries)))
            elif step != "r":
                entry_id = put(database, material, ["fakes", "more", "reals"][number % 3], number)
                if entry_id not in entries:
                    entries.append(entry_id)
            recorded[live.refresh()] = live.search_all(asked(material, k, FILTERS[::3], 1))
        for generation, answers in recorded.items():
            if generation:
                questions = asked(material, k, FILTERS[::3], 1)
                assert at(database, material, generation, questions) == answers


def test_an_entry_removed_since_is_found_as_it_was(database: Database, material: Any) -> None:
    ids = [put(database, material, "fakes", number) for number in range(4)]
    with database.write() as conn:
        remove_entry(conn, ids[2])
    (then,) = at(database, material, 4, [Question(material.vector(2), 1, Filter())])
    (now,) = at(database, material, 5, [Question(material.vector(2), 1, Filter())])
    assert entry_ids(then) == [ids[2]]
    assert entry_ids(now) != [ids[2]]
    assert (then.searched, now.searched) == (4, 3)
    assert then.exact
    assert then.digest != now.digest


def test_a_corpus_removed_since_can_still_be_named(database: Database, material: Any) -> None:
    put(database, material, "fakes", 1)
    entry_id = put(database, material, "more", 2)
    with database.write() as conn:
        remove_corpus(conn, "more")
    chosen = Filter(corpora=frozenset(["more"]))
    (then,) = at(database, material, 2, [Question(material.vector(2), 5, chosen)])
    (now,) = at(database, material, 3, [Question(material.vector(2), 5, chosen)])
    assert (entry_ids(then), entry_ids(now)) == ([entry_id], [])


def test_the_same_bytes_come_first_and_near_duplicates_beside_the_nearest(
    database: Database, material: Any
) -> None:
    ids = [put(database, material, "fakes", number) for number in range(9)]
    hashed = PerceptualHash(bytes([17]) * 31 + bytes([4]), 100)
    question = Question(material.vector(0), 2, Filter(), material.sha256(8), hashed)
    (found,) = at(database, material, 9, [question])
    assert entry_ids(found)[0] == ids[8]
    assert found.neighbours[0].identical
    near = [each.entry.id for each in found.neighbours if each.near_duplicate]
    assert set(near) <= {ids[1], ids[4], ids[7]}
    assert len(near) >= 2
    assert len(found.neighbours) <= 4


def test_an_unreliable_hash_of_the_probe_finds_no_picture(
    database: Database, material: Any
) -> None:
    put(database, material, "fakes", 1)
    flat = PerceptualHash(bytes([17]) * 31 + bytes([1]), 0)
    question = Question(material.vector(0), 1, Filter(), None, flat)
    (found,) = at(database, material, 1, [question])
    assert found.neighbours[0].near_duplicate is None


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_similarities_are_those_of_numpy(database: Database, material: Any, chosen: Filter) -> None:
    for number in range(12):
        put(database, material, ["fakes", "more", "reals"][number % 3], number)
    probe = material.vector("probe")
    (found,) = at(database, material, 12, [Question(probe, 50, chosen)])
    assert len(found.neighbours) == found.searched > 0
    stored = {material.sha256(number): material.vector(number) for number in range(12)}
    for each in found.neighbours:
        expected = float(stored[each.entry.sha256].astype(np.float64) @ probe.astype(np.float64))
        assert each.cosine_similarity == pytest.approx(expected, abs=1e-6)
    similarities = [each.cosine_similarity for each in found.neighbours]
    assert similarities == sorted(similarities, reverse=True)


def put_picture(database: Database, material: Any, number: int, bits: np.ndarray) -> int:
    hashed = PerceptualHash(np.packbits(bits).tobytes(), 100)
    facts = ImageFacts(material.sha256(number), 10, 8, 8, "png", hashed)
    with database.write() as conn:
        ensure_corpus(conn, "fakes", FAKE)
        new = NewEntry(facts, material.vector(number), 0.0, Provenance())
        (result,) = add_entries(conn, "fakes", material.space, [new])
    return int(result.entry_id)


@pytest.mark.parametrize("k", [1, 4])
def test_views_and_candidates_come_out_again(
    database: Database, material: Any, tmp_path: Path, k: int
) -> None:
    """A turned copy, ones that are further away, and two that only a descriptor proposes."""
    random = np.random.default_rng(7)
    seen, turned = random.integers(0, 2, (2, 256)).astype(np.uint8)
    odd = np.flatnonzero(np.indices((16, 16)).max(axis=0).ravel() % 2 == 1)  # not in the key
    ids = []
    for number, (bits, count) in enumerate(((turned, 3), (turned, 44), (seen, 40), (seen, 80))):
        own = bits.copy()
        own[random.choice(odd, count, replace=False)] ^= 1
        ids.append(put_picture(database, material, number, own))
    ids += [put_picture(database, material, 4 + n, random.integers(0, 2, 256)) for n in range(8)]
    views = (
        ViewHash(AS_SEEN, PerceptualHash(np.packbits(seen).tobytes(), 90)),
        ViewHash(View(Symmetry.TURNED_90), PerceptualHash(np.packbits(turned).tobytes(), 90)),
    )
    question = Question(
        material.vector("probe"),
        k,
        Filter(),
        None,
        views[0].hash,
        exact=True,
        views=views,
        candidates=((ids[9], 0.7), (ids[8], 0.6), (10**6, 0.9)),
    )
    with LiveIndex.open(database, material.space, tmp_path / "index") as live:
        (then,) = live.search_all([question])
    put_picture(database, material, 30, turned)
    (again,) = at(database, material, 12, [question])
    assert again == then

    listed = {each.entry.id: each for each in (*then.neighbours, *then.candidates)}
    assert listed[ids[0]].near_duplicate
    assert listed[ids[0]] in then.neighbours
    expected = {
        ids[0]: CopyEvidence(views[1].view, 3),
        ids[1]: CopyEvidence(views[1].view, 44),
        ids[2]: CopyEvidence(AS_SEEN, 40),
        ids[3]: CopyEvidence(AS_SEEN, 80),
        ids[8]: CopyEvidence(descriptor_similarity=0.6),
        ids[9]: CopyEvidence(descriptor_similarity=0.7),
    }
    assert {i: each.copy for i, each in listed.items() if each.copy is not None} == expected
    neighbours = entry_ids(then)
    order = [i for i in (ids[2], ids[1], ids[3], ids[9], ids[8]) if i not in neighbours]
    assert [each.entry.id for each in then.candidates] == order
