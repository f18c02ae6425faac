"""Two processes over one database: whatever one of them commits, the other answers like one that
has just been opened and remembers nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from api.lineup import Lineup
from api.lookups.lookup import answer_all, prepare_request
from api.lookups.request import LookupRequest, SearchFilter
from index.errors import CorpusError
from index.truth.adding import NewEntry, add_entries
from index.truth.calibrations import add_delivered
from index.truth.computations import Computation, PrecisionCheck
from index.truth.corpora import Keep, create_corpus, set_keep
from index.truth.entries import remove_entry
from index.truth.images import ImageFacts
from index.truth.jobs.job import JobKind, list_jobs
from index.truth.perceptual import PerceptualHash
from index.truth.provenance import Provenance
from index.truth.quarantine import quarantine_entry, release_entry
from index.truth.removal import begin_removal, continue_removal
from index.truth.schema import entries, images
from tests.api.small_lineup import FAKE, REAL, calibrate, open_small

CORPORA = {"fakes": FAKE, "photographs": REAL, "second": FAKE, "third": FAKE, "others": REAL}
IMAGES = 12


class Actions:
    """What processes do, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def act(self, lineup: Lineup) -> str:
        chosen: Callable[[Lineup], object] = self.chance.choice(
            [
                self.adds,
                self.adds,
                self.adds,
                self.removes,
                self.creates_a_corpus,
                self.removes_a_corpus,
                self.goes_on_removing,
                self.keeps,
                self.quarantines,
                self.releases,
                self.calibrates,
                self.checks_a_precision,
            ]
        )
        try:
            chosen(lineup)
        except CorpusError as err:
            return f"{chosen.__name__}: {type(err).__name__}"
        return chosen.__name__

    def adds(self, lineup: Lineup) -> None:
        """Adds an image; some of its facts may be known only the second time."""
        number = self.chance.randrange(IMAGES)
        sha256 = f"{number:064x}"
        facts = ImageFacts(sha256, 10, 64, 64, "png", seen=self.chance.random() < 0.5)
        if self.chance.random() < 0.5:
            bits = ((1 << 3 * number) - 1).to_bytes(32)
            facts = replace(facts, perceptual_hash=PerceptualHash(bits, 90))
        if self.chance.random() < 0.3:
            facts = replace(facts, byte_size=None, width=None, height=None, format=None)
        name = self.chance.choice([*CORPORA])
        vector = np.random.default_rng(number).standard_normal(12)
        computation = self.chance.choice([None, Computation("cuda", "tf32"), lineup.computation])
        new = NewEntry(
            facts,
            (vector / np.linalg.norm(vector)).astype(np.float32),
            0.25,
            Provenance(generator=self.chance.choice([None, "flux", "sdxl"])),
            computation,
        )
        with lineup.database.write() as conn:
            add_entries(conn, name, lineup.space, [new])

    def removes(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            remove_entry(conn, self._choose_entry(conn))

    def quarantines(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            quarantine_entry(conn, self._choose_entry(conn), "doubtful")

    def releases(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            held = select(entries.c.id).where(entries.c.removal_reason.is_not(None))
            for entry_id in conn.execute(held.limit(1)).scalars().all():
                release_entry(conn, entry_id)

    def creates_a_corpus(self, lineup: Lineup) -> None:
        name = self.chance.choice([*CORPORA])
        with lineup.database.write() as conn:
            create_corpus(conn, name, CORPORA[name])

    def removes_a_corpus(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            begin_removal(conn, self.chance.choice([*CORPORA]), lineup.space, limit=1)

    def goes_on_removing(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            for job in list_jobs(conn):
                if job.kind is JobKind.REMOVE:
                    continue_removal(conn, job, limit=1)

    def keeps(self, lineup: Lineup) -> None:
        with lineup.database.write() as conn:
            set_keep(conn, self.chance.choice([*CORPORA]), self.chance.choice([*Keep]))

    def calibrates(self, lineup: Lineup) -> None:
        fakes = [name for name, kind in CORPORA.items() if kind is FAKE]
        calibrate(lineup, *self.chance.sample(fakes, self.chance.choice([1, 2, 3])))

    def checks_a_precision(self, lineup: Lineup) -> None:
        check = PrecisionCheck(27, 0.99999, self.chance.choice([0.01, 0.02]))
        vector = np.eye(12, dtype=np.float32)[3]
        with lineup.database.write() as conn:
            for image_id in conn.execute(select(images.c.id).limit(1)).scalars().all():
                delivered = [(image_id, "jpeg", vector, 0.0)]
                add_delivered(conn, lineup.space, delivered, Computation("cuda", "tf32", check))

    def _choose_entry(self, conn: Any) -> int:
        live = conn.execute(select(entries.c.id).where(entries.c.removed_at.is_(None))).scalars()
        return int(self.chance.choice([*live, 10**6]))


def list_requests(lineup: Lineup) -> list[LookupRequest]:
    embedding = {
        "embedding": [1.0] + [0.0] * 11,
        "embedding_space": lineup.space.fingerprint,
        "logit": 0.5,
        "k": 20,
    }
    hashed = {"pdq_hash": "00" * 32, "pdq_quality": 90}
    filters = [
        *(SearchFilter(corpora=[name]) for name in CORPORA),
        SearchFilter(kind=FAKE),
        SearchFilter(generators=["flux"]),
    ]
    return [
        LookupRequest(**embedding),
        LookupRequest(**embedding, **hashed),
        LookupRequest(**hashed),
        LookupRequest(sha256=f"{3:064x}", k=20),
        *(LookupRequest(**embedding, filter=each) for each in filters),
    ]


def answer(lineup: Lineup, request: LookupRequest) -> str:
    """Return what a look-up finds, or its error. It is not stored, which would take a commit."""
    try:
        (found,) = answer_all(lineup, [prepare_request(lineup, request)])
    except CorpusError as err:
        return repr(err)
    shown = found.answer.model_dump(mode="json", exclude={"id", "created_at", "timings"})
    return json.dumps(shown, sort_keys=True)


Start = Callable[[str], Lineup]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a process over the database, with an index in a folder of its own."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(
            open_small(tmp_path / name, database_url=database_url)
        )


def follow(lineup: Lineup) -> None:
    """Do what the thread of a server does."""
    lineup.index.follow(1000)
    lineup.index.read_late_hashes()


def compare_with_new_processes(start: Start, seed: int, steps: int) -> None:
    actions, own, other = Actions(seed), start("own"), start("other")
    requests, done = list_requests(own), list[str]()
    for name in ("fakes", "photographs"):
        with own.database.write() as conn:
            create_corpus(conn, name, CORPORA[name])
    for step in range(steps):
        acting, asked = actions.chance.sample([own, other], 2)
        for request in requests:
            answer(asked, request)  # whatever it remembers is of before
        done.append(actions.act(acting))
        for each in (own, other):
            follow(each)
        fresh = start(f"fresh-{step}")
        for request in requests:
            expected = answer(fresh, request)
            assert answer(asked, request) == expected, (done, request)
            assert answer(acting, request) == expected, (done, request)


def test_the_other_process_answers_like_one_that_has_just_been_opened(start: Start) -> None:
    compare_with_new_processes(start, seed=3, steps=6)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20))
def test_that_it_does_whatever_was_committed(start: Start, seed: int) -> None:
    compare_with_new_processes(start, seed, steps=40)
