"""What was read from SQL, remembered while the database stays in the same state.

Owns no statement: who reads something names the state that it was read in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

# Each is what one kind of look-up reads, such as one per combination of corpora: some KB. A
# server's look-ups have two or three.
MOST = 256


class Remembered:
    """Values by key, all of one state of the database. Thread-safe.

    A state is whatever equals itself exactly while the values do not change. Values are shared by
    the threads that ask for them, so they are immutable.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: Hashable = None
        self._values: dict[Hashable, Any] = {}

    def find(self, state: Hashable, key: Hashable, kind: type[T]) -> T | None:
        """Return the value of a key in a state, None if none of this kind is remembered."""
        with self._lock:
            value = self._values.get(key) if state == self._state else None
        return value if isinstance(value, kind) else None

    def get(self, state: Hashable, key: Hashable, read: Callable[[], T]) -> T:
        """Return the value of a key in a state. `read` reads it, if it is not remembered."""
        with self._lock:
            if state == self._state and key in self._values:
                remembered: T = self._values[key]
                return remembered
        value = read()
        with self._lock:
            if state != self._state:
                self._state, self._values = state, {}
            self._values[key] = value
            while len(self._values) > MOST:
                del self._values[next(iter(self._values))]
        return value
