"""An inspection of a corpus: its stored rows, compared with all other known reals and known fakes.

Everything is read in one state of the database, before anything is computed. Vectors pass through a
temporary file that is mapped, so that memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from index.calibration.others import Comparison, compare_both_ways
from index.errors import InspectionTooLarge
from index.proof.hubs import Clusters, Hubs, find_fakes_that_look_real, find_hubs
from index.proof.images import ImageReader, Images
from index.truth.changes import last_number
from index.truth.corpora import CorpusKind, find_corpus_ids, get_corpus
from index.truth.databases.database import Database
from index.truth.schema import corpora, entries
from index.truth.spaces import Space
from index.truth.statements import disable_mmap


@dataclass(frozen=True, slots=True)
class NearEntry:
    """An entry and its cosine similarity to another one."""

    entry_id: int
    cosine_similarity: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An entry whose picture is also in a corpus of the other kind.

    `count` entries there show it; `other_entry_id` is one of them. `identical`: the same bytes,
    otherwise the same picture by perceptual hash.
    """

    entry_id: int
    other_entry_id: int
    identical: bool
    count: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A known fake without synthetic traces by the classifier, and nearer to a known-real image
    than to any known fake.
    """

    entry_id: int
    logit: float
    real: NearEntry
    fake: NearEntry


@dataclass(frozen=True, slots=True)
class Hub:
    """An entry, and the number of pictures whose nearest entry it is."""

    entry_id: int
    count: int


@dataclass(frozen=True, slots=True)
class HubReport:
    """Hubs among the nearest entries of `pictures`, the largest count first.

    `expected` is the mean count of an entry; a hub has at least `limit`.
    """

    pictures: int
    expected: float
    skewness: float
    limit: int
    hubs: tuple[Hub, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a corpus at a generation, and how much it was compared with.

    `clusters` are entry ids. `photographs` are hubs among known reals of other corpora, None where
    there are none. `suspects` is None for a corpus of known reals, and where the model has no limit
    up to which it finds no synthetic traces.
    """

    corpus: str
    kind: CorpusKind
    generation: int
    entries: int
    embedded: int
    hashed: int
    known_reals: int
    known_fakes: int
    contradictions: tuple[Contradiction, ...]
    suspects: tuple[Suspect, ...] | None
    photographs: HubReport | None
    within: HubReport
    clusters: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """A corpus, and the known reals and known fakes of all other corpora."""

    kind: CorpusKind
    generation: int
    entries: int
    own: Images
    reals: Images
    fakes: Images


def inspect_corpus(
    database: Database,
    space: Space,
    corpus: str,
    no_traces_logit: float | None,
    *,
    max_comparisons: int | None = None,
) -> Inspection:
    """Inspect a corpus in one embedding space.

    The classifier finds no synthetic traces when the logit is at most `no_traces_logit`. The time
    grows with the corpus's entries times all known images: 20,000 beside 5,000 took 24 s on two
    busy cores.

    Raises:
        UnknownCorpus, ForeignSpace, DatabaseUnavailable
        InspectionTooLarge: there are more than `max_comparisons` pairs of vectors to compare.
        TruthDamaged: a stored embedding has the wrong length.

    """
    with TemporaryFile() as spool:
        with database.read(unlimited=True) as conn:
            if max_comparisons is not None:
                _require_small(conn, corpus, max_comparisons)
            material = _read(conn, space, corpus, spool)
        return _inspect(corpus, material, no_traces_logit)


def _require_small(conn: Connection, corpus: str, max_comparisons: int) -> None:
    live = select(func.count()).select_from(entries).where(entries.c.removed_at.is_(None))
    comparisons = get_corpus(conn, corpus).entries * int(conn.execute(live).scalar_one())
    if comparisons > max_comparisons:
        raise InspectionTooLarge(corpus, comparisons, max_comparisons)


def _read(conn: Connection, space: Space, corpus: str, spool: IO[bytes]) -> _Material:
    about = get_corpus(conn, corpus)
    (corpus_id,) = find_corpus_ids(conn, frozenset([corpus]))
    elsewhere = (entries.c.corpus_id != corpus_id) & corpora.c.removed_at.is_(None)
    reader = ImageReader(conn, space, spool)
    with disable_mmap(conn):
        own = reader.read(entries.c.corpus_id == corpus_id)
        reals = reader.read(elsewhere & (corpora.c.kind == CorpusKind.KNOWN_REAL.value))
        fakes = reader.read(elsewhere & (corpora.c.kind == CorpusKind.KNOWN_FAKE.value))
    return _Material(about.kind, last_number(conn), about.entries, own, reals, fakes)


def _inspect(corpus: str, material: _Material, no_traces_logit: float | None) -> Inspection:
    own, clusters = material.own, Clusters(len(material.own))
    within = compare_both_ways(own, own, clusters.join)
    to_reals, to_fakes = (
        compare_both_ways(own, material.reals),
        compare_both_ways(own, material.fakes),
    )
    is_of_fakes = material.kind is CorpusKind.KNOWN_FAKE
    other_kind = (material.reals, to_reals) if is_of_fakes else (material.fakes, to_fakes)
    contradictions = _contradictions(own, *other_kind)
    suspects = None
    if is_of_fakes and no_traces_logit is not None:
        suspects = _suspects(material, no_traces_logit, within, to_reals, to_fakes)
        named = {each.entry_id for each in contradictions}
        suspects = tuple(each for each in suspects if each.entry_id not in named)
    of_photographs = _report(
        own, find_hubs(to_reals.back_positions, len(own)), to_reals.back_positions
    )
    return Inspection(
        corpus=corpus,
        kind=material.kind,
        generation=material.generation,
        entries=material.entries,
        embedded=len(own),
        hashed=int(own.hashed.sum()),
        known_reals=len(material.reals),
        known_fakes=len(material.fakes),
        contradictions=contradictions,
        suspects=suspects,
        photographs=of_photographs if len(material.reals) else None,
        within=_report(own, find_hubs(within.positions, len(own)), within.positions),
        clusters=tuple(tuple(own.entry_ids[rows].tolist()) for rows in clusters.members()),
    )


def _contradictions(own: Images, others: Images, found: Comparison) -> tuple[Contradiction, ...]:
    """Return contradictions by entry, identical ones first."""
    rows = np.flatnonzero(found.same_counts)
    rows = rows[np.argsort(~found.identical[rows], kind="stable")]
    return tuple(
        Contradiction(
            entry_id=int(own.entry_ids[row]),
            other_entry_id=int(others.entry_ids[found.first_same[row]]),
            identical=bool(found.identical[row]),
            count=int(found.same_counts[row]),
        )
        for row in rows
    )


def _suspects(
    material: _Material,
    no_traces_logit: float,
    within: Comparison,
    to_reals: Comparison,
    to_fakes: Comparison,
) -> tuple[Suspect, ...]:
    to_fake = np.maximum(within.similarities, to_fakes.similarities)  # (n,)
    rows = find_fakes_that_look_real(
        material.own.logits, no_traces_logit, to_reals.similarities, to_fake
    )
    return tuple(
        Suspect(
            entry_id=int(material.own.entry_ids[row]),
            logit=float(material.own.logits[row]),
            real=_near(material.reals, to_reals, row),
            fake=_near(material.own, within, row)
            if within.similarities[row] >= to_fakes.similarities[row]
            else _near(material.fakes, to_fakes, row),
        )
        for row in rows
    )


def _near(of: Images, found: Comparison, row: np.int64) -> NearEntry:
    similarity = float(np.clip(found.similarities[row], -1.0, 1.0))
    return NearEntry(int(of.entry_ids[found.positions[row]]), similarity)


def _report(own: Images, hubs: Hubs, nearest: NDArray[np.int64]) -> HubReport:
    return HubReport(
        pictures=int((nearest >= 0).sum()),
        expected=hubs.expected,
        skewness=hubs.skewness,
        limit=hubs.limit,
        hubs=tuple(Hub(int(own.entry_ids[row]), int(hubs.counts[row])) for row in hubs.rows),
    )
