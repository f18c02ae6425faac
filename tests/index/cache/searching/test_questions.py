"""Searches against a brute-force model: random corpora, removals, snapshots, reopenings, filters, k
and ties.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cache.following.folding import FoldPolicy
from index.cache.live import LiveIndex
from index.cache.searching.as_of import search_at
from index.cache.searching.questions import Question
from index.cache.searching.ranking import cosine_similarities, rank
from index.cache.segments.facts import FACTS, Words
from index.cache.segments.growing import GrowingSegment
from index.cache.segments.sealed import SealedSegment
from index.cache.segments.view import Part
from index.cache.vectors.marks import Marks
from index.cache.vectors.rows import HeldRows
from index.errors import InvalidFilter, InvalidVector, UnknownCorpus, UnknownEntry
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import remove_entry
from index.truth.filters import Filter
from index.truth.perceptual import PerceptualHash, hamming_distance, near_duplicate
from index.truth.provenance import Provenance
from index.truth.spaces import find_space_id

KINDS = {
    "fakes": CorpusKind.KNOWN_FAKE,
    "more": CorpusKind.KNOWN_FAKE,
    "reals": CorpusKind.KNOWN_REAL,
}
DAYS = [None, *(datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))]
# Few small integers: many vectors are equal, opposite or equally far from the probe.
vectors = st.tuples(*[st.integers(-1, 1)] * 8).filter(any)
images = st.integers(0, 30)
additions = st.tuples(
    st.just("add"),
    st.sampled_from(sorted(KINDS)),
    st.lists(
        st.tuples(images, st.sampled_from([None, "sdxl", "FLUX 1"]), st.sampled_from(DAYS)),
        min_size=1,
        max_size=8,
    ),
)
removals = st.tuples(st.just("remove"), st.integers(0, 40))
filters = st.builds(
    Filter,
    corpora=st.none() | st.frozensets(st.just("fakes"), max_size=1),
    kind=st.none() | st.sampled_from(CorpusKind),
    generators=st.none() | st.frozensets(st.sampled_from(["SDXL", "flux-1", "unseen"])),
    labels=st.none() | st.just(frozenset(["even"])),
    acquired_from=st.none() | st.sampled_from(DAYS[1:3]),
    acquired_to=st.none() | st.just(DAYS[3]),
)
ks = st.sampled_from([1, 2, 5, 100])
searches = st.tuples(
    st.just("search"), vectors, ks, filters, st.none() | images, st.none() | images
)
steps = st.lists(
    st.one_of(
        additions,
        additions,
        removals,
        searches,
        searches,
        st.tuples(st.just("remove corpus"), st.sampled_from(["more", "reals"])),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("reopen")),
    ),
    min_size=4,
    max_size=14,
)


def hash_of(image: int) -> PerceptualHash | None:
    """Three pictures, with more and more bits changed; some without a hash, some unreliable."""
    if image % 5 == 0:
        return None
    bits = int.from_bytes(bytes([17 * (image % 3)]) * 32) ^ ((1 << image * 2) - 1)
    return PerceptualHash(bits.to_bytes(32), 40 if image % 7 == 0 else 50)


def facts(ids: Any) -> Any:
    records = np.zeros(len(ids), FACTS)
    records["id"] = ids
    return records


def sealed_of(ids: Any, rows: Any) -> SealedSegment:
    return SealedSegment(HeldRows(rows), facts(ids), Words())


def growing_of(ids: Any, rows: Any) -> GrowingSegment:
    return GrowingSegment.empty(rows.shape[1], Words()).append(facts(ids), rows)


@dataclass
class Known:
    """What the model remembers of a live entry."""

    corpus: str
    image: int
    generator: str | None
    acquired: datetime | None

    def passes(self, chosen: Filter) -> bool:
        generators = None if chosen.generators is None else {g.lower() for g in chosen.generators}
        return (
            (chosen.corpora is None or self.corpus in chosen.corpora)
            and (chosen.kind is None or KINDS[self.corpus] is chosen.kind)
            and (generators is None or self.generator in generators)
            and (chosen.labels is None or self.image % 2 == 0)
            and (
                chosen.acquired_from is None
                or (self.acquired is not None and self.acquired >= chosen.acquired_from)
            )
            and (
                chosen.acquired_to is None
                or (self.acquired is not None and self.acquired < chosen.acquired_to)
            )
        )


class Model:
    """The truth as Python dictionaries, beside a real database and a real index."""

    def __init__(self, url: str, material: Any, directory: Path, image_vectors: Any) -> None:
        self.material, self.directory, self.vectors = material, directory, image_vectors
        self.database = Database.open(url)
        self.live = self._open()
        self.entries: dict[int, Known] = {}
        self.ever: set[int] = set()
        self.near_beside = 0  # near duplicates that were answered beside the k nearest
        self.answered: list[tuple[Question, Any]] = []
        with self.database.write() as conn:
            ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)

    def _open(self) -> Any:
        return LiveIndex.open(
            self.database, self.material.space, self.directory, policy=FoldPolicy(10**6)
        )

    def close(self) -> None:
        self.live.close()
        self.database.close()

    def vector(self, image: Any) -> Any:
        return self.material.unit(self.vectors[image % len(self.vectors)])

    def add(self, corpus: str, batch: Any) -> None:
        new = [
            NewEntry(
                replace(self.material.image(image), perceptual_hash=hash_of(image)),
                self.vector(image),
                0.0,
                Provenance(
                    generator=generator,
                    label="even" if image % 2 == 0 else None,
                    acquired_at=acquired,
                ),
            )
            for image, generator, acquired in batch
        ]
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, KINDS[corpus])
            results = add_entries(conn, corpus, self.material.space, new)
        for result, (image, generator, acquired) in zip(results, batch, strict=True):
            if result.entry_id not in self.entries:
                assert result.entry_id not in self.ever, "an id was used again"
                normal = {None: None, "sdxl": "sdxl", "FLUX 1": "flux-1"}[generator]
                self.entries[result.entry_id] = Known(corpus, image, normal, acquired)
                self.ever.add(result.entry_id)

    def remove(self, entry_id: int) -> None:
        with self.database.write() as conn:
            if entry_id in self.entries:
                remove_entry(conn, entry_id)
                del self.entries[entry_id]
            else:
                with pytest.raises(UnknownEntry):
                    remove_entry(conn, entry_id)

    def remove_corpus(self, corpus: str) -> None:
        mine = [entry_id for entry_id, known in self.entries.items() if known.corpus == corpus]
        with self.database.write() as conn:
            try:
                assert remove_corpus(conn, corpus) == len(mine)
            except UnknownCorpus:
                assert not mine
        for entry_id in mine:
            del self.entries[entry_id]

    def search(self, probe: Any, k: int, chosen: Any, image: Any, picture: Any) -> None:
        probe = self.material.unit(probe)
        sha256 = None if image is None else self.material.sha256(image)
        hashed = None if picture is None else hash_of(picture)
        result = self.live.search(probe, k, chosen, probe_sha256=sha256, probe_hash=hashed)
        selected = {i: known for i, known in self.entries.items() if known.passes(chosen)}
        similarity = {i: _cosine(probe, self.vector(known.image)) for i, known in selected.items()}
        identical = {i: known.image == image for i, known in selected.items()}
        near = {i: near_duplicate(hashed, hash_of(known.image)) for i, known in selected.items()}
        bits = {
            i: hamming_distance(hashed, hash_of(selected[i].image)) if near[i] is not None else None
            for i in selected
        }
        nearest = sorted(selected, key=lambda i: (not identical[i], -similarity[i], i))[:k]

        def order(i: int) -> Any:
            nearness = 0 if similarity[i] > 0.9999 else bits[i] if near[i] else 257
            return not identical[i], nearness, -similarity[i], i

        same = sorted((i for i in selected if near[i] and i not in nearest), key=order)
        expected = sorted(nearest + same[:k], key=order)
        assert expected[:1] == sorted(selected, key=order)[:1]  # whatever k is
        assert [n.entry.id for n in result.neighbours] == expected
        assert [n.cosine_similarity for n in result.neighbours] == [similarity[i] for i in expected]
        assert [n.identical for n in result.neighbours] == [identical[i] for i in expected]
        assert [n.near_duplicate for n in result.neighbours] == [near[i] for i in expected]
        assert [n.hamming_distance for n in result.neighbours] == [bits[i] for i in expected]
        assert result.searched == len(selected)
        assert result.exact
        self.answered.append((Question(probe, k, chosen, sha256, hashed), result))
        self.near_beside += len(same[:k])

    def run(self, step: Any) -> None:
        match step:
            case ("add", corpus, batch):
                self.add(corpus, batch)
            case ("remove", entry_id):
                self.remove(entry_id)
            case ("remove corpus", corpus):
                self.remove_corpus(corpus)
            case ("search", probe, k, chosen, image, picture):
                self.search(probe, k, chosen, image, picture)
            case ("snapshot",):
                self.live.snapshot()
            case ("reopen",):
                self.live.close()
                self.live = self._open()

    def prove(self) -> None:
        """An incremental, a reopened and a rebuilt index have the same members, those of SQL."""
        verification = self.live.verify()
        assert verification.agrees
        assert verification.count == len(self.entries)
        with LiveIndex.open(
            self.database, self.material.space, self.directory / "elsewhere"
        ) as rebuilt:
            assert rebuilt.verify() == verification
            assert np.array_equal(rebuilt.current.view.member_ids(), sorted(self.entries))
        self.replay()

    def replay(self) -> None:
        """Whatever was added and removed since, each search comes out again as of its
        generation.
        """
        with self.database.read() as conn:
            space_id = find_space_id(conn, self.material.space)
            for question, result in self.answered:
                if space_id is not None:
                    (again,) = search_at(conn, space_id, result.generation, [question])
                    assert again == result


def _cosine(one: Any, two: Any) -> Any:
    a, b = [float(x) for x in one], [float(x) for x in two]
    dot = math.fsum(map(float.__mul__, a, b))
    norms = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return min(1.0, max(-1.0, round(dot / norms, 12)))


def _run(url: str, material: Any, directory: Path, image_vectors: Any, plan: Any) -> None:
    model = Model(url, material, directory, image_vectors)
    try:
        for step in plan:
            model.run(step)
        model.prove()
    finally:
        model.close()


@settings(settings.get_profile("index"), max_examples=24)
@given(image_vectors=st.lists(vectors, min_size=3, max_size=12), plan=steps)
def test_search_equals_brute_force_on_sqlite(
    image_vectors: Any,
    plan: Any,
    new_sqlite_url: Callable[[], str],
    material: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    _run(new_sqlite_url(), material, tmp_path_factory.mktemp("index"), image_vectors, plan)


@pytest.mark.postgres
@settings(settings.get_profile("index"), max_examples=12)
@given(image_vectors=st.lists(vectors, min_size=3, max_size=12), plan=steps)
def test_search_equals_brute_force_on_postgresql(
    image_vectors: Any,
    plan: Any,
    new_postgresql_url: Callable[[], str],
    material: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    _run(new_postgresql_url(), material, tmp_path_factory.mktemp("index"), image_vectors, plan)


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_further_away_come_on_top_of_the_k_nearest(
    seed: int, database_url: str, material: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(seed)
    model = Model(
        database_url, material, tmp_path / "index", random.standard_normal((25, 8)).tolist()
    )
    try:
        for corpus, size in (("fakes", 20), ("more", 8), ("reals", 8), ("fakes", 6)):
            added = random.choice(31, size, replace=False).tolist()
            model.add(corpus, [(image, "sdxl" if image % 2 else None, None) for image in added])
            model.remove(int(random.choice(sorted(model.entries))))
            for _ in range(12):
                chosen = Filter(kind=CorpusKind.KNOWN_FAKE) if random.random() < 0.5 else Filter()
                model.search(
                    random.standard_normal(8),
                    int(random.integers(1, 4)),
                    chosen,
                    None,
                    int(random.integers(31)),
                )
            if size == 8:
                model.live.snapshot()
        model.prove()
        assert model.near_beside > 40
    finally:
        model.close()


@settings(settings.get_profile("index"), max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    base=st.integers(0, 120),
    tail=st.integers(0, 60),
    k=st.integers(1, 200),
    distinct=st.integers(1, 40),
    dead=st.floats(0, 1),
)
def test_ranking_two_parts_equals_sorting_all_similarities(
    seed: int, base: int, tail: int, k: int, distinct: int, dead: Any
) -> None:
    random = np.random.default_rng(seed)
    sources = random.standard_normal((distinct, 16))
    sources = (sources / np.linalg.norm(sources, axis=1, keepdims=True)).astype(np.float32)
    rows = sources[
        random.integers(0, distinct, base + tail)
    ]  # duplicates, so that ties are the rule
    ids = np.sort(random.choice(10_000, base + tail, replace=False)).astype(np.int64)
    live = random.random(base + tail) >= dead
    marks = [Marks(live[:base]), None if live[base:].all() else Marks(live[base:])]
    parts = [
        Part(sealed_of(ids[:base], rows[:base]), marks[0]),
        Part(growing_of(ids[base:], rows[base:]), marks[1]),
    ]
    probe = sources[0]
    ranked = rank(parts, probe, k, first=np.empty(0, np.int64), exact=True).best
    similarities = cosine_similarities(rows, probe)
    expected = sorted((-similarities[i], int(ids[i])) for i in np.flatnonzero(live))[:k]
    assert [(i, s) for i, s in ranked] == [(i, -s) for s, i in expected]


def test_many_equal_vectors_beyond_the_margin_are_ordered_by_id() -> None:
    rows = np.tile(np.eye(16, dtype=np.float32)[0], (500, 1))
    base = sealed_of(np.arange(1, 501), rows)
    ranked = rank([Part(base, None)], rows[0], 10, first=np.empty(0, np.int64), exact=True).best
    assert ranked == [(i, 1.0) for i in range(1, 11)]


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("in_tail", [False, True])
def test_near_ties_that_float32_cannot_tell_apart_are_ordered_by_the_exact_similarity(
    k: int, in_tail: bool
) -> None:
    random = np.random.default_rng(11)
    probe = np.full(64, 0.125, np.float32)
    rows = probe + random.standard_normal((2_000, 64)).astype(np.float32) * 1e-5
    rows /= np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True).astype(np.float32)
    ids = np.arange(1, 2_001)
    segment = growing_of(ids, rows) if in_tail else sealed_of(ids, rows)
    similarities = cosine_similarities(rows, probe)
    expected = sorted(range(2_000), key=lambda i: (-similarities[i], i))[:k]
    ranked = rank([Part(segment, None)], probe, k, first=np.empty(0, np.int64), exact=True).best
    assert ranked == [(i + 1, similarities[i]) for i in expected]


@pytest.mark.parametrize("dimension", [5, 17, 192, 384])
def test_equal_rows_have_equal_similarity_wherever_they_stand(dimension: int) -> None:
    random = np.random.default_rng(7)
    row, probe = random.standard_normal((2, dimension)).astype(np.float32)
    for n in (1, 2, 7, 64, 1000):
        assert len(set(cosine_similarities(np.tile(row, (n, 1)), probe).tolist())) == 1


@pytest.mark.parametrize("dimension", [8, 128, 384])
def test_the_similarity_of_a_vector_with_itself_is_exactly_one(
    dimension: Any, material: Any
) -> None:
    rows = np.array([material.vector(i, dimension) for i in range(50)])
    assert all(cosine_similarities(rows[i : i + 1], rows[i]) == 1.0 for i in range(50))
    assert all(cosine_similarities(-rows[i : i + 1], rows[i]) == -1.0 for i in range(50))


def test_a_probe_that_is_no_embedding_is_refused(live: LiveIndex, material: Any) -> None:
    for probe in (
        np.ones(8),
        np.zeros(8),
        np.full(8, np.nan),
        np.ones(4) / 2,
        [material.vector("a")],
    ):
        with pytest.raises(InvalidVector):
            live.search(probe, 1)


def test_a_question_that_means_nothing_is_refused(live: LiveIndex, material: Any) -> None:
    naive = datetime(2026, 1, 1)
    for k, chosen in [
        (0, Filter()),
        (1, Filter(acquired_from=naive)),
        (1, Filter(acquired_from=DAYS[2], acquired_to=DAYS[1])),
        (1, Filter(labels=frozenset(["a\x00"]))),
    ]:
        with pytest.raises(InvalidFilter):
            live.search(material.vector("a"), k, chosen)


def test_a_filter_on_a_corpus_that_is_not_there_is_an_error_not_an_empty_answer(
    database: Database, live: LiveIndex, material: Any
) -> None:
    """Also while nothing was ever added."""
    chosen = Filter(corpora=frozenset(["fakes", "fakse"]))
    with pytest.raises(UnknownCorpus):
        live.search(material.vector("a"), 1, chosen)
    material.fill(database, "fakes", "abc")
    with pytest.raises(UnknownCorpus, match="fakse"):
        live.search(material.vector("a"), 1, chosen)


def test_an_empty_set_selects_nothing(database: Database, live: LiveIndex, material: Any) -> None:
    material.fill(database, "fakes", "abc", generator="sdxl")
    for chosen in (
        Filter(corpora=frozenset()),
        Filter(generators=frozenset()),
        Filter(labels=frozenset()),
    ):
        result = live.search(material.vector("a"), 3, chosen)
        assert (result.neighbours, result.searched) == ((), 0)


def test_the_identical_image_is_first_even_when_another_vector_is_nearer(
    database: Database, live: LiveIndex, material: Any
) -> None:
    material.fill(database, "fakes", "abc")
    result = live.search(material.vector("a"), 2, probe_sha256=material.sha256("b"))
    assert [(n.entry.sha256, n.identical) for n in result.neighbours] == [
        (material.sha256("b"), True),
        (material.sha256("a"), False),
    ]
    assert f"{result.neighbours[1].cosine_similarity:.3f}" == "1.000"


def test_a_selective_filter_finds_its_few_entries_among_many(
    database: Database, open_live: Callable[..., LiveIndex], material: Any
) -> None:
    material.fill(database, "crowd", range(400))
    rare = material.fill(database, "rare", [f"rare-{i}" for i in range(5)])
    live = open_live()
    live.snapshot()
    probe = material.vector(0)
    result = live.search(probe, 10, Filter(corpora=frozenset(["rare"])))
    assert {n.entry.id for n in result.neighbours} == set(rare)
    assert live.search(probe, 10, Filter(corpora=frozenset(["crowd"]))).searched == 400


def picture_of(material: Any, image: int, bits: int, quality: int = 100) -> Any:
    """An image whose hash differs in some bits from one of zeros only."""
    hashed = PerceptualHash(((1 << bits) - 1).to_bytes(32), quality)
    return replace(material.image(image), perceptual_hash=hashed)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_among_the_same_pictures_the_nearest_is_first_whatever_is_asked_for(
    k: int, database: Database, live: LiveIndex, material: Any
) -> None:
    """In the order of the list: almost the same pixels, then the hash, then the embedding."""
    probe = np.zeros(8)
    probe[0] = 1.0

    def towards(similarity: float, axis: int) -> Any:
        vector = np.zeros(8)
        vector[0], vector[axis] = similarity, math.sqrt(1 - similarity**2)
        return vector.astype(np.float32)

    far = 200  # bits: another picture by its hash
    listed = [
        (0.99995, 28),
        (0.99992, far),
        (0.5, 3),
        (0.9, 12),
        (0.7, 12),
        (0.6, 12),
        (0.99, 28),
        (0.98, far),
    ]
    shuffled = [3, 7, 4, 1, 6, 5, 0, 2]
    new = [
        NewEntry(
            picture_of(material, place, listed[place][1]),
            towards(listed[place][0], 1 + place % 7),
            0.0,
            Provenance(),
        )
        for place in shuffled
    ]
    with database.write() as conn:
        ensure_corpus(conn, "fakes", CorpusKind.KNOWN_FAKE)
        results = add_entries(conn, "fakes", material.space, new)
    places = {result.entry_id: place for result, place in zip(results, shuffled, strict=True)}
    hashed = PerceptualHash(bytes(32), 100)
    found = live.search(material.unit(probe), k, Filter(), probe_hash=hashed)
    order = [places[each.entry.id] for each in found.neighbours]
    assert order[0] == 0
    assert order == sorted(order)
    if k == 5:
        assert order == list(range(8))
