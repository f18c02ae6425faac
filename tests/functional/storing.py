"""A process whose threads store look-ups until it is killed. Run by `test_killed_lookups.py`.

Its journal says which look-ups a thread is going to store and which are acknowledged.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from api.storing import LookupStore
from index.truth.databases.database import Database
from index.truth.lookups import NewLookup
from index.truth.spaces import Space
from tests.functional.nursery import die_as_told, nurse_tasks

SPACE = Space("5" * 64, "storing", "6" * 64, "7" * 64, 4)
THREADS = 8


def run(task: dict[str, Any]) -> None:
    """Store from several threads, and die at the n-th passing of the task's failpoint."""
    die_as_told(task)
    journal = os.open(Path(task["journal"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(state: str, row: NewLookup) -> None:
        os.write(journal, f"{state} {row.id}\n".encode())

    def store_some(thread: int) -> None:
        for number in range(task["operations"]):
            row = NewLookup(7, {"thread": thread}, {"number": number, "text": "x" * 10_000})
            say("begun", row)
            store.save([row])
            say("done", row)

    with Database.open(task["url"]) as database, ThreadPoolExecutor(THREADS) as threads:
        store = LookupStore(database, SPACE)
        for each in [threads.submit(store_some, thread) for thread in range(THREADS)]:
            each.result()


if __name__ == "__main__":
    nurse_tasks(run)
