"""Requests that run at the same time use the model within bounds, and do not change each other.

`Admission` counts the requests in work and refuses the next one at once when all places are taken.
`Batcher` embeds single images by forwards of one shape (`Embedder.embed_each`), so that an image
has the same embedding and the same logit to the last bit whatever else is being looked up. Where
that shape has room for several images, those that wait when the model becomes free share a forward.
It never waits for more: a single request is embedded immediately. Several images of one request
have a forward of their own, whose shape depends on that request alone.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from api.errors import Overloaded

if TYPE_CHECKING:
    from embedder.network.embed import Embedder
    from embedder.network.results import Embeddings

Pixels = NDArray[np.uint8]
VectorAndLogit = tuple[NDArray[np.float32], float]


class Admission:
    """A fixed number of places; thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._taken = 0
        self._seconds_per_request = 0.0
        self._full_since: float | None = None
        self._lock = threading.Lock()

    @property
    def seconds_full(self) -> float:
        """For how long no place has been free; 0 while one is."""
        since = self._full_since
        return 0.0 if since is None else max(perf_counter() - since, 1e-9)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place. Raises `Overloaded` at once, without waiting, when none is free."""
        with self._lock:
            if self._taken >= self.capacity:
                raise Overloaded(self.capacity, max(1, math.ceil(self._seconds_per_request)))
            self._taken += 1
            started = perf_counter()
            if self._taken == self.capacity:
                self._full_since = started
        try:
            yield
        finally:
            seconds = perf_counter() - started
            with self._lock:
                self._taken -= 1
                self._full_since = None
                self._seconds_per_request += 0.2 * (
                    seconds - self._seconds_per_request
                )  # a moving average


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    pictures: Sequence[Pixels]  # (h, w, 3)
    answer: Future[list[VectorAndLogit]]


class Batcher:
    """One thread that runs the forwards; `embed` may be called from any number of threads.

    At most `queue_size` requests wait. `embed` raises `Overloaded` at once when there is no place,
    or after `close`.
    """

    def __init__(self, embedder: Embedder, queue_size: int) -> None:
        self.queue_size = queue_size
        self._embedder = embedder
        self._open = True
        self.has_failed = False  # a defect ended the thread
        self._opening = threading.Lock()  # nothing is put behind the end that `close` puts
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(maxsize=queue_size)
        self._thread = threading.Thread(target=self._work, name="lineup-batcher", daemon=True)
        self._thread.start()
        self.forwards = 0

    def embed(self, pixels: Pixels) -> VectorAndLogit:
        """Embed one image ``(h, w, 3)``; block until its forward is done.

        Raises `Overloaded`, and the forward's own errors.
        """
        (embedded,) = self.embed_all([pixels])
        return embedded

    def embed_all(self, pictures: Sequence[Pixels]) -> list[VectorAndLogit]:
        """Embed the images ``(h, w, 3)`` of one request. Raises like `embed`.

        Equal requests have equal results to the last bit.
        """
        if not pictures:
            return []
        waiting = _Waiting(pictures, Future())
        with self._opening:
            if not self._open:
                raise Overloaded(self.queue_size, 1)
            try:
                self._waiting.put_nowait(waiting)
            except queue.Full:
                raise Overloaded(self.queue_size, 1) from None
        return waiting.answer.result()

    def close(self) -> None:
        """Finish what is waiting, then stop."""
        with self._opening:
            self._open = False
        if self._thread.is_alive():
            self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        batch: list[_Waiting] = []
        try:
            self._embedder.spare_cores()  # decoders are at work beside a look-up's forward
            while (first := self._waiting.get()) is not None:
                batch = [first]
                is_last = self._collect(batch)
                self._forward(batch)
                if is_last:
                    return
        finally:
            self._refuse(batch)  # whatever ends this thread, no request waits for it

    def _refuse(self, batch: Sequence[_Waiting]) -> None:
        """Take no more requests, and refuse those that wait, also those of the last batch."""
        with self._opening:
            self.has_failed = self._open
            self._open = False
        for each in batch:
            if not each.answer.done():
                each.answer.set_exception(Overloaded(self.queue_size, 1))
        with suppress(queue.Empty):
            while True:
                if (waiting := self._waiting.get_nowait()) is not None:
                    waiting.answer.set_exception(Overloaded(self.queue_size, 1))

    def _collect(self, batch: list[_Waiting]) -> bool:
        """Add what waits now to a batch, up to one forward. Return whether the end was seen."""
        while len(batch) < self._embedder.lookup_batch_size:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return True
            batch.append(following)
        return False

    def _forward(self, batch: list[_Waiting]) -> None:
        """Embed single images together, and each request of several by itself."""
        singles = [waiting for waiting in batch if len(waiting.pictures) == 1]
        if singles:
            self._answer(singles, self._embedder.embed_each)
        for waiting in batch:
            if len(waiting.pictures) > 1:
                self._answer([waiting], self._embedder.embed_pixels)

    def _answer(self, batch: list[_Waiting], embed: Callable[[Pixels], Embeddings]) -> None:
        try:
            embeddings = embed(np.stack([each for waiting in batch for each in waiting.pictures]))
            each_embedded = [*zip(embeddings.vectors, map(float, embeddings.logits), strict=True)]
        except (
            Exception
        ) as err:  # a boundary: each waiting request gets the reason, and the thread lives on
            for waiting in batch:
                waiting.answer.set_exception(err)
            return
        self.forwards += 1
        embedded = iter(each_embedded)
        for waiting in batch:
            waiting.answer.set_result([*islice(embedded, len(waiting.pictures))])
