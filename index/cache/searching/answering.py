"""Answering: several questions from one view, in one pass.

Each step is done for all questions together: one selection for each different filter, one ranking
for all probes that want the same, one statement for the images with the probes' bytes, for the
entries of near images, and for what the answers show of entries. Nothing of it is asked of SQL
where every question wants the nearest members only, and their rows are in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from index.cache.searching.corpus_ids import CorpusIds
from index.cache.searching.entry_rows import EntryRows
from index.cache.searching.pictures import NOTHING_NEAR, NearImages, PictureHashes
from index.cache.searching.questions import (
    Neighbour,
    Question,
    SearchResult,
    neighbour_order,
    neighbours_of,
    order_of,
)
from index.cache.searching.ranking import measure, rank_many
from index.cache.searching.selection import select_members, select_parts
from index.cache.segments.view import Part, View
from index.truth.changes import Head
from index.truth.digest import digest_hex
from index.truth.entries import (
    Entry,
    find_entries,
    find_live_ids,
    find_live_ids_by_sha256,
)
from index.truth.filters import Filter
from index.view_hashes import Views

# If the nearest entries were removed by changes that the view does not know yet, the next ones are
# requested, up to this many times.
REMOVAL_ROUNDS = 4
# Entries that a search proposes by hash as edited copies. Geometry looks at 20 at most.
MAX_CANDIDATES = 32
# Images whose entries are read at a time, until there are enough candidates.
IMAGES_AT_ONCE = 64

NO_IDS = np.empty(0, np.int64)
NO_VIEWS = Views(None, ())
_NO_ENTRIES: frozenset[int] = frozenset()
# An entry id and its cosine similarity, None if the probe has no embedding.
Found = tuple[int, float | None]
# The checked probe (d,) of each question, None without an embedding.
Probes = Sequence[NDArray[np.float32] | None]


class TooFarBehind(Exception):
    """Too many entries near the probe were removed since the view. Ask a newer view."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What is held in memory of SQL, and asked of it only when the head of the log has moved."""

    rows: EntryRows = field(default_factory=EntryRows)
    corpora: CorpusIds = field(default_factory=CorpusIds)


@dataclass(slots=True, eq=False)
class Search:
    """A question, its checked probe (d,), the members that it selects, and what was found so far.

    `views` are those of the probe, `identical` entries with its bytes, `near` images that show the
    same picture or may do so. `listed` are the entries that the answer ranks, `proposed` those that
    it proposes as edited copies.
    """

    question: Question
    probe: NDArray[np.float32] | None
    parts: Sequence[Part]
    views: Views = field(default_factory=lambda: NO_VIEWS)
    identical: NDArray[np.int64] = field(default_factory=lambda: NO_IDS)
    near: NearImages = NOTHING_NEAR
    exact: bool = True
    listed: list[Found] = field(default_factory=list)
    proposed: list[Found] = field(default_factory=list)

    @property
    def entry_ids(self) -> list[int]:
        """The entries that the answer shows."""
        return [entry_id for some in (self.listed, self.proposed) for entry_id, _ in some]


def list_sha256s(questions: Sequence[Question]) -> set[str]:
    """Return the digests of the images of which questions have one."""
    return {each.probe_sha256 for each in questions if each.probe_sha256 is not None}


def find_views(questions: Sequence[Question]) -> list[Views]:
    """Return the views of the probe of each question: one object for one probe, because those of a
    look-up ask about the same.
    """
    found: dict[tuple[int, int], Views] = {}
    for each in questions:
        key = id(each.probe_hash), id(each.views)
        if key not in found:
            has_any = each.probe_hash is not None or each.views
            found[key] = Views(each.probe_hash, each.views) if has_any else NO_VIEWS
    return [found[id(each.probe_hash), id(each.views)] for each in questions]


def rank_nearest(
    view: View,
    head: Head,
    questions: Sequence[Question],
    probes: Probes,
    views: Sequence[Views],
    pictures: PictureHashes,
    held: Held,
) -> list[Search] | None:
    """Rank the members of a view, which is at this head, for questions that ask for nothing but the
    nearest, and whose bytes no live entry has. Return None if something has to be asked of SQL.
    """
    if head.is_emptying or not all(each.asks_nearest_only for each in questions):
        return None
    parts_of: dict[Filter, Sequence[Part]] = {}
    for chosen in _list_filters(questions):
        corpora = held.corpora.held(chosen, head)
        if corpora is None:
            return None
        parts_of[chosen] = select_members(view.parts, chosen, corpora)
    if pictures.is_near(views, view.generation) is not False:
        return None
    searches = [
        Search(question, probe, parts, own)
        for question, probe, parts, own in zip(
            questions, probes, _find_parts(questions, parts_of), views, strict=True
        )
    ]
    _rank(searches)
    return searches


def answer_questions(
    conn: Connection,
    head: Head,
    view: View,
    space_id: int | None,
    questions: Sequence[Question],
    probes: Probes,
    views: Sequence[Views],
    pictures: PictureHashes,
    held: Held,
) -> tuple[SearchResult, ...]:
    """Answer questions from a view, with a transaction that sees this head of the log. It may be
    some changes ahead of the view. `probes` are checked, and `views` are those of `find_views`.

    Raises:
        InvalidFilter, UnknownCorpus, TooFarBehind

    """
    pending = head.last - view.generation
    searches = _begin(conn, head, view, space_id, questions, probes, views, pictures, held.corpora)
    images = _EntriesOfImages(conn)
    images.read([i for search in searches for i in search.near.ids[:IMAGES_AT_ONCE].tolist()])
    entries: dict[int, Entry] = {}
    undecided: Sequence[Search] = searches
    for _ in range(REMOVAL_ROUNDS):
        _rank(undecided)
        for search in undecided:
            search.listed += _find_same_pictures(search, images)
            search.proposed = _propose(search, images)
        wanted = dict.fromkeys(i for search in undecided for i in search.entry_ids)
        if pending:  # a removal takes effect at its commit, even before the view knows it
            entries |= find_entries(conn, [*wanted])
        else:
            entries |= held.rows.find(conn, wanted, head.amendments)
        undecided = [each for each in undecided if any(i not in entries for i in each.entry_ids)]
        if not undecided:
            return write_results(searches, entries, view, pending)
        for search in undecided:
            removed = np.array([i for i in search.entry_ids if i not in entries], np.int64)
            search.parts = [part.without(part.segment.find(removed)) for part in search.parts]
    raise TooFarBehind


def write_results(
    searches: Sequence[Search], entries: Mapping[int, Entry], view: View, pending: int = 0
) -> tuple[SearchResult, ...]:
    """Return the answers to searches of a view. `entries` has all that they show."""
    digest, tuned = digest_hex(view.digest), view.sealed.tuned
    return tuple(
        [
            SearchResult(
                neighbours=_neighbours(search, search.listed, entries, in_order=False),
                generation=view.generation,
                digest=digest,
                exact=search.exact,
                searched=sum([part.count for part in search.parts]),
                tuning=None if search.exact or tuned is None else tuned.tuning,
                pending_changes=pending,
                candidates=_neighbours(search, search.proposed, entries, in_order=True),
            )
            for search in searches
        ]
    )


def _begin(
    conn: Connection,
    head: Head,
    view: View,
    space_id: int | None,
    questions: Sequence[Question],
    probes: Probes,
    views: Sequence[Views],
    pictures: PictureHashes,
    corpora: CorpusIds,
) -> list[Search]:
    """Return a search for each question, with what SQL and the hashes say about its image."""
    parts_of = {
        chosen: select_parts(
            conn,
            space_id or 0,  # nothing was ever added to the space, and no row has this id
            view.parts,
            chosen,
            corpora.find(conn, chosen, head),
            is_emptying=head.is_emptying,
        )
        for chosen in _list_filters(questions)
    }
    identical = find_live_ids_by_sha256(conn, list_sha256s(questions))
    near = pictures.find_many(conn, views, view.generation)
    return [
        Search(
            question,
            probes[number],
            parts,
            views[number],
            np.array(identical.get(question.probe_sha256 or "", ()), np.int64),
            near[number],
        )
        for number, (question, parts) in enumerate(
            zip(questions, _find_parts(questions, parts_of), strict=True)
        )
    ]


def _list_filters(questions: Sequence[Question]) -> dict[Filter, None]:
    """Return each different filter once. Most questions share the object."""
    return dict.fromkeys({id(each.chosen): each.chosen for each in questions}.values())


def _find_parts(
    questions: Sequence[Question], parts_of: Mapping[Filter, Sequence[Part]]
) -> list[Sequence[Part]]:
    """Return what each question selects: one object for equal filters. Hashing a filter takes
    longer than all else that is done for a question here.
    """
    known: dict[int, Sequence[Part]] = {}
    for each in questions:
        if id(each.chosen) not in known:
            known[id(each.chosen)] = parts_of[each.chosen]
    return [known[id(each.chosen)] for each in questions]


def _rank(searches: Sequence[Search]) -> None:
    """List the k nearest members of each search: one ranking for all that select the same."""
    groups: dict[tuple[int, int, bool], list[Search]] = {}
    for search in searches:
        question = search.question
        if search.probe is None:
            search.listed, search.exact = _list_identical(search), True
        else:
            # Searches of one filter share the object of their parts.
            alike = (id(search.parts), question.k, question.exact)
            groups.setdefault(alike, []).append(search)
    for (_, k, exact), group in groups.items():
        rankings = rank_many(
            group[0].parts,
            np.array([search.probe for search in group], np.float32),  # (p, d)
            k,
            [search.identical for search in group],
            exact=exact,
        )
        for search, ranking in zip(group, rankings, strict=True):
            search.listed, search.exact = ranking.best, ranking.exact


def _list_identical(search: Search) -> list[Found]:
    """Return the first k members with the probe's bytes. It has no embedding to be compared."""
    found = sorted(_members_among(search, search.identical.tolist()))
    return [(entry_id, None) for entry_id in found[: search.question.k]]


def _find_same_pictures(search: Search, images: _EntriesOfImages) -> list[Found]:
    """Return the first k near duplicates that are members and not listed already."""
    near = search.near.same
    if not len(near.ids):
        return []
    bits = {
        entry_id: distance
        for image_id, distance in zip(near.ids.tolist(), near.bits.tolist(), strict=True)
        for entry_id in images.find(image_id)
    }
    listed, same = {i for i, _ in search.listed}, frozenset(search.identical.tolist())
    members = _members_among(search, [i for i in bits if i not in listed])
    return sorted(
        members.items(), key=lambda each: order_of(each[0] in same, bits[each[0]], each[1], each[0])
    )[: search.question.k]


def _propose(search: Search, images: _EntriesOfImages) -> list[Found]:
    """Return the candidates that are not listed already; see `SearchResult`."""
    listed = {entry_id for entry_id, _ in search.listed}
    proposed: dict[int, float | None] = {}
    further = search.near.further.ids.tolist()
    for start in range(0, len(further), IMAGES_AT_ONCE):
        some = further[start : start + IMAGES_AT_ONCE]
        images.read(some)
        found = [entry_id for image_id in some for entry_id in images.find(image_id)]
        members = _members_among(search, found)
        proposed |= {i: members[i] for i in found if i in members and i not in listed}
        if len(proposed) >= MAX_CANDIDATES:
            break
    first = [*proposed.items()][:MAX_CANDIDATES]
    ids = [entry_id for entry_id, _ in search.question.candidates]
    members = _members_among(search, ids)
    taken = listed.union(entry_id for entry_id, _ in first)
    return first + [(i, members[i]) for i in ids if i in members and i not in taken]


def _members_among(search: Search, entry_ids: Sequence[int]) -> dict[int, float | None]:
    """Return the similarities of those of these entries that the search selects."""
    found: dict[int, float | None] = {}
    wanted, probe = np.array(entry_ids, np.int64), search.probe
    for part in search.parts if len(wanted) else ():
        positions = part.members_among(part.segment.find(wanted))
        ids = part.segment.ids[positions].tolist()
        if probe is None:
            found |= dict.fromkeys(ids)
        else:
            found |= zip(ids, measure(part, positions, probe).tolist(), strict=True)
    return found


def _neighbours(
    search: Search, some: Sequence[Found], entries: Mapping[int, Entry], *, in_order: bool
) -> tuple[Neighbour, ...]:
    """Return some entries as neighbours, in the order of an answer unless they are in order."""
    if not some:
        return ()
    question = search.question
    same = frozenset(search.identical.tolist()) if len(search.identical) else _NO_ENTRIES
    if question.probe_hash is None and not len(search.views) and not question.candidates:
        # No pictures are compared, so a ranking has the order of an answer already.
        return tuple([Neighbour(entries[i], nearness, i in same) for i, nearness in some])
    shown = [(entries[i], nearness, i in same) for i, nearness in some]
    found = neighbours_of(shown, question, search.views)
    return tuple(found if in_order else sorted(found, key=neighbour_order))


class _EntriesOfImages:
    """The live entries of images, by image: read for many questions at a time."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._found: dict[int, list[int]] = {}

    def read(self, image_ids: Sequence[int]) -> None:
        missing = {image_id for image_id in image_ids if image_id not in self._found}
        self._found |= find_live_ids(self._conn, missing)

    def find(self, image_id: int) -> list[int]:
        """Return the entries of an image, by rising id."""
        if image_id not in self._found:
            self.read([image_id])
        return self._found[image_id]
