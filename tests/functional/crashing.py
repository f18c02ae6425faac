"""A process that changes corpora and their index at random until it is killed. Run by
`test_crash.py`.

A child of the nursery says in a journal, synced line by line, what it is going to do and what it
has done; after a kill the last thing begun may have happened or not, everything before it has.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

from index.cache.following.folding import FoldPolicy
from index.cache.live import LiveIndex
from index.cache.plans.config import IndexConfig
from index.errors import UnknownCorpus
from index.truth.adding import NewEntry, add_entries
from index.truth.corpora import CorpusKind, ensure_corpus, remove_corpus
from index.truth.databases.database import Database
from index.truth.entries import list_entries, remove_entry
from index.truth.images import ImageFacts
from index.truth.spaces import Space
from tests.functional.nursery import die_as_told, nurse_tasks

DIMENSION = 16
IMAGES = 400
SPACE = Space("5" * 64, "crashing", "6" * 64, "7" * 64, DIMENSION)
CONFIG = IndexConfig(flat_limit=50, exact_allowance=0, recall_probes=16, recall_target=0.9)
POLICY = FoldPolicy(10, 0.05)
LIVE_ENOUGH = 150  # beyond it, removing becomes likelier than adding


def vector(image: int) -> Any:
    """The embedding of an image; no two are alike."""
    wide = np.random.default_rng(image).standard_normal(DIMENSION)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def facts(image: int) -> ImageFacts:
    return ImageFacts(f"{image:064x}", 1000, 64, 48, "png")


def open_index(database: Database, directory: Path, **options: Any) -> LiveIndex:
    return LiveIndex.open(database, SPACE, directory, policy=POLICY, config=CONFIG, **options)


class Journal:
    """What a child is going to do and has done, in order. Survives the child."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def say(self, state: str, operation: list[Any]) -> None:
        self._file.write(json.dumps([state, operation]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


class Child:
    """One process at work on corpora of its own, in a database and an index that it shares with
    others.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.random = random.Random(task["seed"])
        self.writer = task["writer"]
        self.directory = Path(task["directory"])
        self.journal = Journal(Path(task["journal"]))
        self.database = Database.open(task["url"])
        self.live = open_index(self.database, self.directory, background=task["background"])

    def work(self, operations: int) -> None:
        for _ in range(operations):
            self.step()
        self.live.close()
        self.database.close()

    def step(self) -> None:
        adding = 6 if self.live.count < LIVE_ENOUGH else 2
        choices = {
            self.add: adding,
            self.remove: 3,
            self.remove_all: 1,
            self.look: 3,
            self.live.snapshot: 1,
            self.live.compact: 1,
            self.live.settle: 2,
            self.live.rebuild: 1,
            self.reopen: 1,
        }
        (chosen,) = self.random.choices(list(choices), list(choices.values()))
        chosen()

    def corpus(self) -> str:
        return f"w{self.writer}-{self.random.randrange(3)}"

    def add(self) -> None:
        corpus = self.corpus()
        batch = sorted(
            {self.random.randrange(IMAGES) for _ in range(self.random.choice([1, 3, 12, 30]))}
        )
        self.journal.say("begun", ["add", corpus, batch])
        with self.database.write() as conn:
            ensure_corpus(conn, corpus, CorpusKind.KNOWN_FAKE)
            add_entries(
                conn, corpus, SPACE, [NewEntry(facts(image), vector(image), 0.0) for image in batch]
            )
        self.journal.say("done", ["add", corpus, batch])

    def remove(self) -> None:
        corpus = self.corpus()
        try:
            with self.database.read() as conn:
                found = list_entries(conn, corpus, limit=1000)
        except UnknownCorpus:
            return
        if found:
            entry = self.random.choice(found)
            operation = ["remove", corpus, int(entry.sha256, 16)]
            self.journal.say("begun", operation)
            with self.database.write() as conn:
                remove_entry(conn, entry.id)
            self.journal.say("done", operation)

    def remove_all(self) -> None:
        corpus = self.corpus()
        self.journal.say("begun", ["remove all", corpus])
        try:
            with self.database.write() as conn:
                remove_corpus(conn, corpus)
        except UnknownCorpus:
            pass
        self.journal.say("done", ["remove all", corpus])

    def look(self) -> None:
        image = self.random.randrange(IMAGES)
        found = self.live.search(vector(image), self.random.choice([1, 10, 200]))
        similarities = [neighbour.cosine_similarity for neighbour in found.neighbours]
        assert similarities == sorted(similarities, reverse=True)

    def reopen(self) -> None:
        self.live.close()
        self.live = open_index(self.database, self.directory)


def run(task: dict[str, Any]) -> None:
    """Work, and die at the n-th passing of a failpoint if the task names one."""
    die_as_told(task)
    Child(task).work(task["operations"])


if __name__ == "__main__":
    nurse_tasks(run)
