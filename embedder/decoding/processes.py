"""Decoding in confined worker processes: who is next, how much memory, and what a crash means.

One thread of this process for each worker starts it, asks it and ends it. Threads and workers are
started when pictures wait, and end when none came for a while; the last worker stays. A picture
waits until a worker is free and the budget has the memory that it needs. Urgent pictures come
first; apart from that the first comes first, so that large pictures are not passed by for ever.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass

from embedder.decoding.budget import Need, choose_budget, estimate_need
from embedder.decoding.confinement import LAYERS, UNKNOWN, Confinement, Layer
from embedder.decoding.picture import Picture, PictureOrder
from embedder.decoding.process import (
    START_SECONDS,
    DecodingProcess,
    MemoryExceededError,
    UnusableConfinementError,
    WorkerEndedError,
    WorkerOptions,
)
from embedder.decoding.wanted import Wanted
from embedder.errors import (
    DecoderCrashed,
    DecodersUnavailable,
    DecodingTimedOut,
    EmbedderError,
    ImageTooLarge,
    NeedsTooMuchMemory,
)
from embedder.pictures.limits import DEFAULT_LIMITS

log = logging.getLogger(__name__)

DECODER = "embedder.decoding.picture:make_pictures"
DEFAULT_TIMEOUT_SECONDS = 60.0
# A worker starts in 0.3 s, so that this costs 0.3 ms a picture; what a library leaks, and whoever
# may have taken a worker over unseen, goes with it.
MAX_PICTURES = 1_000
# A worker that holds so much more than at its start is replaced: glibc keeps less after a picture
# that was decoded without trouble.
_GROWN_BYTES = 48 * 2**20
_IDLE_SECONDS = 60.0  # after which a worker ends, unless it is the last
_CLOSE_SECONDS = 10.0
# A block for a smaller limit of files has room for the parts of an answer too: the re-encodings of
# a picture for a model that reads 1,024 pixels are 40 MiB.
_LEAST_BLOCK_BYTES = 128 * 2**20
# What is tried where decoding does not work under all layers: a libc may need other system calls.
_FEWER_LAYERS: tuple[tuple[Layer, ...], ...] = (
    LAYERS,
    tuple(each for each in LAYERS if each is not Layer.SECCOMP),
    (Layer.LIMITS,),
    (),
)


@dataclass(slots=True, eq=False)
class _Item:
    wanted: Wanted
    need: Need
    reserved: int  # bytes of the budget
    crashes: int = 0


class ProcessDecoders:
    """Makes pictures in confined processes. Implements `Decoders`.

    `count` is how many workers there are at most, `budget_bytes` what all pictures may take at
    once. `decoder` names the function that the workers run, for tests of what a decoder may do.

    A picture is only blamed for a crash that happens in a worker that has made no other: the one
    before may have left the crash behind.
    """

    def __init__(
        self,
        count: int,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        budget_bytes: int | None = None,
        max_image_bytes: int = DEFAULT_LIMITS.max_image_bytes,
        decoder: str = DECODER,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        if count < 1:
            raise ValueError("count must be at least 1")
        self.count = count
        self.budget_bytes = choose_budget() if budget_bytes is None else budget_bytes
        self._idle_seconds = idle_seconds
        self._options = WorkerOptions(
            decoder=decoder,
            timeout_seconds=timeout_seconds,
            max_bytes=self.budget_bytes,
            max_block_bytes=max(max_image_bytes, _LEAST_BLOCK_BYTES),
        )
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        """Begin without threads and workers. In a forked child, they are its parent's."""
        self._changed = threading.Condition()
        self._retried: deque[_Item] = deque()
        self._urgent: deque[_Item] = deque()
        self._waiting: deque[_Item] = deque()
        self._free_bytes = self.budget_bytes
        self._threads = 0
        self._busy = 0  # threads that have an item
        self._starting: set[DecodingProcess] = set()
        self._workers: set[DecodingProcess] = set()
        self._layers = _FEWER_LAYERS
        self._confinement: Confinement | None = None
        self._failure: DecodersUnavailable | None = None
        self._closed = False

    @property
    def confinement(self) -> Confinement:
        """How far the workers are confined, as the first of them found out.

        Starts one where none was, or where none could be started lately. Raises
        DecodersUnavailable.
        """
        with self._changed:
            if self._confinement is not None and (self._workers or self._failure is None):
                return self._confinement
            if not self._closed and not self._threads:
                self._failure = None
                self._start_thread()
            self._changed.wait_for(
                lambda: self._workers or self._failure or self._closed, START_SECONDS
            )
            if self._failure is not None and not self._workers:
                raise self._failure.with_traceback(None)
            return self._confinement or UNKNOWN

    def prepare(self) -> None:
        """Start a worker where there is none; see `Decoders`.

        Where none can be started, the first picture says so.
        """
        with self._changed:
            if not self._closed and not self._threads:
                with suppress(DecodersUnavailable):
                    self._start_thread()

    def find_workers(self) -> list[int]:
        """Return the process numbers of the workers that run."""
        with self._changed:
            return [each.pid for each in self._workers]

    def submit(self, data: bytes, order: PictureOrder, *, urgent: bool = False) -> Future[Picture]:
        """Make a picture in a worker; see `Decoders`."""
        (future,) = self.submit_all(data, (order,), urgent=urgent)
        return future

    def submit_all(
        self, data: bytes, orders: Sequence[PictureOrder], *, urgent: bool = False
    ) -> list[Future[Picture]]:
        """Make the pictures of a file in a worker; see `Decoders`."""
        wanted = Wanted(data, orders)
        most_bytes = orders[0].limits.max_image_bytes
        if len(data) > most_bytes:
            return _fail(wanted, ImageTooLarge("bytes", len(data), most_bytes))
        need = estimate_need(data, *orders)
        if need.is_declared and need.expected > self.budget_bytes:
            return _fail(wanted, NeedsTooMuchMemory(self.budget_bytes, need.expected))
        item = _Item(wanted, need, min(need.expected, self.budget_bytes))
        with self._changed:
            if self._closed:
                raise RuntimeError("these decoders are closed")
            waiting = 1 + len(self._retried) + len(self._urgent) + len(self._waiting)
            if waiting > self._threads - self._busy and self._threads < self.count:
                try:
                    self._start_thread()
                except DecodersUnavailable as err:
                    return _fail(wanted, err)
            (self._urgent if urgent else self._waiting).append(item)
            self._changed.notify()
        return wanted.futures

    def close(self) -> None:
        """Cancel what waits, end the workers, and cancel what they were making."""
        with self._changed:
            self._closed = True
            waiting = self._take_all()
            for worker in self._starting | self._workers:
                worker.kill()
            self._changed.notify_all()
        for item in waiting:
            if item.wanted.has_begun:
                item.wanted.fail(CancelledError())
            else:
                item.wanted.cancel()
        with self._changed:
            self._changed.wait_for(
                lambda: not self._threads and not self._workers, timeout=_CLOSE_SECONDS
            )

    def _start_thread(self) -> None:
        """Start one more thread. Raises DecodersUnavailable where there is none at all."""
        try:
            threading.Thread(target=self._work, name="decode", daemon=True).start()
        except RuntimeError as err:  # the system has no thread left
            if not self._threads:
                raise DecodersUnavailable(f"no thread can be started: {err}") from err
        else:
            self._threads += 1

    def _work(self) -> None:
        worker = None
        try:
            worker = self._restart(None)
            while (item := self._take(worker)) is not None:
                try:
                    worker = self._serve(item, worker)
                finally:
                    del item  # it holds the file while this thread rests
                    with self._changed:
                        self._busy -= 1
        except Exception as err:  # a defect: another thread can take the place of this one
            log.exception("a thread that has images decoded ends")
            self._give_up(DecodersUnavailable(f"a defect of Lineup: {type(err).__name__}"))
        self._end(worker)

    def _give_up(self, failure: DecodersUnavailable) -> None:
        """End this thread. Where it was the last, what waits fails: nobody would make it."""
        with self._changed:
            self._threads -= 1
            self._failure = failure
            waiting = [] if self._threads else self._take_all()
            self._changed.notify_all()
        for item in waiting:
            item.wanted.begin()
            item.wanted.fail(failure)

    def _take_all(self) -> list[_Item]:
        """Take everything that waits."""
        waiting = [*self._retried, *self._urgent, *self._waiting]
        for queue in (self._retried, self._urgent, self._waiting):
            queue.clear()
        return waiting

    def _take(self, worker: DecodingProcess | None) -> _Item | None:
        """Wait for the next item, and reserve its memory. None: this thread ends.

        It ends where nothing came for a while, unless it is the last, and where it has no worker.
        """
        until = time.monotonic() + self._idle_seconds
        with self._changed:
            while not self._closed:
                item = self._find_next()
                if item is not None:
                    self._busy += 1
                    return item
                left = until - time.monotonic()
                if worker is None or (left <= 0 and self._threads > 1):
                    break
                self._changed.wait(left if self._threads > 1 else None)
            self._threads -= 1
            self._changed.notify_all()
            return None

    def _find_next(self) -> _Item | None:
        """Take the next item that was not cancelled; None where there is no memory for it yet."""
        while queue := self._retried or self._urgent or self._waiting:
            if not queue[0].wanted.is_cancelled and queue[0].reserved > self._free_bytes:
                return None
            item = queue.popleft()
            if item.wanted.begin():
                self._free_bytes -= item.reserved
                return item
        return None

    def _serve(self, item: _Item, worker: DecodingProcess | None) -> DecodingProcess | None:
        """Make the pictures of a file. Returns the worker for the next; None where it ended."""
        try:
            if worker is None or (item.crashes and worker.pictures):
                self._end(worker)
                worker = None
                worker = self._start_worker()
            is_fresh = not worker.pictures
            orders = item.wanted.orders
            made = worker.make_pictures(item.wanted.data, orders, item.reserved)
            for left, each in zip(reversed(range(len(orders))), made, strict=True):
                if not left:
                    self._release(item)
                item.wanted.deliver(each)
        except MemoryExceededError:
            self._reserve_more(item)
            return self._restart(worker)
        except WorkerEndedError as err:
            assert worker is not None
            if not self._closed and not item.crashes and (err.from_outside or not is_fresh):
                item.crashes += 1
                return self._serve(item, self._restart(worker))
            self._finish(item, CancelledError() if self._closed else DecoderCrashed(err.detail))
            return self._restart(worker)
        except DecodingTimedOut as err:
            self._finish(item, err)
            return self._restart(worker)
        except EmbedderError as err:
            self._finish(item, err)
        except BaseException as err:  # a defect: whoever waits for the picture must hear of it
            self._finish(item, err)
            return self._restart(worker)
        return worker if worker is not None and self._is_good(worker) else self._restart(worker)

    def _reserve_more(self, item: _Item) -> None:
        """Try again with all that the limits allow: the file takes more than it declares.

        That much is waited for anew, before anything else.
        """
        most = min(item.need.most, self.budget_bytes)
        if item.reserved >= most:
            self._finish(item, NeedsTooMuchMemory(item.reserved))
            return
        with self._changed:
            self._free_bytes += item.reserved
            item.reserved = most
            is_closed = self._closed
            if not is_closed:
                self._retried.append(item)
            self._changed.notify_all()
        if is_closed:
            item.wanted.fail(CancelledError())

    def _finish(self, item: _Item, err: BaseException) -> None:
        """Say why no more pictures of a file are made."""
        self._release(item)
        err.__context__ = err.__cause__ = None  # its frames hold the file
        item.wanted.fail(err.with_traceback(None))

    def _release(self, item: _Item) -> None:
        """Give back the memory that was reserved."""
        with self._changed:
            self._free_bytes += item.reserved
            self._changed.notify_all()

    def _is_good(self, worker: DecodingProcess) -> bool:
        return worker.pictures < MAX_PICTURES and not worker.has_grown(_GROWN_BYTES)

    def _restart(self, worker: DecodingProcess | None) -> DecodingProcess | None:
        """End a worker, and start another; None where that fails: the next picture will tell."""
        self._end(worker)
        try:
            return None if self._closed else self._start_worker()
        except CancelledError:
            return None
        except DecodersUnavailable as err:
            with self._changed:
                self._failure = err
                self._changed.notify_all()
            return None

    def _start_worker(self) -> DecodingProcess:
        """Start a worker under the most layers under which decoding works.

        Raises DecodersUnavailable; CancelledError where the pool is closed meanwhile.
        """
        for layers in self._layers:
            try:
                worker = self._start_under(layers)
                break
            except UnusableConfinementError as err:
                log.warning(
                    "decoding does not work under %s: %s",
                    ", ".join(layers) or "no confinement",
                    err,
                )
                reason = str(err)
        else:
            raise DecodersUnavailable(f"no decoding process works: {reason}")
        with self._changed:
            if self._confinement is None:
                self._confinement, self._layers = worker.confinement, (layers,)
            self._failure = None
            self._workers.add(worker)
            if self._closed:
                worker.kill()
            self._changed.notify_all()
        return worker

    def _start_under(self, layers: tuple[Layer, ...]) -> DecodingProcess:
        """Start a worker that `close` can end before it is ready.

        Raises UnusableConfinementError, DecodersUnavailable, CancelledError.
        """
        starting = list[DecodingProcess]()

        def register(worker: DecodingProcess) -> None:
            with self._changed:
                starting.append(worker)
                self._starting.add(worker)
                if self._closed:
                    worker.kill()

        try:
            return DecodingProcess.start(self._options, layers, register)
        except UnusableConfinementError:
            if self._closed:
                raise CancelledError from None
            raise
        finally:
            with self._changed:
                self._starting.difference_update(starting)

    def _end(self, worker: DecodingProcess | None) -> None:
        if worker is None:
            return
        worker.end()
        with self._changed:
            self._workers.discard(worker)
            self._changed.notify_all()

    def forget_parents_workers(self) -> None:
        """Begin anew in a forked child: threads and workers are its parent's."""
        for worker in self._starting | self._workers:
            worker.abandon()
        self._reset()


def _fail(wanted: Wanted, err: EmbedderError) -> list[Future[Picture]]:
    wanted.fail(err)
    return wanted.futures


_pools: weakref.WeakSet[ProcessDecoders] = weakref.WeakSet()


def _begin_anew_in_child() -> None:
    for pool in list(_pools):
        pool.forget_parents_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
